"""Results of nodes, read as what the operation has returned."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from towline.operation import STATUS, AnyOperation, catalog

T = TypeVar("T", bound=msgspec.Struct)


class Result(msgspec.Struct, Generic[T], frozen=True):
    """What became of a job on one node.

    Attributes:
        status: ok, failed, skipped, pending, running, cancelled or expired.
        value: what the operation returned; None unless `status` is ok, and where this version
            does not know the operation.
        error: why the node failed; None unless `status` is failed.
        waits: what the node waits for. A pending node that is here waits for its turn:
            max_parallel, canary or paused. A running one waits for other pulls on it, max_pulls,
            or for a registry that has had too many requests, registry.
        machine_id: the node's, which tells two nodes of the same hostname apart. None while no
            node has taken a job for any node.
        reason: why a node is pending, skipped, expired or cancelled, or what a running one waits
            for, in words.
    """

    hostname: str
    status: str
    value: T | None = None
    error: str | None = None
    waits: str | None = None
    machine_id: str | None = None
    reason: str | None = None


class _Outcome(msgspec.Struct, frozen=True):
    """What the results of all operations have in common."""

    hostname: str
    error: str | None = None
    waits: str | None = None
    machine_id: str | None = None
    reason: str | None = None


_outcomes = list[_Outcome]


def read(operation: AnyOperation | None, rows: list[dict[str, Any]]) -> list[Result[Any]]:
    """Return results as an answer has them, read as those of an operation.

    Args:
        operation: None for one that this version does not know.

    Raises:
        msgspec.ValidationError: they aren't this operation's.
    """
    status = STATUS if operation is None else operation.status
    found = []
    for outcome, row in zip(msgspec.convert(rows, _outcomes), rows, strict=True):
        became = msgspec.convert(row.get(status), str)
        value = None
        if became == "ok" and operation is not None:
            value = msgspec.convert(row, operation.result)
        found.append(Result(status=became, value=value, **msgspec.structs.asdict(outcome)))
    return found


def known(name: str, rows: list[dict[str, Any]]) -> list[Result[Any]]:
    """Return results of the operation of a name; raises as `read`."""
    return read(catalog.get(name), rows)
