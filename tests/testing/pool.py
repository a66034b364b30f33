"""Parts that are started when a test first wants them, and last as long as the run."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Generic, Self, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Pool(Generic[K, V]):
    """Parts by what they are for, each started once.

    pytest ends a fixture with parameters whenever a test wants another parameter: with files of
    tests run one by one, that is twice a file. What a pool has started goes on.

    Parameters: `start` makes what is for a key; it ends with the pool.
    """

    def __init__(self, start: Callable[[K], AbstractContextManager[V]]) -> None:
        self._start = start
        self._started: dict[K, V] = {}
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def __getitem__(self, key: K) -> V:
        """Return what is for a key, and start it if nothing has wanted it before."""
        if key not in self._started:
            self._started[key] = self._parts.enter_context(self._start(key))
        return self._started[key]
