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
    ends,
    machine,
)
from tests.testing.process import wait_until
from towline.wire.job import new_id


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
        unreadable: tuple[object, ...] = (b"", b"\x00\x01", b"[]", {}, {"v": 2, **newer})

        async def publish(subject: str, *bodies: object) -> None:
            for body in bodies:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                await stream.publish(subject, data)

        async def newest(bucket: str, key: str) -> dict[str, Any]:
            message = await stream.get_last_msg(f"KV_{bucket}", f"$KV.{bucket}.{key}")
            return dict(json.loads(message.data or b"{}"))

        def job(operation: str, **parameters: object) -> dict[str, Any]:
            plan = [[target, ONE, "turn", None, "newer"], [two, TWO]]
            return {
                **{"id": new_id(), "operation": operation, "parameters": parameters},
                **{"target": "_all", "caller": "newer", "created": now, "expires": now + 60},
                **{"effect": "converge", "plan": plan, "nodes": 2, "requires": "node", **newer},
            }

        for made in (job("gate.newer", gate=1), job("gate.pass", name=f"{name}-newer")):
            await publish(f"job.{made['id']}", made)
        for identity in (new_id(), "newer"):
            await publish(f"job.{identity}", *unreadable)
            await publish(f"decision.{identity}", *unreadable)
        await publish("report", *unreadable, b"[{}]")
        await publish("read", *unreadable, b"[{}]")
        for identity in (*known.values(), new_id()):
            event = {"job": identity, "hostname": ONE, "time": now, "kind": "newer", **newer}
            await publish(f"decision.{identity}", {**event, "machine": "_"})
            await publish("report", [{**event, "machine": who} for who in (target, two, "other")])
        for bucket in ("nodes", "states"):
            await publish(f"$KV.{bucket}.newer", *unreadable)
            await publish(f"$KV.{bucket}.a.b", *unreadable)
        await publish(f"$KV.nodes.{target}", {**await newest("nodes", target), **newer})
        await publish(f"$KV.nodes.{two}", *unreadable)
        await publish(f"$KV.states.{target}", newer)
        await publish(f"$KV.states.{two}", *unreadable)
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
        wait_until(
            lambda: {gate.passed(f"{name}-newer", node) for node in (ONE, TWO)} == {1},
            what="what is understood of a newer job to be done",
        )
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
