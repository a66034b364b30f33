"""Lists of jobs: which there are, how many, a page at a time, asked of the index."""

from __future__ import annotations

from typing import Any

import msgspec

from towline.controller.jobs.index import Index, truth
from towline.wire.job import Job

_job = msgspec.json.Decoder(Job)


class Filter(msgspec.Struct, frozen=True):
    """Which jobs are meant; None for any.

    Attributes:
        machine: a node that the job is for.
        since, until: seconds since 1970; made at `since` or later, before `until`.
    """

    status: str | None = None
    operation: str | None = None
    target: str | None = None
    caller: str | None = None
    machine: str | None = None
    since: float | None = None
    until: float | None = None

    def columns(self) -> dict[str, str]:
        """Return the values that columns of a job must have."""
        wanted = {name: getattr(self, name) for name in ("status", "operation", "target", "caller")}
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def counted(self) -> bool:
        """Whether the tally knows how many these are."""
        return self.machine is None and self.since is None and self.until is None


class Listed(msgspec.Struct, frozen=True):
    """A job in a list.

    Attributes:
        changed: whether it has changed something anywhere; None where that is not known.
        nodes: how many of its nodes have which status.
    """

    job: Job
    status: str
    changed: bool | None
    nodes: dict[str, int]


class Lists:
    """Lists of the jobs in an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def filter(self, **wanted: Any) -> Filter:
        """Return which jobs are meant; see `Filter`."""
        return Filter(**wanted)

    def jobs(
        self, wanted: Filter, *, limit: int, before: str | None = None, offset: int = 0
    ) -> list[Listed]:
        """Return jobs, the newest first.

        Args:
            before: the id of the last job of the page before.
            offset: how many to leave out.
        """
        where, values = self._where(wanted)
        if before is not None:
            where.append("id < ?")
            values.append(before)
        rows = self._index.query(
            f"SELECT body, status, changed, nodes FROM job WHERE {' AND '.join(where) or 'TRUE'}"
            " ORDER BY id DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [
            Listed(_job.decode(body), status, truth(changed), msgspec.json.decode(nodes))
            for body, status, changed, nodes in rows
        ]

    def page(
        self, wanted: Filter, *, limit: int, before: str | None = None, offset: int = 0
    ) -> tuple[list[Listed], str | None]:
        """Return a page of jobs, and where the next page goes on; None where there is none.

        Args:
            limit: how many jobs the page has at most.
            before, offset: as `jobs` takes them.
        """
        found = self.jobs(wanted, limit=limit + 1, before=before, offset=offset)
        page = found[:limit]
        return page, page[-1].job.id if len(found) > limit else None

    def _where(self, wanted: Filter) -> tuple[list[str], list[object]]:
        # The planner knows nothing of how rare a value is: all columns but that of the rarest are
        # kept from choosing the index.
        columns = wanted.columns()
        rarest = None
        if wanted.machine is None and columns:
            rarest = min(columns, key=lambda name: self._tally({name: columns[name]}))
        where = [f"{name} = ?" if name == rarest else f"+{name} = ?" for name in columns]
        values: list[object] = list(columns.values())
        if wanted.machine is not None:
            where.append("id IN (SELECT job FROM task WHERE task.machine = ?)")
            values.append(wanted.machine)
        for name, sign in (("since", ">="), ("until", "<")):
            moment = getattr(wanted, name)
            if moment is not None:
                where.append(f"created {sign} ?")
                values.append(moment)
        return where, values

    def count(self, wanted: Filter) -> int:
        """Return how many jobs there are."""
        if wanted.counted:
            return self._tally(wanted.columns())
        where, values = self._where(wanted)
        (found,) = self._index.query(
            f"SELECT count(*) FROM job WHERE {' AND '.join(where)}", values
        ).fetchone()
        return int(found)

    def _tally(self, columns: dict[str, str]) -> int:
        where = " AND ".join(f"{name} = ?" for name in columns) or "TRUE"
        (found,) = self._index.query(
            f"SELECT total(jobs) FROM tally WHERE {where}", tuple(columns.values())
        ).fetchone()
        return int(found)

    def statuses(self) -> dict[str, int]:
        """Return how many jobs have which status."""
        return dict(self._index.query("SELECT status, sum(jobs) FROM tally GROUP BY status"))
