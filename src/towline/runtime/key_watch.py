"""Has files with keys read again when they change, while the parts that use them run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from towline.errors import InvalidConfiguration

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds between looks whether a file has changed."""


class KeyFile(msgspec.Struct, frozen=True):
    """A file, and what uses the keys in it.

    Attributes:
        read_again: called when it has changed; raises `InvalidConfiguration` where it can't be
            used, and leaves the keys that there are.
    """

    path: Path
    read_again: Callable[[], None]


class KeyFiles:
    """Has files read again when they change.

    Args:
        changed: called after one was.
        look_every: seconds; see the constant.
    """

    def __init__(
        self,
        files: Sequence[KeyFile],
        changed: Callable[[], None] = lambda: None,
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._files = files
        self._changed = changed
        self._look_every = look_every
        self._seen = [_look(each.path) for each in files]
        self._failed: list[_Found] = [None for _ in files]
        """What was found when a file could not be read or used, and has been logged."""

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(self._look_every)
            for number, each in enumerate(self._files):
                found = _look(each.path)
                # One that is not there is being replaced, or was lost: what is known of it counts.
                if found is None:
                    continue
                if found == self._seen[number]:
                    self._failed[number] = None
                    continue
                try:
                    if isinstance(found, str):
                        raise InvalidConfiguration(f"{str(each.path)!r} can't be read.", found)
                    each.read_again()
                except InvalidConfiguration as error:
                    # It is tried again each time, since the disk may have been full; said once.
                    if found != self._failed[number]:
                        log.error("keys not read again", reason=f"{error.error} {error.details}")
                    self._failed[number] = found
                else:
                    self._seen[number], self._failed[number] = found, None
                    log.info("keys read again", file=str(each.path))
                    self._changed()


_Found = tuple[bytes, int, int] | str | None


def _look(path: Path) -> _Found:
    """Return content, mode and owner of a file: one that was refused as open may be closed.

    Where it can't be read it is why not; None where it isn't there.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            return file.read(), status.st_mode, status.st_uid
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error)
