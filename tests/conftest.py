"""Fixtures for the real parts that all tiers share: registries and engines of both kinds."""

import contextlib
import gc
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest

from tests.testing.engine import Engine, EngineKind, running_engines, why_missing
from tests.testing.podman import Podman
from tests.testing.pool import Pool
from tests.testing.preloaded import Preloaded
from tests.testing.process import TowlineProcess
from tests.testing.registry import Registry

# Whoever starts the tests in the background, or under nohup, ignores these, which programs inherit.
for _number, _default in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)

# How long an example takes says more of the machine and of what else it does than of the code.
hypothesis.settings.register_profile("towline", deadline=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile("towline")

# What is collected stays to the end: to look through it for garbage, over and over while it grows,
# takes a quarter of the time of collecting, in each process of the tests.
gc.disable()

UNITS = Path(__file__).with_name("unit")
_NOTICE = "NOT TESTED ON DOCKER ENGINE 29: "


def _notice(config: pytest.Config) -> str | None:
    paths = [(config.invocation_params.dir / each.split("::")[0]) for each in config.args]
    if all(path.resolve().is_relative_to(UNITS) for path in paths):
        return None
    missing = why_missing(EngineKind.CONTAINERD)
    return f"{_NOTICE}{missing}" if missing else None


def pytest_collection_finish() -> None:
    """Look for garbage from here on, and not in what has been collected."""
    gc.freeze()
    gc.enable()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say before the run what it will not cover."""
    notice = _notice(config)
    return [notice] if notice else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it again after the run, where it is read."""
    notice = _notice(terminalreporter.config)
    if notice:
        terminalreporter.section("incomplete", red=True, bold=True)
        terminalreporter.line(notice, red=True, bold=True)


@pytest.fixture(scope="session", autouse=True)
def _preloaded() -> Iterator[None]:
    """Controllers and agents are forked from one process that has imported them."""
    with contextlib.closing(Preloaded()) as TowlineProcess.preloaded:
        yield


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry that lasts for the whole run; tests use repositories of their own in it."""
    with Registry() as registry:
        yield registry


@pytest.fixture(scope="session", params=list(EngineKind), ids=str)
def engine_kind(request: pytest.FixtureRequest) -> EngineKind:
    """Both kinds of image store, one after the other; skipped where the second isn't built.

    A test in which the engine's kind has no part takes one of them: see
    `tests.testing.marks.ONE_KIND`.
    """
    kind = EngineKind(request.param)
    missing = why_missing(kind)
    if missing:
        if kind is EngineKind.CONTAINERD:
            pytest.skip(missing)
        pytest.fail(missing)
    return kind


@pytest.fixture(scope="session")
def _engines() -> Iterator[Pool[EngineKind, Sequence[Engine]]]:
    with Pool[EngineKind, Sequence[Engine]](lambda kind: running_engines(kind, 3)) as pool:
        yield pool


@pytest.fixture(scope="session")
def engines(
    engine_kind: EngineKind, _engines: Pool[EngineKind, Sequence[Engine]]
) -> Sequence[Engine]:
    """Three engines of one kind, shared by the whole run: use images of your own.

    A test that stops an engine starts it again.
    """
    return _engines[engine_kind]


@pytest.fixture(scope="session")
def engine(_engines: Pool[EngineKind, Sequence[Engine]]) -> Engine:
    """One engine, shared by the whole run, for tests in which the engine's kind has no part."""
    missing = why_missing(EngineKind.CLASSIC)
    if missing:
        pytest.fail(missing)
    return _engines[EngineKind.CLASSIC][0]


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """Podman's service, shared by the whole run: use images of your own."""
    with Podman() as podman:
        yield podman
