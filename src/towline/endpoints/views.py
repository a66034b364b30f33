"""Jobs and their events as the API's answers have them."""

from __future__ import annotations

import operator
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from towline.endpoints.fields import (
    DateTime,
    JobStatus,
    Moment,
    Rows,
    Status,
    Uuid,
    View,
)
from towline.endpoints.results import Result, known
from towline.operation import STATUS, catalog
from towline.units import timestamp
from towline.wire.event import (
    BAD,
    CANCELLED,
    COMPLETED,
    EXPIRED,
    LEAVE,
    LED,
    NOBODY,
    RELEASED,
    RESULT_STATUS,
    SKIPPED,
    STARTED,
    STEP,
    WITHHELD,
    Event,
    Lead,
    NamedNode,
)
from towline.wire.job import CANARY, LEADS, TURN, Job
from towline.wire.target import ANY

if TYPE_CHECKING:
    from towline.controller.jobs.lists import Listed
    from towline.controller.jobs.state import JobState, Task

MOST_NAMES = 5
"""Nodes that a moment of the timeline names; of more it says how many."""
RESOLVING, RESOLVED = "resolving", "resolved"
"""What the API has always called that a node leads, and what it has found."""
HAVE_REASONS = frozenset({SKIPPED, CANCELLED, EXPIRED, WITHHELD})
"""Kinds of events whose sentence says why, and is no error."""
MOST_ERRORS = 10
"""Errors that a job's own `error` repeats; each node's stands with the node."""


Anything: TypeAlias = Annotated[
    Any, Meta(description="What the operation returned: any JSON, as a rule an object.")
]


class OperationView(View, frozen=True, kw_only=True):
    """Which operation a job is, with its parameters."""

    type: str
    data: dict[str, Any]


class PauseView(View, frozen=True, kw_only=True):
    """Who paused a job, and since when no more of its nodes get their turn."""

    by: str
    since: DateTime


class ResolvedView(View, frozen=True, kw_only=True):
    """The digest that one of a job's nodes resolved the tag to, and that all its nodes pull."""

    digest: str
    resolver: str
    timestamp: DateTime


class ResponseView(View, frozen=True, kw_only=True):
    """What one node has answered."""

    hostname: str
    status: Status
    data: Anything = None
    changed: bool | None = None
    error: str | None = None
    reason: str | None = None


class AgentState(View, frozen=True, kw_only=True):
    """How far one node is: `completed` where its result is `ok`."""

    status: str
    error: str | None = None
    reason: str | None = None
    duration: str | None = None


class JobView(View, frozen=True, kw_only=True):
    """A job: what it is to do, and what became of it on each node.

    `rows` are the results as they stand in the answer, with all that the operation returned.
    """

    id: Uuid
    status: JobStatus
    created: DateTime
    updated_at: DateTime | None = None
    expires: DateTime
    operation: OperationView
    target: str
    caller: str
    retry_of: Uuid | None = None
    waves: Annotated[
        dict[str, str] | None,
        Meta(description="How the nodes get their turns, as the request asked for it."),
    ] = None
    paused: PauseView | None = None
    resolved: ResolvedView | None = None
    nodes: Annotated[
        dict[str, int] | None, Meta(description="How many nodes have which status.")
    ] = None
    rows: Rows | None = msgspec.field(name="results", default=None)
    result: Anything = None
    changed: bool | None = None
    error: str | None = None
    hostname: str | None = None
    responses: Annotated[
        dict[str, ResponseView] | None,
        Meta(description="By hostname; by machine id where two nodes share one."),
    ] = None
    agent_states: Annotated[dict[str, AgentState] | None, Meta(description="As `responses`.")] = (
        None
    )
    timeline: list[Moment] | None = None

    @property
    def results(self) -> list[Result[msgspec.Struct]]:
        """The result of each node, as far as it is known, read as one of the job's operation.

        Which operation that is only the answer says: `isinstance` narrows a value to its type.
        """
        return known(self.operation.type, self.rows or [])


class JobEvent(View, frozen=True, kw_only=True):
    """An event of a job, as streams have it.

    `submitted` has what the job is, and `end` its status and how many nodes have which.
    """

    job_id: Uuid
    event: str | None = None
    timestamp: DateTime | None = None
    hostname: str | None = None
    machine_id: str | None = None
    message: str | None = None
    reason: str | None = None
    error: str | None = None
    data: Any = None
    id: Uuid | None = None
    status: str | None = None
    created: DateTime | None = None
    expires: DateTime | None = None
    operation: OperationView | None = None
    target: str | None = None
    caller: str | None = None
    retry_of: Uuid | None = None
    waves: Annotated[
        dict[str, str] | None,
        Meta(description="How the nodes get their turns, as the request asked for it."),
    ] = None
    nodes: dict[str, int] | None = None


def results(state: JobState) -> list[dict[str, Any]]:
    """Return what is known of each node that a job is for."""
    operation = catalog.get(state.job.operation)
    status = STATUS if operation is None else operation.status
    if not state.tasks and state.job.for_any:
        until = timestamp(state.job.expires)
        reason = f"no node has taken it yet; it runs on the first that can, until {until}"
        return [{"hostname": ANY, status: "pending", "reason": reason}]
    return [result for task in state.tasks.values() for result in task.results(status)]


def _head(job: Job, status: str) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": status,
        "created": timestamp(job.created),
        "expires": timestamp(job.expires),
        "operation": OperationView(type=job.operation, data=job.parameters),
        "target": job.target,
        "caller": job.caller,
        "retry_of": job.retries,
        "waves": None if job.waves is None else msgspec.to_builtins(job.waves),
    }


def listed(job: Listed) -> JobView:
    """Return a job for many nodes as lists have it: how many nodes have which status."""
    return JobView(**_head(job.job, job.status), nodes=job.nodes, changed=job.changed)


def job(state: JobState, events: list[Event]) -> JobView:
    """Return all that is known of a job."""
    tasks = list(state.tasks.values())
    names = Counter(task.hostname for task in tasks)
    responses: dict[str, ResponseView] = {}
    states: dict[str, AgentState] = {}
    for task in tasks:
        name = task.hostname if names[task.hostname] == 1 else task.machine
        duration = None
        if task.started is not None and task.ended is not None:
            duration = f"{max(0.0, task.ended - task.started):.3f}s"
        states[name] = AgentState(
            status=_kind(task), error=task.error, reason=task.reason, duration=duration
        )
        responses[name] = ResponseView(
            hostname=task.hostname,
            status=task.status,
            data=task.data,
            changed=task.changed,
            error=task.error,
            reason=task.reason,
        )
    lead, pause = state.lead, state.turns.paused
    resolved = paused = None
    if lead is not None:
        resolved = ResolvedView(
            digest=lead.value, resolver=lead.hostname, timestamp=timestamp(lead.time)
        )
    if pause is not None:
        paused = PauseView(by=pause.by, since=timestamp(pause.since))
    bad = [task for task in tasks if task.status in BAD]
    errors = [f"{task.hostname}: {why}" for task in bad if (why := task.error or task.reason)]
    return JobView(
        **_head(state.job, state.status),
        changed=state.changed,
        updated_at=timestamp(state.updated),
        nodes=Counter(task.status for task in tasks),
        rows=results(state),
        responses=responses,
        agent_states=states,
        timeline=_timeline(state.job, events, {name for name, one in names.items() if one > 1}),
        hostname=tasks[0].hostname if len(tasks) == 1 else None,
        result=tasks[0].data if len(tasks) == 1 else None,
        resolved=resolved,
        paused=paused,
        error="; ".join(errors[:MOST_ERRORS]) or None,
    )


def _kind(task: Task) -> str:
    """Return a node's status as `agent_states` has it: `completed` where it is `ok`."""
    return COMPLETED if task.status == RESULT_STATUS[COMPLETED] else task.status


def _timeline(made: Job, events: list[Event], alike: set[str]) -> list[Moment]:
    """Return the moments of a job in the order of their times.

    A task that was soon over has its start in the event of its end, which comes later.

    Args:
        alike: the hostnames that several of its nodes have.
    """

    def moment_of(event: Event) -> Moment:
        # A machine id takes as much room as all else: it stands where it is needed.
        machine = event.machine if event.hostname in alike else None
        return Moment(**_moment(event), machine_id=machine)

    first = Moment(timestamp=timestamp(made.created), event="submitted", hostname=made.target)
    moments = [(made.created, first)]
    begun: set[str] = set()
    for event in [*beginnings(made), *(each for one in events for each in shown(one))]:
        if event.kind == STARTED and event.machine in begun:
            continue
        if event.started is not None and event.machine not in begun:
            start = msgspec.structs.replace(event, kind=STARTED, time=event.started, error=None)
            moments.append((start.time, moment_of(start)))
        if event.kind == STARTED or event.started is not None:
            begun.add(event.machine)
        moments.append((event.time, moment_of(event)))
    return [moment for _, moment in sorted(moments, key=operator.itemgetter(0))]


def beginnings(made: Job) -> list[Event]:
    """Return the first turns of a job, which its plan has, as decisions: those worth showing."""
    first = [
        NamedNode(node.machine, node.hostname)
        for node in made.plan
        if node.state in (TURN, CANARY, LEADS)
    ]
    leads = any(node.state == LEADS for node in made.plan)
    if not first or not (leads or made.waves is not None):
        return []
    canary = any(node.state == CANARY for node in made.plan)
    decided = Event(
        made.id, NOBODY, "", RELEASED, made.created, nodes=first, canary=canary, leads=leads
    )
    return [decided]


def shown(event: Event) -> list[Event]:
    """Return an event as the API shows it: leave is the start of each node that has it."""
    if event.kind != LEAVE:
        return [event]
    return [
        Event(event.job, node.machine, node.hostname, STARTED, event.time)
        for node in event.nodes or ()
    ]


def kind(event: Event) -> str:
    """Return what the API calls an event; a step has a name of its own."""
    if event.kind == STEP and event.step is not None:
        return event.step
    if event.kind == RELEASED and event.leads:
        return RESOLVING
    return RESOLVED if event.kind == LED else event.kind


def _moment(event: Event) -> dict[str, Any]:
    moment = {"timestamp": timestamp(event.time), "event": kind(event)}
    if event.hostname:
        moment["hostname"] = event.hostname
    if event.leads and event.nodes:
        moment["message"] = f"by {event.nodes[0].hostname}"
    elif event.nodes is not None:
        moment["message"] = _nodes(event)
    elif event.kind == LED:
        lead = Lead.of(event)
        moment["message"] = f"{lead.value} by {lead.hostname}".strip()
    elif event.machine == NOBODY and (caller := event.said("caller")) is not None:
        moment["message"] = f"by {caller}"
    if event.error is not None:
        moment[_place(event)] = event.error
    return moment


def _place(event: Event) -> str:
    """Return the field that has an event's sentence: `error` only where something failed."""
    if event.kind == STEP:
        return "message" if event.waits is None else "reason"
    return "reason" if event.kind in HAVE_REASONS else "error"


def _nodes(event: Event) -> str:
    nodes = event.nodes or []
    what = "canary" if event.canary else "node"
    counted = f"{len(nodes)} {what}{'' if len(nodes) == 1 or event.canary else 's'}"
    if len(nodes) > MOST_NAMES:
        return counted
    return f"{counted}: {', '.join(node.hostname for node in nodes)}"


def submitted(job: Job) -> JobEvent:
    """Return the making of a job as an event of a stream."""
    head = _head(job, "submitted")
    return JobEvent(job_id=job.id, event="submitted", timestamp=timestamp(job.created), **head)


def event(event: Event) -> JobEvent:
    """Return an event as streams have it."""
    named = bool(event.hostname)
    return JobEvent(
        job_id=event.job,
        machine_id=event.machine if named else None,
        data=event.data if named else None,
        **_moment(event),
    )


def ended(job_id: str, status: str, nodes: dict[str, int]) -> JobEvent:
    """Return the last event of a job's stream."""
    return JobEvent(job_id=job_id, status=status, nodes=nodes)
