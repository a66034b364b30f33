"""Parts of another version."""

import json
import time
from typing import Any

import httpx
from nats.aio.client import Client

from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.passages import (
    EFFECTS,
    ONE,
    TWO,
    answering,
    ask,
    asked,
    at_broker,
    counts,
    ends,
    machine,
)


def test_what_a_newer_version_says_breaks_neither_side(
    system: Cluster, gate: Gate, other: httpx.Client, name: str
) -> None:
    known, target = asked(system.admin, ONE, name), machine(system)
    assert ends(system, known) == dict.fromkeys(EFFECTS, "ok")
    two = machine(system, TWO)
    parts = [system.controller, *system.controllers, *system.agents.values()]
    pids = [part.pid for part in parts]

    async def say(client: Client) -> None:
        stream = client.jetstream()
        now, newer = time.time(), {"newer": {"than": ["we", 7]}}

        async def publish(subject: str, *bodies: object) -> None:
            for body in bodies:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                await stream.publish(subject, data)

        async def newest(bucket: str, key: str) -> dict[str, Any]:
            message = await stream.get_last_msg(f"KV_{bucket}", f"$KV.{bucket}.{key}")
            return dict(json.loads(message.data or b"{}"))

        def job(identity: str, operation: str, **parameters: object) -> dict[str, Any]:
            return {
                **{"id": f"{name}-{identity}", "operation": operation, "parameters": parameters},
                **{"target": "_all", "caller": "newer", "created": now, "expires": now + 60},
                **newer,
            }

        unreadable: tuple[object, ...] = (b"", b"\x00\x01", b"[]", {}, {"v": 2, **newer})
        for subject in (f"job.node.{target}", "job.all", "job.any.node", "job.group.x", "job.node"):
            await publish(subject, *unreadable)
            await publish(subject, job("unknown", "gate.newer", gate=1))
            await publish(subject, job("cancel", "job.cancel"), job("stop", "job.cancel", jobs=[]))
        await publish("job.all", job("known", "gate.pass", name=f"{name}-newer-pass"))
        event = {"machine": target, "hostname": ONE, "time": now, **newer}
        for identity in (*known.values(), f"{name}-nothing"):
            for who in (target, two, "_", "stranger"):
                said = {**event, "job": identity, "machine": who, "kind": "newer"}
                await publish(f"event.{who}.{identity}.newer", said)
        await publish("event.newer", *unreadable)
        await publish("event.newer.kind.of.subject", *unreadable)
        for bucket in ("nodes", "heartbeats", "states"):
            await publish(f"$KV.{bucket}.newer", *unreadable)
            await publish(f"$KV.{bucket}.a.b", *unreadable)
        for bucket in ("nodes", "heartbeats"):
            await publish(f"$KV.{bucket}.{target}", {**await newest(bucket, target), **newer})
            await publish(f"$KV.{bucket}.{two}", *unreadable)
        await publish(f"$KV.states.{target}", newer)
        await publish(f"$KV.states.{two}", *unreadable)
        for who in (target, two):
            await client.publish(f"state.{who}", b"newer")
        await client.flush()

    at_broker(system, say)
    try:
        for client in (system.admin, other):
            for node in (ONE, TWO):
                for effect in EFFECTS:
                    answer = ask(client, node, effect, f"{name}-after", prefer="wait=30")
                    assert answer.json()["results"][0]["status"] == "ok", answer.text
            assert client.get("/job?limit=100").status_code == 200
            assert client.get("/job?caller=newer&limit=100").json()["total_items"] >= 2
        assert {counts(gate, f"{name}-newer", "pass", node) for node in (ONE, TWO)} == {(1, 1)}
        assert ends(system, known) == dict.fromkeys(EFFECTS, "ok")
        for job in known.values():
            for client in (system.admin, other):
                assert client.get(f"/job/{job}").json()["nodes"] == {"ok": 1}
        assert [part.pid for part in parts if part.running] == pids
        # Nor do they come to grief over it when they are started again.
        for part in (*system.controllers, *system.agents.values()):
            assert part.stop() == 0
            part.start()
        answering(system.controllers[0], other)
        for node in (ONE, TWO):
            again = ask(other, node, "pass", f"{name}-again", prefer="wait=30")
            assert again.json()["results"][0]["status"] == "ok"
    finally:
        for part in parts:
            if not part.running:
                part.start()
