"""Results of jobs, as the API has them, for tests of what is printed of them."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
DIGEST = "sha256:11fa8c2b41d0" + "5e" * 26
OTHER = "sha256:99aa00bb11cc" + "7f" * 26
UNKNOWN = (
    "registry.example.org/team/app:1.27: manifest unknown: manifest tagged by 1.27 is not found"
)
NO_ENGINE = "the node has no docker: cannot connect to the engine at unix:///var/run/docker.sock"


def machine(number: int) -> str:
    return f"{number:032x}"[::-1]


def pulled(number: int, *, changed: bool = True, digest: str = DIGEST, name: str = "") -> Row:
    return {
        **{"hostname": name or f"web-{number:03}", "machine_id": machine(number), "status": "ok"},
        **{"image_id": "sha256:" + "ab12" * 16, "size": 196_083_713, "changed": changed},
        **{"tag": "1.27", "digest": digest},
    }


def other(number: int, status: str, **why: str) -> Row:
    return {
        **{"hostname": f"web-{number:03}", "machine_id": machine(number), "status": status},
        **why,
    }


def listed(name: str, count: int, *, truncated: bool = False) -> Row:
    containers = [
        {
            **{"id": f"{number:02x}" * 32, "name": f"app-{number}", "state": "running"},
            **{"image": f"registry.example.org/team/app@{DIGEST}" if number else "nginx:1.27"},
            "created": "2026-01-01T00:00:00Z",
        }
        for number in range(count)
    ]
    row = {"hostname": name, "machine_id": name.encode().hex().zfill(32), "status": "ok"}
    return {**row, "containers": containers, "changed": False, "truncated": truncated}


MANY = [pulled(number, changed=number >= 20) for number in range(300)]
MIXED = [
    *(pulled(number, changed=number >= 20) for number in range(260)),
    *(other(number, "failed", error=UNKNOWN) for number in range(260, 290)),
    other(290, "failed", error="dial tcp 10.0.0.7:443: connect: connection refused"),
    *(pulled(number, digest=OTHER) for number in (291, 292)),
    *(other(number, "skipped", reason=NO_ENGINE) for number in (293, 294)),
    *(
        other(number, "pending", reason="not reachable since 2026-01-01T00:00:00Z")
        for number in (295,)
    ),
]
FEW = [
    pulled(1),
    pulled(2, changed=False),
    other(3, "failed", error=UNKNOWN),
    other(4, "pending", waits="max_parallel"),
]
TWINS = [pulled(1, name="web"), pulled(2, name="web"), pulled(3, name="db")]
