"""`/event`, `/job/{id}/events` and `/job/{id}/progress`: what goes on, as it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from towline.broker.journal import STREAMS
from towline.controller.auth import Caller
from towline.controller.fleet import Fleet
from towline.controller.http import progress, queries, sse
from towline.controller.http import request as reading
from towline.controller.http.app import Route
from towline.controller.http.middleware import answer
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lists import Filter
from towline.controller.jobs.lookup import Lookup
from towline.controller.progress.watches import Watches
from towline.errors import NotFound


class Streams:
    """The endpoints that stream.

    Args:
        stopping: set when the controller stops: then all streams end.
    """

    def __init__(
        self,
        lookup: Lookup,
        feed: Feed,
        index: Index,
        indexer: Indexer,
        watches: Watches,
        fleet: Fleet,
        stopping: asyncio.Event,
    ) -> None:
        self._lookup = lookup
        self._feed = feed
        self._fleet = fleet
        self._events = sse.EventStreams(feed, index, indexer, stopping)
        self._progress = progress.ProgressStreams(watches, stopping)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/event", "job:read", self._all),
            Route("GET", "/job/{id}/events", "job:read", self._of_job),
            Route("GET", "/job/{id}/progress", "job:read", self._progress_of_job),
        ]

    async def _of_job(self, request: Request, caller: Caller) -> Response:
        after = sse.place(request.headers.get("last-event-id"))
        state, _ = await self._lookup.get(reading.job_id(request))
        job = state.job
        if after is not None and state.done:
            more = (
                self._feed.after(stream, last, 1, job_id=job.id)
                for stream, last in zip(STREAMS, after, strict=True)
            )
            if not any(more):
                # Else a browser that has received the end would come back for ever.
                return Response(status_code=204)
        return _streaming(self._events.of_job(job, after))

    async def _progress_of_job(self, request: Request, caller: Caller) -> Response:
        query = queries.query_as(request, queries.ProgressQuery)
        last = request.headers.get("last-event-id")
        state, _ = await self._lookup.get(reading.job_id(request))
        job_id = state.job.id
        machine = queries.machine(queries.given(query.node), self._fleet)
        if machine is not None and state.tasks and machine not in state.tasks:
            raise NotFound(
                f"{query.node} has no part in job {job_id}.", f"GET /job/{job_id} tells which have"
            )
        if reading.wants_json(request):
            return answer(await self._progress.snapshot(job_id, machine))
        if last == progress.END and state.done:
            # Else a browser that has received the end would come back for ever.
            return Response(status_code=204)
        return _streaming(self._progress.of_job(job_id, machine))

    async def _all(self, request: Request, caller: Caller) -> Response:
        query = queries.query_as(request, queries.EventQuery)
        wanted = Filter(**queries.common(query, self._fleet))
        named = queries.given(query.event) or ""
        kinds = frozenset(kind for kind in named.split(",") if kind)
        begin = sse.place(request.headers.get("last-event-id")) or self._events.beginning(
            queries.moment("since", query.since)
        )
        return _streaming(self._events.of_all(wanted, kinds, begin))


def _streaming(events: AsyncIterator[bytes]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type=sse.MEDIA_TYPE, headers=headers)
