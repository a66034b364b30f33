"""The source is arranged in rooms, and imports go one way between them."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "towline"

BASE = ("towline", "units", "errors")
"""What every room may import: the root itself holds the version."""

OFFERED = ("endpoint", "endpoints", "operation", "operations", "options", "signature")
"""What can be asked, and how."""

RULES: dict[str, tuple[str, ...]] = {
    "__main__": ("cli",),
    "towline": ("client",),
    "units": (),
    "errors": (),
    "wire": ("wire",),
    "broker": ("broker", "wire", "runtime.pauses"),
    "signature": ("signature", "wire"),
    "options": ("signature", "wire"),
    "operation": ("signature", "wire"),
    "operations": ("operations", "operation", "signature", "wire"),
    # Of a controller they know the parts for type checkers alone: see `imported`.
    "endpoint": ("options", "signature"),
    "endpoints": (*OFFERED, "wire"),
    "runtime": ("runtime", "trust", "wire", "broker.settings"),
    "trust": (
        *("trust", "wire"),
        *("runtime.keys", "runtime.key_files", "runtime.secret_file", "runtime.state_directory"),
    ),
    "controller": ("controller", "broker", "runtime", "trust", *OFFERED, "wire"),
    "agent": (
        *("agent", "broker", "runtime", "trust"),
        *("operation", "operations", "signature", "wire"),
    ),
    "client": ("client", *OFFERED, "wire", "runtime.config"),
    "cli": (
        *("cli", "client", *OFFERED, "wire"),
        *("runtime.config", "runtime.logs", "runtime.process", "runtime.sources"),
        *("runtime.contexts", "runtime.state_directory"),
    ),
    # The commands that start parts, or make what only a part reads.
    "cli.serve": ("cli", "agent", "broker", "controller", "operations", "runtime", "trust", "wire"),
    "cli.listening": ("cli", "controller", "runtime", "trust"),
    "cli.up": ("cli", "controller", "runtime", "trust"),
    "cli.first_terminal": ("cli", "client.connection", "runtime", "trust"),
    "cli.agent": ("cli", "agent", "runtime", "trust"),
    "cli.trust": ("cli", "runtime", "trust", "wire"),
    "cli.rotation": ("cli", *OFFERED, "runtime", "trust"),
    "cli.part_keys": ("cli.local", "controller.token_keys", "runtime", "trust"),
    "cli.first_contact": ("cli", "runtime.contexts", "trust"),
    "cli.local": ("cli", "client", "controller.token_keys", "runtime"),
    "cli.token": ("cli", "client", "controller.auth", "controller.token_keys", *OFFERED, "runtime"),
}
"""What a room may import beside BASE; the longest name that a module begins with decides."""

JOURNAL_ONLY = ("wire.job", "wire.event", "wire.messages")
"""Of the broker's modules only the journal knows jobs and their events."""

JETSTREAM = (
    *("broker.jetstream", "broker.journal", "broker.streams", "broker.bucket"),
    *("broker.consumer", "broker.isolation"),
)
"""What the journal stands on: an agent, and what is for agents, knows nothing of it."""

CORE = ("wire", "controller.jobs", "controller.rollout", "agent")
DOCKER = (
    *("agent.docker", "operations.docker", "operations.image"),
    *("wire.reference", "wire.platform"),
)
"""The core knows nothing of images and registries: Docker is one provider among others."""

EXCEPTIONS: set[tuple[str, str]] = {
    # A credential names its place as references name a registry.
    ("wire.credential", "wire.reference"),
}
"""Imports that break a rule for now, by module and what it imports."""


def name_of(path: Path) -> str:
    """Return a module's name without the leading `towline.`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts) or "towline"


MODULES = {name_of(path): path for path in SOURCE.rglob("*.py")}


def within(name: str, rooms: tuple[str, ...]) -> bool:
    """Whether a module is one of some rooms, or lies in one."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


class _AtRunTime(ast.NodeTransformer):
    """Takes out what only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else node


def imported(name: str, tree: ast.AST) -> Iterator[str]:
    """Yield all of Towline's modules that a module imports, wherever in it, by name.

    An endpoint's body is given the parts of a controller, whose types it may name.
    """
    if within(name, ("endpoint", "endpoints")):
        tree = _AtRunTime().visit(tree)
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            root, _, rest = name.partition(".")
            if root == "towline":
                # What is imported from a module may be a name in it, and no module.
                while rest and rest not in MODULES:
                    rest = rest.rpartition(".")[0]
                yield rest or "towline"


@functools.cache
def imports() -> set[tuple[str, str]]:
    """Return all that is imported, each by who does; not found where tests are only collected."""
    return {
        (name, other)
        for name, path in MODULES.items()
        for other in imported(name, ast.parse(path.read_text(encoding="utf-8")))
    }


def broken(name: str, other: str) -> bool:
    """Whether it is against the rules that one module imports another."""
    room = max((room for room in RULES if within(name, (room,))), key=len)
    if not within(other, RULES[room]) and other not in BASE:
        return True
    if within(name, ("broker",)) and name != "broker.journal" and other in JOURNAL_ONLY:
        return True
    if within(name, ("agent",)) and within(other, JETSTREAM):
        return True
    return within(name, CORE) and not within(name, DOCKER) and within(other, DOCKER)


def test_every_module_imports_only_what_its_room_may() -> None:
    found = {pair for pair in imports() if broken(*pair)}
    assert sorted(found - EXCEPTIONS) == []
    assert sorted(EXCEPTIONS - found) == [], "no exceptions any more"


def reached(name: str) -> set[str]:
    """Return all modules that a module imports, and those that these import, and so on."""
    found: set[str] = set()
    wanted = {name}
    while wanted:
        found |= wanted
        wanted = {other for one, other in imports() if one in wanted} - found
    return found


def test_an_agent_reaches_nothing_of_the_journal_however_far_away() -> None:
    found = reached("agent.agent")
    assert "broker.connection" in found
    assert not {name for name in found if within(name, (*JETSTREAM, "controller"))}


@pytest.mark.parametrize("side", ["controller", "agent"])
def test_what_starts_a_part_is_imported_only_where_it_is_wanted(side: str) -> None:
    """Lazily, by the commands that start it: the others start without."""
    for name, path in MODULES.items():
        if within(name, ("cli", "client")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            at_once = ast.Module([node for node in tree.body if not _only_checked(node)], [])
            for node in at_once.body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found = imported(name, ast.Module([node], []))
                    assert not any(within(other, (side,)) for other in found), name


def _only_checked(node: ast.stmt) -> bool:
    """Whether a statement is for type checkers alone."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def test_the_root_has_few_modules() -> None:
    assert len({name.partition(".")[0] for name in MODULES} - {"towline"}) <= 17
