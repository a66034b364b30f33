"""What is known of nodes, kept beside the index: a controller that starts anew knows it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import msgspec
import structlog

from towline.controller.inventory.fold import Known
from towline.controller.inventory.rows import MARK, Row, Rows
from towline.controller.jobs.index import Index
from towline.wire.inventory import ImageHeld

AT_ONCE = 100
"""Nodes that are read or written before others have their turn: some 5 ms."""
READ_AT_ONCE = 200
"""Images that are read before others have their turn: some 5 ms, too."""
UNUSED = 200
"""Images that may be kept though no node has them any more; as many again as there are."""

log = structlog.get_logger()

_image = msgspec.json.Decoder(ImageHeld)


class Kept:
    """Keeps what is known of nodes in the file of the index.

    It is as disposable: of a node that is away when the file is lost nothing is known.

    Attributes:
        until: when the controller listened last that kept what there was at the start of this one,
            in seconds since 1970; 0.0 where there was nothing.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._changed: set[str] = set()
        """The machine ids of nodes of which something else is known than is kept."""
        self._marks: set[bytes] = set()
        """Those of the images that are kept."""
        row = index.query("SELECT until FROM listened").fetchone()
        self.until = 0.0 if row is None else float(row[0])

    def change(self, machine: str) -> None:
        """Keep of a node what is known by the next `write`."""
        self._changed.add(machine)

    async def read(self) -> AsyncIterator[tuple[str, str, list[Row]]]:
        """Yield what is kept: machine ids, the hash of what each has, and that itself.

        A node is left out of which an image is missing, or is none that a node may say to have.
        """
        rows: dict[bytes, Row] = {}
        none = []
        for number, (mark, body) in enumerate(
            self._index.query("SELECT mark, body FROM held").fetchall(), 1
        ):
            try:
                rows[mark] = Row(_image.decode(body), body)
            except msgspec.MsgspecError:
                none.append((mark,))
            if number % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
        if none:
            log.warning("images that were kept can't be read", count=len(none))
            self._index.write({"DELETE FROM held WHERE mark = ?": none})
        self._marks = set(rows)
        nodes = self._index.query("SELECT machine, hash, held FROM inventory").fetchall()
        for number, (machine, hash, held) in enumerate(nodes, 1):
            marks = [held[at : at + MARK] for at in range(0, len(held), MARK)]
            if rows.keys() >= set(marks):
                yield machine, hash, [rows[mark] for mark in marks]
            else:
                self._changed.add(machine)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    async def write(self, known: Mapping[str, Known], rows: Rows, until: float) -> None:
        """Keep what has changed.

        Args:
            until: when this controller listened last.
        """
        changed = list(self._changed)
        for at in range(0, len(changed) or 1, AT_ONCE):
            if at:
                await asyncio.sleep(0)
            some = changed[at : at + AT_ONCE]
            self._write(some, known, until)
            self._changed.difference_update(some)
        # What changed meanwhile is stored as it was, of images that nobody may have any more.
        if not self._changed and len(self._marks) > 2 * len(rows) + UNUSED:
            self._forget_unused(rows)

    def _write(self, machines: list[str], known: Mapping[str, Known], until: float) -> None:
        new: dict[bytes, Row] = {}
        nodes, gone = [], []
        for machine in machines:
            one = known.get(machine)
            if one is None or one.rows is None:
                gone.append((machine,))
                continue
            for row in one.rows.values():
                if row.mark not in self._marks:
                    new[row.mark] = row
            marks = b"".join(row.mark for row in one.rows.values())
            nodes.append((machine, one.hash, marks))
        self._index.write(
            {
                "INSERT OR IGNORE INTO held VALUES (?, ?)": [
                    (mark, row.encoded) for mark, row in new.items()
                ],
                "REPLACE INTO inventory VALUES (?, ?, ?)": nodes,
                "DELETE FROM inventory WHERE machine = ?": gone,
                "REPLACE INTO listened VALUES (0, ?)": [(until,)],
            }
        )
        self._marks |= new.keys()

    def _forget_unused(self, rows: Rows) -> None:
        """Delete images that no node has any more: not those of which a node is still to be kept,
        since those are there."""
        unused = self._marks - {row.mark for row in rows}
        self._index.write({"DELETE FROM held WHERE mark = ?": [(mark,) for mark in unused]})
        self._marks -= unused
