"""What is printed of the events of jobs: a line each for people, an object a line for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from towline.cli.cells import digest, in_form, node_name
from towline.cli.cells import job_id as short
from towline.cli.form import Form
from towline.cli.output import label, print_json
from towline.cli.terminal import say

if TYPE_CHECKING:
    from towline.client import Event, JobEvent


class Printed:
    """Events as they are printed.

    Nodes of one hostname have their machine ids beside it, from the moment on that two are known.

    Args:
        rows: the results of the job that they are of, as far as there are any; None for the events
            of all jobs, each of which is named then.
    """

    def __init__(self, form: Form, rows: Iterable[dict[str, Any]] | None = None) -> None:
        self.form = form
        self._with_job = rows is None
        self._machines: dict[str, set[str]] = {}
        for row in rows or ():
            self._learn(row["hostname"], row.get("machine_id"))

    def print_all(self, events: Iterable[Event[JobEvent]]) -> None:
        """Print each event when it comes."""
        for event in events:
            if self.form.for_people:
                say(self.line(event))
            else:
                said = {"id": event.id, "event": event.kind, **msgspec.to_builtins(event.data)}
                print_json(said, indent=None)

    def line(self, event: Event[JobEvent]) -> str:
        """Return the line of an event, for people."""
        data = event.data
        words = data.error or data.reason or data.message or ""
        if event.kind == "submitted" and data.operation is not None:
            words = f"{label(data.operation.type)} for {data.target} by {data.caller}"
        elif event.kind == "end":
            counts = ", ".join(f"{count} {status}" for status, count in (data.nodes or {}).items())
            words = f"{data.status}: {counts}"
        job = in_form(short(data.job_id), self.form) if self._with_job else ""
        parts = [data.timestamp or "", job, f"{event.kind:10}", self._node(data)]
        parts.append(in_form(digest(words), self.form))
        return "  ".join(part for part in parts if part)

    def _node(self, data: JobEvent) -> str:
        if data.hostname is None:
            return ""
        alike = self._learn(data.hostname, data.machine_id)
        named = node_name(data.hostname, data.machine_id, {data.hostname} if alike else ())
        return in_form(named, self.form)

    def _learn(self, hostname: str, machine: str | None) -> bool:
        """Take note of a node; return whether others are known that have its hostname."""
        known = self._machines.setdefault(hostname, set())
        if machine is not None:
            known.add(machine)
        return len(known) > 1
