"""Log lines that may come in a flood: the first at once, then one now and then with the newest.

Who sends what can't be read sends it often, and must fill no disk.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

log = structlog.get_logger()

LOG_EVERY = 60.0
"""Seconds between two lines of a kind, at least."""


class Repeated:
    """Logs lines of one kind, each with how many messages there were since the last.

    Args:
        event: what the line says.
        every: seconds; see the constant.
    """

    def __init__(self, event: str, *, every: float = LOG_EVERY) -> None:
        self._event = event
        self._every = every
        self._newest: tuple[str, dict[str, Any]] | None = None
        self._count = 0
        self._pause: asyncio.TimerHandle | None = None

    def warning(self, **fields: Any) -> None:
        """Log a warning, now or later."""
        self._add("warning", fields)

    def error(self, error: BaseException | None = None, **fields: Any) -> None:
        """Log an error, with its traceback where there is one, now or later."""
        self._add("error", fields if error is None else {**fields, "exc_info": error})

    def _add(self, level: str, fields: dict[str, Any]) -> None:
        self._newest, self._count = (level, fields), self._count + 1
        if self._pause is None:
            self._log()

    def _log(self) -> None:
        self._pause = None
        if self._newest is None:
            return
        (level, fields), count = self._newest, self._count
        self._newest, self._count = None, 0
        self._pause = asyncio.get_running_loop().call_later(self._every, self._log)
        getattr(log, level)(self._event, **fields, messages=count)

    def close(self) -> None:
        """Log what there is still to log."""
        if self._pause is not None:
            self._pause.cancel()
            self._log()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
