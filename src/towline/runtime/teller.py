"""Who tells a person what becomes of the parts of `towline up`."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from towline.runtime.log_file import LogFile

log = structlog.get_logger()


class Teller:
    """Tells a person what becomes of the parts, and where their logs go.

    Args:
        show: called with each line that a person should read.
        output: what the parts print goes there; None for this process's standard error, where
            it tells by itself of parts that have ended.
        patience: seconds that an obstacle has to last before it is shown.
    """

    def __init__(
        self, show: Callable[[str], None], output: LogFile | None = None, *, patience: float = 0.0
    ) -> None:
        self.show = show
        self.output = output
        self.patience = patience
        self._told = ""

    def ended(self, name: str, status: int, words: str = "") -> None:
        """Tell that a part has ended, which is started again; not twice in succession."""
        log.error("part ended", name=name, status=status)
        how = f"signal {-status}" if status < 0 else f"status {status}"
        self._tell(f"the {name} has ended ({how}), and is started again{words and f': {words}'}")

    def not_started(self, name: str, reason: str) -> None:
        """Tell that a part could not be started, which is tried again."""
        log.error(f"{name} not started", reason=reason)
        self._tell(f"the {name} can't be started, which is tried again: {reason}")

    def _tell(self, line: str) -> None:
        if self.output is not None and line != self._told:
            self._told = line
            self.show("".join(letter if letter.isprintable() else " " for letter in line))
