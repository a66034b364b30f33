"""Operations whose running a test holds back, and counts from outside."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from towline.wire.progress import TaskProgress

MODULE = "gate_operations"

_SOURCE = '''\
"""What a test holds back with files beside this one."""

import asyncio
import os
from pathlib import Path

import msgspec

from towline.errors import TaskFailed
from towline.operation import Effect, operation
from towline.wire.progress import TaskProgress

class Passed(msgspec.Struct):
    times: int
    changed: bool = True

async def _pass(node, name, fail):
    here = Path(__file__).parent
    log = here / f"{name}@{node.hostname}"
    with log.open("a") as file:
        file.write("begun\\n")
        file.flush()
        os.fsync(file.fileno())
    report = here / f"{log.name}.report"
    try:
        while any((here / f"{held}.held").exists() for held in (name, log.name)):
            if report.exists():
                node.progress(msgspec.json.decode(report.read_bytes(), type=TaskProgress))
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        with log.open("a") as file:
            file.write("stopped\\n")
        raise
    if fail or any((here / f"{broken}.broken").exists() for broken in (name, log.name)):
        raise TaskFailed(f"{name} is broken")
    with log.open("a") as file:
        file.write("passed\\n")
    return Passed(log.read_text().count("begun"))

@operation("gate.pass", "POST gate/pass", permission="docker:write", effect=Effect.CONVERGE)
async def pass_(node, *, name: str, fail: bool = False) -> Passed:
    """Pass the gate, once it is open."""
    return await _pass(node, name, fail)

@operation("gate.once", "POST gate/once", permission="gate:execute", effect=Effect.ONCE)
async def once(node, *, name: str) -> Passed:
    """Pass the gate, and never twice."""
    return await _pass(node, name, False)

class Foreseen(msgspec.Struct):
    passed: int

if not Path(__file__).with_name("older").exists():
    @once.previewed()
    async def foresee(node, *, name: str) -> Foreseen:
        """Say how often it was passed, once the gate is open."""
        here = Path(__file__).parent
        while (here / f"{name}.held").exists():
            await asyncio.sleep(0.01)
        log = here / f"{name}@{node.hostname}"
        return Foreseen(log.read_text().count("passed") if log.exists() else 0)

@operation("gate.look", "GET gate", permission="docker:read", effect=Effect.READ)
async def look(node, *, name: str) -> Passed:
    """Look through the gate."""
    return await _pass(node, name, False)
'''


class Gate:
    """Holds operations back by name, and counts what became of them.

    What is held or damaged under `<name>@<hostname>` is so on that node only.

    Parameters: `directory` is where the module and its files are.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / f"{MODULE}.py").write_text(_SOURCE)
        self._names = (f"name{number}" for number in itertools.count())
        path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
        self.env = {"TOWLINE_OPERATIONS": MODULE, "PYTHONPATH": path}
        """What the parts' environment needs to know the operations."""

    @contextlib.contextmanager
    def name(self) -> Iterator[str]:
        """Yield what nothing has passed under yet; whatever is held under it is let go then."""
        name = next(self._names)
        yield name
        for held in self.directory.glob(f"{name}*.held"):
            held.unlink()

    def hold(self, name: str) -> None:
        """Hold back what passes under this name from now on."""
        (self.directory / f"{name}.held").touch()

    def open(self, name: str) -> None:
        """Let it pass."""
        (self.directory / f"{name}.held").unlink(missing_ok=True)

    @contextlib.contextmanager
    def older(self) -> Iterator[None]:
        """Have parts that start in the block know nothing of previews."""
        path = self.directory / "older"
        path.touch()
        try:
            yield
        finally:
            path.unlink()

    def report(self, name: str, hostname: str, report: TaskProgress) -> None:
        """Let it report on a node, while it is held back, how far it is."""
        path = self.directory / f"{name}@{hostname}.report"
        path.with_suffix(".new").write_bytes(msgspec.json.encode(report))
        path.with_suffix(".new").rename(path)

    def damage(self, name: str) -> None:
        """Let it fail from now on."""
        (self.directory / f"{name}.broken").touch()

    def mend(self, name: str) -> None:
        """Let it fail no longer."""
        (self.directory / f"{name}.broken").unlink(missing_ok=True)

    def _lines(self, name: str, hostname: str) -> list[str]:
        path = self.directory / f"{name}@{hostname}"
        return path.read_text().splitlines() if path.exists() else []

    def begun(self, name: str, hostname: str) -> int:
        """Return how often it was begun on a node."""
        return self._lines(name, hostname).count("begun")

    def passed(self, name: str, hostname: str) -> int:
        """Return how often it came to its end there."""
        return self._lines(name, hostname).count("passed")

    def stopped(self, name: str, hostname: str) -> int:
        """Return how often it was stopped there."""
        return self._lines(name, hostname).count("stopped")
