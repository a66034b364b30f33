"""`/audit`: who has changed something, who was refused, and whether that was tampered with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Meta

from towline.endpoint import Context, endpoint, endpoints
from towline.endpoints.fields import (
    DateTime,
    Since,
    Uuid,
    View,
    When,
    is_uuid,
    moment,
    named,
    one_of,
)
from towline.errors import NotFound
from towline.operation import catalog
from towline.signature import Check, Flag
from towline.units import timestamp

if TYPE_CHECKING:
    from towline.controller.audit.archive import Filter
    from towline.controller.audit.entry import Entry

READS = "audit:read"
MOST_EXPORTED = 50_000
MOST_JOBS = 100


def _entry_id(text: str) -> None:
    if not is_uuid(text):
        raise ValueError(f"{text[:80]!r} is not the id of an entry, which is a UUID")


OfUser: TypeAlias = Annotated[str, Meta(description="Requests of this caller."), Flag("NAME")]
OfOperation: TypeAlias = Annotated[
    str, Meta(description="For example docker.pull."), Flag("OPERATION")
]
OfCode: TypeAlias = Annotated[int, Meta(ge=100, le=599, description="The status of the answer.")]
OfJob: TypeAlias = Annotated[
    str, Meta(description="Requests about this job, by its id or short id."), Flag("JOB_ID")
]
Until: TypeAlias = Annotated[When, Meta(description="Answered before then, as `since`.")]
EntryId: TypeAlias = Annotated[
    str, Meta(extra_json_schema={"format": "uuid"}), Check(_entry_id), Flag("ENTRY_ID")
]


class AuditEntry(View, frozen=True, kw_only=True):
    """A request that was to change something, or was refused; its parameters stand with its job."""

    id: Uuid
    timestamp: DateTime
    user: Annotated[str, Meta(description="The token's subject; empty where none was valid.")]
    roles: list[str]
    method: str
    path: Annotated[str, Meta(description="As it was sent, without the query.")]
    operation_id: Annotated[str | None, Meta(description="The name of the endpoint.")] = None
    source_ip: str
    response_code: int
    duration_ms: int
    trace_id: str | None = None
    token_id: Annotated[str | None, Meta(description="The token's `jti`.")] = None
    target: Annotated[str | None, Meta(description="What the path names.")] = None
    job_id: Uuid | None = None
    made: Annotated[str | None, Meta(description="Where what it has made is to be found.")] = None
    count: Annotated[
        int | None,
        Meta(description="How many such requests it stands for, of which it is the last."),
    ] = None
    lost: Annotated[int | None, Meta(description="How many requests before it have no entry.")] = (
        None
    )
    controller: Annotated[str, Meta(description="The machine of the controller that answered.")]
    chain: Annotated[str, Meta(description="Drawn by each controller whenever it starts.")]
    number: Annotated[int, Meta(description="Its place in the chain.")]


class AuditPage(View, frozen=True, kw_only=True):
    """Entries of the audit, the newest first."""

    total_items: Annotated[int, Meta(description="How many entries the filters leave.")]
    items: list[AuditEntry]


class AuditItem(View, frozen=True, kw_only=True):
    """One entry of the audit."""

    entry: AuditEntry


class AuditFault(View, frozen=True, kw_only=True):
    """Something in the audit that is not as a controller has stored it."""

    kind: Annotated[str, one_of("changed", "removed", "put in")]
    error: str
    controller: str | None = None
    chain: str | None = None
    number: Annotated[int | None, Meta(description="Of the entry, or of the first of several.")] = (
        None
    )
    id: Uuid | None = None
    timestamp: DateTime | None = None


class AuditVerdict(View, frozen=True, kw_only=True):
    """Whether the audit is what controllers have stored; if not, where it is another."""

    intact: bool
    entries: int
    chains: int
    checkpoints: int
    forgotten: Annotated[
        int, Meta(description="How many entries are known to have been there, and not kept.")
    ]
    faults: Annotated[list[AuditFault], Meta(description="The first of each chain comes first.")]
    jobs_without_entry: Annotated[
        list[Uuid],
        Meta(
            description="Jobs that change something, and whose entry was lost with a controller. "
            "The job says who has made it."
        ),
    ]


@endpoint("audit.list", "GET /audit", permission=READS, command=None, typed="audit")
async def list_audit(
    context: Context,
    *,
    limit: Annotated[int, Meta(ge=1, le=100)] = 20,
    offset: Annotated[int, Meta(ge=0, le=2**62)] = 0,
    user: OfUser | None = None,
    operation: OfOperation | None = None,
    code: OfCode | None = None,
    job: OfJob | None = None,
    since: Since | None = None,
    until: Until | None = None,
) -> AuditPage:
    """Who has changed something, and who was refused; the newest first."""
    archive = context.controller.archive
    await archive.catch_up()
    wanted = _filter(context, user, operation, code, job, since, until)
    found = archive.entries(wanted, limit=limit, offset=offset)
    return AuditPage(total_items=archive.count(wanted), items=[_view(each) for each in found])


@endpoint("audit.export", "GET /audit/export", permission=READS)
async def export(
    context: Context,
    *,
    user: OfUser | None = None,
    operation: OfOperation | None = None,
    code: OfCode | None = None,
    job: OfJob | None = None,
    since: Since | None = None,
    until: Until | None = None,
) -> AuditPage:
    """All entries of the audit, or the newest 50,000 of them; `until` asks for those before."""
    archive = context.controller.archive
    await archive.catch_up()
    wanted = _filter(context, user, operation, code, job, since, until)
    found = await archive.export(wanted, most=MOST_EXPORTED)
    return AuditPage(total_items=archive.count(wanted), items=[_view(each) for each in found])


@endpoint("audit.verify", "GET /audit/verify", permission=READS, command=None, typed="audit verify")
async def verify(context: Context) -> AuditVerdict:
    """Read all of the audit, and name what was changed, removed or put in.

    What is signed is verified by the keys of this controller. Entries that are too old to be kept
    are not missed.
    """
    controller = context.controller
    found = await controller.archive.verify()
    return AuditVerdict(
        intact=not found.faults,
        entries=found.entries,
        chains=found.chains,
        checkpoints=found.checkpoints,
        forgotten=found.forgotten,
        faults=[
            AuditFault(
                kind=each.kind,
                error=each.error,
                controller=each.controller or None,
                chain=each.chain or None,
                number=each.number or None,
                id=each.id or None,
                timestamp=None if each.time is None else timestamp(each.time),
            )
            for each in found.faults
        ],
        jobs_without_entry=controller.archive.without_entry(
            time.time() - controller.waits.longest, MOST_JOBS
        ),
    )


@endpoint("audit.get", "GET /audit/{id}", permission=READS, errors=(404,))
async def get(context: Context, *, id: EntryId) -> AuditItem:
    """One entry of the audit."""
    archive = context.controller.archive
    found = archive.get(id.lower())
    if found is None:
        await archive.catch_up()
        found = archive.get(id.lower())
    if found is None:
        raise NotFound(f"No entry {id[:80]!r} of the audit is kept.", "GET /audit shows them")
    return AuditItem(entry=_view(found))


def _filter(
    context: Context,
    user: str | None,
    operation: str | None,
    code: int | None,
    job: str | None,
    since: str | None,
    until: str | None,
) -> Filter:
    archive = context.controller.archive
    return archive.filter(
        caller=user,
        operation=named(
            operation,
            (*catalog, *endpoints),
            lambda name: archive.count(archive.filter(operation=name)),
        ),
        status=code,
        job=None if job is None else job.lower(),
        since=None if since is None else moment(since),
        until=None if until is None else moment(until),
    )


def _view(entry: Entry) -> AuditEntry:
    return AuditEntry(
        id=entry.id,
        timestamp=timestamp(entry.time),
        user=entry.caller,
        roles=entry.roles,
        method=entry.method,
        path=entry.path,
        operation_id=entry.operation or None,
        source_ip=entry.address,
        response_code=entry.status,
        duration_ms=entry.milliseconds,
        trace_id=entry.trace or None,
        token_id=entry.token or None,
        target=entry.target or None,
        job_id=entry.job or None,
        made=entry.made or None,
        count=entry.count if entry.count > 1 else None,
        lost=entry.lost or None,
        controller=entry.controller,
        chain=entry.chain,
        number=entry.number,
    )
