"""Fixtures for the real parts: registries and engines of both kinds."""

import signal
from collections.abc import Iterator, Sequence

import hypothesis
import pytest

from tests.testing.engine import Engine, EngineKind, running_engines, why_missing
from tests.testing.registry import Registry

# Whoever starts the tests in the background may ignore interrupts, which programs inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of the machine and of what else it does than of the code.
hypothesis.settings.register_profile("towline", deadline=None)
hypothesis.settings.load_profile("towline")

_NOTICE = "NOT TESTED ON DOCKER ENGINE 29: "


def _notice() -> str | None:
    missing = why_missing(EngineKind.CONTAINERD)
    return f"{_NOTICE}{missing}" if missing else None


def pytest_report_header() -> list[str]:
    """Say before the run what it will not cover."""
    notice = _notice()
    return [notice] if notice else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it again after the run, where it is read."""
    notice = _notice()
    if notice:
        terminalreporter.section("incomplete", red=True, bold=True)
        terminalreporter.line(notice, red=True, bold=True)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry that lasts for the whole run; tests use repositories of their own in it."""
    with Registry() as registry:
        yield registry


@pytest.fixture(scope="session", params=list(EngineKind), ids=str)
def engine_kind(request: pytest.FixtureRequest) -> EngineKind:
    """Both kinds of image store, one after the other; skipped where the second isn't built."""
    kind = EngineKind(request.param)
    missing = why_missing(kind)
    if missing:
        if kind is EngineKind.CONTAINERD:
            pytest.skip(missing)
        pytest.fail(missing)
    return kind


@pytest.fixture(scope="session")
def engines(engine_kind: EngineKind) -> Iterator[Sequence[Engine]]:
    """Three engines of one kind, shared by all tests: use images of your own.

    A test that stops an engine starts it again.
    """
    with running_engines(engine_kind, 3) as engines:
        yield engines
