"""Views: jobs, events and nodes as the API's answers have them."""

from __future__ import annotations

import operator
import time
from collections import Counter
from typing import Any, Literal

import msgspec

from towline.controller.credentials.store import StoredCredential
from towline.controller.fleet import Member
from towline.controller.jobs.lists import Listed
from towline.controller.jobs.state import JobState, Task
from towline.endpoints.nodes import (
    AgentView,
    Interface,
    Memory,
    NodeCondition,
    NodeMoment,
    OsInfo,
    Route,
)
from towline.operation import STATUS, catalog
from towline.operations.node import LoadAverage
from towline.units import show_uptime, timestamp
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
from towline.wire.facts import known
from towline.wire.job import CANARY, LEADS, TURN, Job
from towline.wire.node import Conditions
from towline.wire.target import ANY

MOST_NAMES = 5
"""Nodes that a moment of the timeline names; of more it says how many."""
RESOLVING, RESOLVED = "resolving", "resolved"
"""What the API has always called that a node leads, and what it has found."""
HAVE_REASONS = frozenset({SKIPPED, CANCELLED, EXPIRED, WITHHELD})
"""Kinds of events whose sentence says why, and is no error."""
MOST_ERRORS = 10
"""Errors that a job's own `error` repeats; each node's stands with the node."""


def results(state: JobState) -> list[dict[str, Any]]:
    """Return what is known of each node that a job is for."""
    operation = catalog.get(state.job.operation)
    status = STATUS if operation is None else operation.status
    if not state.tasks and state.job.target == ANY:
        until = timestamp(state.job.expires)
        reason = f"no node has taken it yet; it runs on the first that can, until {until}"
        return [{"hostname": ANY, status: "pending", "reason": reason}]
    return [result for task in state.tasks.values() for result in task.results(status)]


def _head(job: Job, status: str, changed: bool | None = None) -> dict[str, Any]:
    head: dict[str, Any] = {
        "id": job.id,
        "status": status,
        "created": timestamp(job.created),
        "expires": timestamp(job.expires),
        "operation": {"type": job.operation, "data": job.parameters},
        "target": job.target,
        "caller": job.caller,
    }
    if job.retries is not None:
        head["retry_of"] = job.retries
    if job.waves is not None:
        head["waves"] = job.waves
    if changed is not None:
        head["changed"] = changed
    return head


def listed(job: Listed) -> dict[str, Any]:
    """Return a job for many nodes as lists have it: how many nodes have which status."""
    return _head(job.job, job.status, job.changed) | {"nodes": job.nodes}


def job(state: JobState, events: list[Event]) -> dict[str, Any]:
    """Return all that is known of a job."""
    tasks = list(state.tasks.values())
    names = Counter(task.hostname for task in tasks)
    responses: dict[str, dict[str, Any]] = {}
    states: dict[str, dict[str, Any]] = {}
    for task in tasks:
        name = task.hostname if names[task.hostname] == 1 else task.machine
        outcome: dict[str, Any] = {"status": _kind(task)}
        if task.error is not None:
            outcome["error"] = task.error
        if task.reason is not None:
            outcome["reason"] = task.reason
        response = outcome | {"status": task.status, "hostname": task.hostname}
        if task.data is not None:
            response["data"] = task.data
        if task.changed is not None:
            response["changed"] = task.changed
        if task.started is not None and task.ended is not None:
            outcome["duration"] = f"{max(0.0, task.ended - task.started):.3f}s"
        responses[name], states[name] = response, outcome
    made = state.job
    described = _head(made, state.status, state.changed) | {
        "updated_at": timestamp(state.updated),
        "nodes": Counter(task.status for task in tasks),
        "results": results(state),
        "responses": responses,
        "agent_states": states,
        "timeline": _timeline(made, events),
    }
    if len(tasks) == 1:
        described["hostname"] = tasks[0].hostname
        if tasks[0].data is not None:
            described["result"] = tasks[0].data
    if state.lead is not None:
        lead = state.lead
        described["resolved"] = {
            "digest": lead.value,
            "resolver": lead.hostname,
            "timestamp": timestamp(lead.time),
        }
    if state.turns.paused is not None:
        pause = state.turns.paused
        described["paused"] = {"by": pause.by, "since": timestamp(pause.since)}
    bad = [task for task in tasks if task.status in BAD]
    errors = [f"{task.hostname}: {why}" for task in bad if (why := task.error or task.reason)]
    if errors:
        described["error"] = "; ".join(errors[:MOST_ERRORS])
    return described


def _kind(task: Task) -> str:
    """Return a node's status as `agent_states` has it: `completed` where it is `ok`."""
    return COMPLETED if task.status == RESULT_STATUS[COMPLETED] else task.status


def turns(state: JobState) -> dict[str, Any]:
    """Return how far the turns of a job's nodes are, for whoever paused or resumed it."""
    waiting = len(state.turns.waiting)
    going = len(state.unfinished) - waiting
    paused = state.turns.paused is not None
    return {
        "job_id": state.job.id,
        "status": state.status,
        "message": f"{'Paused' if paused else 'Resumed'}: {waiting} of {len(state.tasks)} nodes "
        f"wait for their turn, {going} go on.",
    }


def _timeline(made: Job, events: list[Event]) -> list[dict[str, Any]]:
    """Return the moments of a job in the order of their times.

    A task that was soon over has its start in the event of its end, which comes later.
    """
    moments = [
        (
            made.created,
            {"timestamp": timestamp(made.created), "event": "submitted", "hostname": made.target},
        )
    ]
    begun: set[str] = set()
    for event in [*beginnings(made), *(each for one in events for each in shown(one))]:
        if event.kind == STARTED and event.machine in begun:
            continue
        if event.started is not None and event.machine not in begun:
            start = msgspec.structs.replace(event, kind=STARTED, time=event.started, error=None)
            moments.append((start.time, _moment(start)))
        if event.kind == STARTED or event.started is not None:
            begun.add(event.machine)
        moments.append((event.time, _moment(event)))
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


def submitted(job: Job) -> dict[str, Any]:
    """Return the making of a job as an event of a stream."""
    made = {"job_id": job.id, "event": "submitted", "timestamp": timestamp(job.created)}
    return made | _head(job, "submitted")


def event(event: Event) -> dict[str, Any]:
    """Return an event as streams have it."""
    described = {"job_id": event.job} | _moment(event)
    if event.hostname:
        described["machine_id"] = event.machine
    if event.data is not None and event.hostname:
        described["data"] = event.data
    return described


def registry(stored: StoredCredential, *, readable: bool) -> dict[str, Any]:
    """Return what may be known of a credential that is kept for a registry: never the secret."""
    described: dict[str, Any] = {"registry": stored.registry}
    if stored.username:
        described["username"] = stored.username
    return described | {
        "type": stored.kind,
        "updated_at": timestamp(stored.updated),
        "updated_by": stored.by,
        "readable": readable,
    }


def agent(member: Member) -> AgentView:
    """Return what is known of a node."""
    registration, beat = member.registration, member.heartbeat
    facts = registration.facts
    os_info = uptime = load = memory = None
    if facts.distribution:
        os_info = OsInfo(facts.distribution, facts.os_version)
    if registration.booted is not None and member.here:
        uptime = show_uptime(time.time() - registration.booted)
    if beat is not None and beat.load is not None:
        load = LoadAverage(*beat.load)
    if beat is not None and beat.memory is not None:
        memory = Memory(*beat.memory)
    return AgentView(
        hostname=member.hostname,
        machine_id=member.machine,
        status="Ready" if member.here else "NotReady",
        state=_state(member),
        drained_at=None if member.drained is None else timestamp(member.drained),
        labels=registration.labels,
        registered_at=timestamp(member.registered),
        started_at=timestamp(registration.started),
        last_heard=timestamp(member.last_heartbeat),
        version=registration.version,
        os_info=os_info,
        uptime=uptime,
        load_average=load,
        memory=memory,
        architecture=facts.architecture or None,
        kernel_version=facts.kernel or None,
        cpu_count=facts.cpu_count or None,
        fqdn=facts.fqdn or None,
        service_mgr=facts.service_manager or None,
        package_mgr=facts.package_manager or None,
        interfaces=[Interface(*msgspec.structs.astuple(each)) for each in facts.interfaces],
        primary_interface=facts.primary_interface or None,
        routes=[Route(*msgspec.structs.astuple(each)) for each in facts.routes],
        facts=known(facts, member.hostname),
        conditions=[] if beat is None else _conditions(beat.conditions),
        capabilities=[] if beat is None else sorted(beat.capabilities),
        troubles={}
        if beat is None
        else {name: why for name, why in beat.capabilities.items() if why},
        running=None if beat is None else beat.running,
        timeline=_history(member),
    )


def _state(member: Member) -> Literal["Ready", "NotReady", "Draining", "Cordoned"]:
    # Some clients show nothing else of a node.
    if not member.here:
        return "NotReady"
    if member.drained is None:
        return "Ready"
    return "Draining" if member.heartbeat is not None and member.heartbeat.running else "Cordoned"


def _conditions(found: Conditions) -> list[NodeCondition]:
    return [
        NodeCondition(name, each.status, timestamp(each.since), each.reason or None)
        for name, each in found.known.items()
    ]


def _history(member: Member) -> list[NodeMoment]:
    moments: list[tuple[float, str, str | None]] = [
        (member.registered, "registered", None),
        (member.registration.started, "started", None),
    ]
    if member.state.changed:
        what = "undrained" if member.drained is None else "drained"
        moments.append((member.state.changed, what, f"by {member.state.by}"))
    return [
        NodeMoment(timestamp(moment), what, member.hostname, why)
        for moment, what, why in sorted(moments, key=operator.itemgetter(0))
    ]
