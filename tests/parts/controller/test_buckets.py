"""The buckets that controllers make are those that brokers of earlier versions hold."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.testing.signing import SIGNER
from towline.broker.jetstream import JetStream
from towline.controller.cooldowns import Cooldowns
from towline.controller.credentials.store import CredentialStore
from towline.controller.fleet import Fleet
from towline.controller.jobs.idempotency import Keys
from towline.controller.presence import Presence
from towline.controller.rollout.lease import Lease
from towline.runtime.keys import open_vault

SECOND = 1_000_000_000
MIB = 1024**2
# As version 0.1 made them, but for `cooldowns`, which is later.
FIRST: dict[str, dict[str, Any]] = {
    "nodes": {"storage": "file", "deny_delete": True, "max_consumers": 1000},
    "states": {"storage": "file", "deny_delete": True, "max_consumers": 1000},
    "requests": {
        "storage": "file",
        "max_age": 86400 * SECOND,
        "max_bytes": 256 * MIB,
        "deny_delete": True,
    },
    "credentials": {"storage": "file", "max_bytes": 256 * MIB, "max_consumers": 1000},
    "leases": {"storage": "memory", "max_age": 6 * SECOND},
    "cooldowns": {
        "storage": "memory",
        "max_age": 12 * 3600 * SECOND,
        "max_bytes": 16 * MIB,
        "discard": "old",
    },
}


@pytest.fixture
def makers(jetstream: JetStream, tmp_path: Path) -> list[Callable[[int], Awaitable[None]]]:
    vault = open_vault(tmp_path / "credentials.key", create=True)
    return [
        Presence(Fleet(), jetstream.connection, jetstream, SIGNER).create,
        Keys(jetstream).create,
        CredentialStore(jetstream, vault).create,
        Lease(jetstream, "rollouts").create,
        Cooldowns(jetstream, time.time).create,
    ]


async def stored(jetstream: JetStream) -> dict[str, Any]:
    """Return the configuration of all buckets, as the broker keeps it."""
    listed = (await jetstream.call("STREAM.LIST"))["streams"]
    return {info["config"]["name"]: info["config"] for info in listed}


async def test_buckets_of_an_earlier_version_are_the_buckets_that_are_made_now(
    jetstream: JetStream, makers: list[Callable[[int], Awaitable[None]]]
) -> None:
    for name, config in FIRST.items():
        body = {
            "name": f"KV_{name}",
            "subjects": [f"$KV.{name}.>"],
            "retention": "limits",
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "num_replicas": 1,
            **config,
        }
        await jetstream.call(f"STREAM.CREATE.KV_{name}", body)
    earlier = await stored(jetstream)
    for make in makers:
        await make(1)
    assert await stored(jetstream) == earlier
    for name in earlier:
        await jetstream.call(f"STREAM.DELETE.{name}")
    for make in makers:
        await make(1)
    assert await stored(jetstream) == earlier
