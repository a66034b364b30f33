"""Processes without a machine: an event loop whose time passes when a test says so."""

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, TypeVar

from towline.controller.moment import LocalClock

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""What the clock on the wall shows, in seconds since 1970, when the loop's shows 0."""

_tasks: contextvars.ContextVar[set[asyncio.Task[Any]]] = contextvars.ContextVar("tasks")


class _Selector(selectors.SelectSelector):
    """Waits for nothing: where a loop would, its time passes, or it stops."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self.loop.moment + timeout > self.loop.target:
            self.loop.moment = self.loop.target
            self.loop.stop()
        else:
            self.loop.moment += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that runs until it would wait, and whose time passes only when it is told to.

    Attributes:
        moment: what its clock shows.
        target: up to when it may go on.
        errors: what came to nobody.
    """

    def __init__(self) -> None:
        self.moment = self.target = 1000.0
        self.errors: list[str] = []
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_task_factory(_make_task)
        self.set_exception_handler(self._note)

    def _note(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    def time(self) -> float:
        """Return what its clock shows."""
        return self.moment

    def settle(self) -> None:
        """Run until all wait; nothing where it runs already."""
        if not self.is_running():
            self.run_forever()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and do what comes due meanwhile."""
        self.target = self.moment + seconds
        self.run_forever()

    def jump(self, seconds: float) -> None:
        """Let time pass as for a machine that stands still: all that comes due does so at once."""
        self.moment = self.target = self.moment + seconds
        self.run_forever()

    @property
    def wall(self) -> float:
        """What the clock on the wall shows, in seconds since 1970."""
        return EPOCH + self.moment

    def clock(self) -> LocalClock:
        """Return the clocks of a machine."""
        return LocalClock(self.time, lambda: self.wall)


def _make_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, T] | Generator[Any, None, T],
    **options: Any,
) -> asyncio.Task[T]:
    task: asyncio.Task[T] = asyncio.Task(work, loop=loop, **options)
    owned = _tasks.get()
    owned.add(task)
    task.add_done_callback(owned.discard)
    return task


class Process:
    """What is begun by one process, and ends with it.

    Attributes:
        alive: whether it runs: what it would send or write after that is lost.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.alive = True
        self._tasks: set[asyncio.Task[Any]] = set()
        self._context = contextvars.copy_context()
        self._context.run(_tasks.set, self._tasks)

    def do(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Have the process do something, until all wait."""
        self.loop.call_soon(call, *arguments, context=self._context)
        self.loop.settle()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have the process begin some work."""
        self.do(self.loop.create_task, work)

    def kill(self) -> None:
        """End it where it stands."""
        self.alive = False
        for task in list(self._tasks):
            task.cancel()
        self.loop.settle()
