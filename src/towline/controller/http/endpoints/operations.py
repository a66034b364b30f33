"""`/node/{hostname}/…`: what can be done to nodes, a route for each operation."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from towline.controller.auth import Caller
from towline.controller.http import request as reading
from towline.controller.http import views
from towline.controller.http.app import Route
from towline.controller.http.endpoints.jobs import made
from towline.controller.http.middleware import answer
from towline.controller.http.preferences import Waits, preferred
from towline.controller.jobs.submit import Submission, Submitter
from towline.errors import sentence
from towline.operation import AnyOperation, catalog
from towline.wire.event import BAD, OWN_CODES
from towline.wire.target import ANY, Hostname

ENDED = {"failed": "failed", "cancelled": "was cancelled", "expired": "expired"}
"""What is said of a node on which an operation did not end well, by its status."""


class Operations:
    """The endpoints that make jobs of operations."""

    def __init__(self, submitter: Submitter, waits: Waits) -> None:
        self._submitter = submitter
        self._waits = waits

    def routes(self) -> list[Route]:
        """Return a route for each operation that there is."""
        return [self._route(operation) for operation in catalog]

    def _route(self, operation: AnyOperation) -> Route:
        async def handle(request: Request, caller: Caller) -> Response:
            return await self._run(request, caller, operation)

        return Route(operation.method, operation.route, operation.permission, handle)

    async def _run(self, request: Request, caller: Caller, operation: AnyOperation) -> Response:
        target = reading.target(request)
        values = reading.query(request)
        options = reading.job_options(values)
        parameters = await reading.parameters(request, operation, values)
        preferences = preferred(request, self._waits)
        submission = Submission(
            operation,
            parameters,
            target,
            caller.subject,
            expires=options.expires,
            waves=options.waves,
            trace=reading.traceparent(request),
            key=reading.idempotency_key(request),
            credential=reading.registry_auth(request, operation, parameters),
        )
        state = await self._submitter.submit(submission, wait=preferences.wait)
        request.state.job = state.job.id
        headers = made(state, preferences)
        single = target == ANY or isinstance(target, Hostname)
        if single and state.done:
            failed = next(iter(state.tasks.values()))
            if failed.status in BAD:
                why = failed.error or failed.reason
                code = failed.code if failed.code in OWN_CODES else 500
                error = {
                    "error": sentence(
                        f"{operation.label} {ENDED[failed.status]} on {failed.hostname}", why
                    ),
                    "details": f"{why} (job {state.job.id})",
                    "code": code,
                }
                return answer(error, code, headers)
        body = {"job_id": state.job.id, "results": views.results(state)}
        return answer(body, operation.success, headers)
