"""Sets, and where nodes stand against them, as a controller answers them."""

from __future__ import annotations

from typing import Any

from tests.unit.stub import Answer

MOMENT = "2026-01-01T00:00:00Z"
SET = "/set/group-web"
NGINX = "docker.io/library/nginx:1.27"
DIGEST = "sha256:" + "11fa8c2b41d0" + "0" * 52
OTHER = "sha256:" + "99aa00bb11cc" + "0" * 52
NONE = dict.fromkeys(("converged", "missing", "failed", "unknown", "conflict"), 0)
AGENT: dict[str, Any] = {
    **{"hostname": "web-01", "machine_id": "m1", "status": "Ready", "state": "Ready"},
    **{"registered_at": MOMENT, "started_at": MOMENT, "last_heard": MOMENT, "version": "1"},
    **{"labels": {}, "facts": {}, "timeline": []},
}


def an_image(**more: Any) -> dict[str, Any]:
    given = {"image": NGINX, "current": DIGEST, "checked_at": MOMENT, **NONE, **more}
    return {name: value for name, value in given.items() if value is not None}


def a_set(*images: dict[str, Any], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        **{"name": "group-web", "id": "0199", "generation": 1, "status": "converged"},
        **{"target": "group:web", "images": [*images], "every": "15m"},
        **{"created_at": MOMENT, "created_by": "ann"},
        **{"changed_at": MOMENT, "changed_by": "ann", "follow": "tag", "nodes": 1},
        **more,
    }
    return {**found, "etag": f'"{found["id"]}-{found["generation"]}"'}


def nodes(*rows: dict[str, Any], cursor: str | None = None) -> Answer:
    row: dict[str, Any] = {
        "hostname": "web-01",
        "machine_id": "m1",
        "image": NGINX,
        "digest": DIGEST,
    }
    row["here"] = True
    answer: dict[str, Any] = {"nodes": [{**row, **each} for each in rows], "total": len(rows)}
    answer["states"] = {}
    return Answer(answer if cursor is None else {**answer, "next_cursor": cursor})


def fleet(*members: dict[str, Any]) -> Answer:
    agents = [{**AGENT, **each} for each in members]
    return Answer({"agents": agents, "total": len(agents), "cursor": "a-1"})
