"""A request for a job, with what each of its options means."""

from __future__ import annotations

from typing import Any

import msgspec

from towline.controller.auth import Caller
from towline.controller.jobs.idempotency import digest
from towline.controller.permissions import Bounds
from towline.errors import InvalidRequest
from towline.operation import Operation
from towline.options import JobOptions, RunOptions
from towline.units import parse_duration
from towline.wire import rollout
from towline.wire.credential import Credential
from towline.wire.event import Lead
from towline.wire.rollout import Waves
from towline.wire.target import Target


class Submission(msgspec.Struct, frozen=True):
    """A request for a job.

    Attributes:
        parameters: the operation's, validated, as plain data.
        caller: the token's subject.
        bounds: how far the caller may do that.
        expires: seconds within which a node must begin it; None for what is usual.
        trace: the request's, see `Job.trace`.
        key: the caller's `Idempotency-Key`.
        retries: the job that this is to retry, and only on the machines `only`.
        waves: how its nodes get their turns; None for all at once.
        credential: what the request brought for the place that the operation asks.
        lead: that of the job that this is to retry.
        seen: which nodes the caller may read; None for none.
    """

    operation: Operation[..., Any]
    parameters: dict[str, Any]
    target: Target
    caller: str
    bounds: Bounds
    expires: float | None = None
    trace: str | None = None
    key: str | None = None
    retries: str | None = None
    only: frozenset[str] | None = None
    waves: Waves | None = None
    credential: Credential | None = None
    lead: Lead | None = None
    seen: Bounds | None = None

    @classmethod
    def of(
        cls,
        operation: Operation[..., Any],
        parameters: dict[str, Any],
        target: Target,
        caller: Caller,
        options: RunOptions,
    ) -> Submission:
        """Return a submission with a request's options, each as what it means.

        Raises:
            Forbidden: the caller may not do that at all.
            InvalidRequest: one is not valid; of a credential nothing is repeated.
        """
        expires = options.expires
        bounds = caller.bounds(operation.permission)
        try:
            return cls(
                *(operation, parameters, target, caller.subject, bounds),
                expires=None if expires is None else parse_duration(expires),
                key=options.idempotency_key,
                waves=Waves.of(
                    {
                        name: str(given)
                        for name in rollout.OPTIONS
                        if (given := getattr(options, name)) is not None
                    }
                ),
                credential=options.credential_for(operation.credential_for(parameters))
                if isinstance(options, JobOptions) and operation.takes_credential
                else None,
                seen=caller.seen,
            )
        except ValueError as error:
            raise InvalidRequest.because("A job option is not valid", error) from error

    @property
    def digest(self) -> str:
        """What is the same only for the same request: it says whether a key came with another."""
        parts: list[object] = [self.operation.name, self.parameters, str(self.target), self.expires]
        # What a request doesn't have stays out: a controller that knows less of requests digests
        # those that have no more just so.
        if self.waves is not None:
            parts.append(self.waves)
        if self.retries is not None:
            parts.append({"retries": self.retries})
        return digest(*parts)
