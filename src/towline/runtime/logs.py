"""Logs: one line of JSON for each event, on standard error unless said otherwise."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

# structlog imports these where they are installed, for colours that lines of JSON never have and
# for threads of another kind: 4 and 1 MiB of every agent's memory. With None in its place such an
# import fails, as it does where they are absent.
_UNUSED = [name for name in ("rich", "greenlet") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]
import structlog  # noqa: E402
from structlog.typing import EventDict  # noqa: E402

for _name in _UNUSED:
    del sys.modules[_name]

from towline.runtime.process import write_if_possible  # noqa: E402
from towline.runtime.redaction import strike, suspicious  # noqa: E402


class _Lines:
    """Writes lines, from any thread."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        with self._lock:
            self._write(line)

    # The method that structlog calls has the name of the one that was called on its own logger.
    debug = info = warning = error = critical = write


_PLAIN = {str, int, float, bool, type(None)}


def _clean(value: Any) -> Any:
    """Return `value` as plain data, without secrets and without what UTF-8 can't represent."""
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            return {_clean(str(name)): _clean(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(inner) for inner in value]
    text = str(value)
    if not text.isascii():
        text = text.encode(errors="backslashreplace").decode()
    return strike(text)


def _cleaned(event: EventDict) -> EventDict:
    if _PLAIN.issuperset(map(type, event.values())):
        # All at once: most lines have nothing that would have to be cleaned.
        text = "".join(map(str, event.values()))
        if text.isascii() and not suspicious(text):
            return event
    # Before JSON escapes line ends and quotes: a secret right after such an escape would not be
    # recognized.
    return cast(EventDict, _clean(event))


_LEVELS = {"exception": "error", "warn": "warning"}
"""What lines call the level of what is logged by these methods."""


class _Forward(logging.Handler):
    """Logs what libraries log, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def configure(part: str, level: str = "info", write: Callable[[bytes], None] | None = None) -> None:
    """Write logs, each line one JSON object with `part`, `level` and `time`.

    Args:
        part: which part of Towline this process is.
        level: below which nothing is logged.
        write: writes one line; None for standard error, where a line that can't be written is lost.

    Raises:
        ValueError: `level` is none of debug, info, warning, error.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"{level!r} is no log level, write debug, info, warning or error")
    descriptor = sys.stderr.fileno()
    lines = _Lines(write or (lambda line: write_if_possible(descriptor, line + b"\n")))

    def render(logger: Any, method: str, event: EventDict) -> bytes:
        # One function for all: a line of each task costs a node as much as its signature.
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
        level, now = _LEVELS.get(method, method), datetime.now(UTC)
        return msgspec.json.encode({**_cleaned(event), "part": part, "level": level, "time": now})

    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard library. Nothing of theirs is of use below a warning.
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)
