"""`/job`: lists of jobs, what became of each, and what can be done to it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from towline.controller.auth import Caller
from towline.controller.fleet import Fleet
from towline.controller.http import queries, views
from towline.controller.http import request as reading
from towline.controller.http.app import Route
from towline.controller.http.middleware import answer
from towline.controller.http.preferences import Preferences, Waits, preferred
from towline.controller.jobs.lists import Filter, Listed, Lists
from towline.controller.jobs.lookup import Lookup
from towline.controller.jobs.state import JobState
from towline.controller.jobs.steering import Steering
from towline.controller.jobs.submit import Submitter
from towline.errors import InvalidRequest
from towline.operation import catalog
from towline.units import timestamp

FEW = 20
"""Nodes up to which a list says everything of a job."""
STEERS_ALL = "docker:write"
"""The permission by which jobs of every operation can be steered."""


class Jobs:
    """The endpoints of jobs."""

    def __init__(
        self,
        lookup: Lookup,
        submitter: Submitter,
        steering: Steering,
        lists: Lists,
        fleet: Fleet,
        waits: Waits,
    ) -> None:
        self._lookup = lookup
        self._submitter = submitter
        self._steering = steering
        self._lists = lists
        self._fleet = fleet
        self._waits = waits

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/job", "job:read", self._list),
            Route("GET", "/job/{id}", "job:read", self._get),
            Route("DELETE", "/job/{id}", "job:write", self._delete),
            Route("POST", "/job/{id}/retry", "job:write", self._retry),
            Route("POST", "/job/{id}/cancel", None, self._cancel),
            Route("POST", "/job/{id}/pause", None, self._pause),
            Route("POST", "/job/{id}/resume", None, self._resume),
        ]

    async def _list(self, request: Request, caller: Caller) -> Response:
        query = queries.query_as(request, queries.JobQuery)
        cursor = queries.given(query.cursor)
        if cursor is not None and query.offset:
            raise InvalidRequest("A page has a cursor or an offset, not both.", "Leave one out")
        wanted = Filter(
            status=queries.given(query.status),
            **queries.common(query, self._fleet),
            since=queries.moment("since", query.since),
            until=queries.moment("until", query.until),
        )
        total = self._lists.count(wanted)
        found, following = list[Listed](), None
        if total > query.offset:
            found, following = self._lists.page(
                wanted, limit=query.limit, before=cursor, offset=query.offset
            )
        body: dict[str, Any] = {
            "total_items": total,
            "status_counts": self._lists.statuses(),
            "items": [self._item(job) for job in found],
        }
        if following is not None:
            body["next_cursor"] = following
        return answer(body)

    def _item(self, job: Listed) -> dict[str, Any]:
        if sum(job.nodes.values()) <= FEW:
            found = self._lookup.folded(job.job.id)
            if found is not None:
                return views.job(*found)
        return views.listed(job)

    async def _get(self, request: Request, caller: Caller) -> Response:
        preferences = preferred(request, self._waits, default=0.0)
        found = await self._lookup.get(reading.job_id(request), wait=preferences.wait)
        headers = {}
        if preferences.applied:
            headers["Preference-Applied"] = preferences.applied
        return answer(views.job(*found), headers=headers)

    async def _delete(self, request: Request, caller: Caller) -> Response:
        state, _ = await self._lookup.get(reading.job_id(request))
        request.state.job = state.job.id
        await self._steering.delete(state)
        return Response(status_code=204)

    async def _retry(self, request: Request, caller: Caller) -> Response:
        options = reading.retry_options(request)
        target = await reading.retry_target(request)
        state, _ = await self._lookup.get(reading.job_id(request))
        submission = self._steering.retry(
            state,
            caller=caller.subject,
            target=target,
            expires=options.expires,
            waves=options.waves,
        )
        caller.require(submission.operation.permission)
        submission = msgspec.structs.replace(
            submission,
            key=reading.idempotency_key(request),
            credential=reading.registry_auth(request, submission.operation, submission.parameters),
            trace=reading.traceparent(request),
        )
        preferences = preferred(request, self._waits, default=0.0)
        again = await self._submitter.submit(submission, wait=preferences.wait)
        request.state.job = again.job.id
        body = {
            "job_id": again.job.id,
            "status": "created",
            "timestamp": timestamp(again.job.created),
        }
        return answer(body, 201, made(again, preferences))

    async def _cancel(self, request: Request, caller: Caller) -> Response:
        state = await self._steered(request, caller)
        preferences = preferred(request, self._waits)
        state = await self._steering.cancel(state, caller=caller.subject, wait=preferences.wait)
        body = {
            "job_id": state.job.id,
            "status": state.status,
            "results": views.results(state),
        }
        return answer(body, headers=made(state, preferences))

    async def _pause(self, request: Request, caller: Caller) -> Response:
        state = await self._steered(request, caller)
        return answer(views.turns(await self._steering.pause(state, caller=caller.subject)))

    async def _resume(self, request: Request, caller: Caller) -> Response:
        state = await self._steered(request, caller)
        return answer(views.turns(await self._steering.resume(state, caller=caller.subject)))

    async def _steered(self, request: Request, caller: Caller) -> JobState:
        """Return the job that a caller wants to steer, and may."""
        state, _ = await self._lookup.get(reading.job_id(request))
        operation = catalog.get(state.job.operation)
        if STEERS_ALL not in caller.permissions:
            caller.require(operation.permission if operation else STEERS_ALL)
        request.state.job = state.job.id
        return state


def made(state: JobState, preferences: Preferences) -> dict[str, str]:
    """Return the headers of an answer about a job that was made or changed."""
    headers = {"Location": f"/job/{state.job.id}"}
    if preferences.applied:
        headers["Preference-Applied"] = preferences.applied
    return headers
