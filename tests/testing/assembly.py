"""Parts that begin and end together."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Self


class Assembly(ABC):
    """A context manager of parts: all of them have begun inside it, and have ended after it.

    What `_start` has entered into `_parts` ends in turn, also when the rest could not begin.
    """

    def __init__(self) -> None:
        self._parts = ExitStack()

    @abstractmethod
    def _start(self) -> None:
        """Start the parts."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._parts.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()
