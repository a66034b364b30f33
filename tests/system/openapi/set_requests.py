"""What the documented answers about sets are tried with."""

from typing import Any

NOBODY: dict[str, Any] = {"role": None}
BARE: dict[str, Any] = {"permissions": ["none:read"]}
LARGE = {"json": {"target": "a" * 2**20}}
TEXT = {"content": b"{}", "headers": {"Content-Type": "text/plain"}}
A_SET: dict[str, Any] = {"target": "group:web", "images": ["nginx:1.27"]}
ANOTHER = {"images": [{"image": "nginx:1.27", "platform": "linux/arm64"}]}
OF_ONE = "/set/{name}"
OF_SETS = [
    *((OF_ONE, method) for method in ("GET", "PUT", "DELETE")),
    *((f"{OF_ONE}/{each}", "GET") for each in ("nodes", "history")),
    *((f"{OF_ONE}/{each}", "POST") for each in ("pause", "resume", "rollback")),
]
IF_THERE = {"headers": {"If-Match": "*"}}


def _sent(method: str, **more: Any) -> dict[str, Any]:
    return {"json": A_SET | more} if method == "PUT" else {}


ANSWERS: list[tuple[str, str, str, int, dict[str, Any]]] = [
    *(
        (path, method, path.format(name="none"), status, _sent(method) | more)
        for path, method in [("/set", "GET"), *OF_SETS]
        for status, more in ((401, NOBODY), (403, BARE))
    ),
    *((path, method, path.format(name="X"), 400, _sent(method)) for path, method in OF_SETS),
    *(
        (path, method, path.format(name="none"), 404, {})
        for path, method in OF_SETS
        if method != "PUT"
    ),
    ("/set", "GET", "/set?all=1", 400, {}),
    (OF_ONE, "PUT", "/set/api", 413, LARGE),
    (OF_ONE, "PUT", "/set/api", 415, TEXT),
    (OF_ONE, "PUT", "/set/api", 412, {"json": A_SET} | IF_THERE),
    (OF_ONE, "PUT", "/set/api?dry_run=true", 200, {"json": A_SET}),
    (OF_ONE, "PUT", "/set/api", 201, {"json": A_SET}),
    (OF_ONE, "PUT", "/set/api", 200, {"json": A_SET | {"options": {"canary": 1}}}),
    (OF_ONE, "PUT", "/set/other", 409, {"json": A_SET | ANOTHER}),
    *(
        (path, method, path.format(name="api"), 200, {})
        for path, method in [("/set", "GET"), *OF_SETS]
        if method != "PUT" and method != "DELETE" and not path.endswith("rollback")
    ),
    (f"{OF_ONE}/rollback", "POST", "/set/api/rollback", 409, {}),
    (OF_ONE, "DELETE", "/set/api", 412, {"headers": {"If-Match": '"another"'}}),
    (OF_ONE, "DELETE", "/set/api", 204, {}),
]
TRIED_ELSEWHERE = {
    *((path, method.lower(), "500") for path, method in OF_SETS),
    (f"{OF_ONE}/rollback", "post", "200"),
}
"""Those that take a rollout, and a broker that is away."""
