"""Logs: one JSON line an event, to standard error."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec

# structlog imports rich where it is installed, for colours that lines of JSON never have: 4 MiB of
# every agent's memory. None makes that import fail, as it does where rich is absent.
_rich = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
import structlog  # noqa: E402

if _rich is None:
    del sys.modules["rich"]

# What must never be written: passwords in URLs and anything that looks like a JWT.
_SECRETS = re.compile(r"(?<=//)[^/\s@'\"]+(?=@)|\beyJ[\w-]+\.[\w-]+\.[\w-]*")


def _redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and ("@" in value or "eyJ" in value):
            event[key] = _SECRETS.sub("***", value)
    return event


def _render(logger: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def configure(part: str, level: str = "info") -> None:
    """Send logs to standard error, each line one JSON object with `part`, `level` and `time`.

    Raises:
        ValueError: `level` is none of debug, info, warning, error.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"{level!r} is no log level, write debug, info, warning or error")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _redact,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(part=part)
    # Libraries log through the standard library: nothing of theirs below a warning.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
