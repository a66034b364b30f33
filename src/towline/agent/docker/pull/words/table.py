"""The table of words, in the order in which they are looked for."""

from __future__ import annotations

from towline.agent.docker.pull.words.registry import BUSY, MISSING, REFUSED
from towline.agent.docker.pull.words.row import Row
from towline.agent.docker.pull.words.store import DAMAGED, REMOVED, UNSTORABLE
from towline.agent.docker.pull.words.way import BETWEEN, LACKING, PASSING

TABLE: tuple[Row, ...] = (
    *BUSY,
    *LACKING,
    *BETWEEN,
    *UNSTORABLE,
    *DAMAGED,
    *REMOVED,
    *PASSING,
    # Last: these words are general, and stand beside those above ("lookup …: no such host: not
    # found").
    *REFUSED,
    *MISSING,
)
