"""Tokens: made, listed and revoked, at whichever controller."""

import itertools
import time
from typing import Any

import jwt
import pytest

from tests.system.tokens.conftest import SECRET
from tests.testing.answers import refused
from tests.testing.cluster import WEB_1, Cluster
from tests.testing.process import wait_until

YEAR = 365 * 86400


def make(cluster: Cluster, **asked: Any) -> dict[str, Any]:
    """Make a token as an admin."""
    answer = cluster.admin.post("/token", json={"roles": ["read"], **asked})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/token/{made['id']}"
    return made


def status(cluster: Cluster, token: str, path: str = "/agent", url: str | None = None) -> int:
    """Return how a request with a token is answered."""
    return cluster.client(token, url).get(path).status_code


def test_a_token_that_was_made_is_good_at_every_controller_and_does_what_it_says(
    pair: Cluster,
) -> None:
    made = make(pair, subject="ann", roles=["read"], permissions=["agent:read"], expires="2h")
    assert (made["subject"], made["roles"], made["permissions"]) == (
        *("ann", ["read"]),
        ["agent:read"],
    )
    claims = jwt.decode(made["token"], options={"verify_signature": False})
    assert (claims["jti"], claims["sub"], claims["exp"] - claims["iat"]) == (
        made["id"],
        "ann",
        7200,
    )
    for url in (pair.url, str(pair.others[0].base_url)):
        assert status(pair, made["token"], url=url) == 200
        assert status(pair, made["token"], "/job", url) == 403


def test_all_controllers_list_what_was_made_and_never_the_token(pair: Cluster) -> None:
    made = make(pair, subject="ann", expires="1h")

    def listed() -> bool:
        answer = pair.others[0].get("/token").raise_for_status()
        assert made["token"] not in answer.text
        return made["id"] in {each["id"] for each in answer.json()["tokens"]}

    wait_until(listed, what="the other controller to list it")
    known = pair.others[0].get(f"/token/{made['id']}").json()
    assert known == {name: made[name] for name in made if name != "token"}
    assert (known["created_by"], known["subject"]) == ("tests", "ann")
    make(pair)
    page = pair.admin.get("/token", params={"limit": 1000}).json()
    assert page["total"] == len(page["tokens"])
    assert "next_cursor" not in page
    paged: list[str] = []
    query: dict[str, str | int] | None = {"limit": 1}
    while query is not None:
        one = pair.admin.get("/token", params=query).raise_for_status().json()
        assert (len(one["tokens"]), one["total"]) == (1, page["total"])
        paged.append(one["tokens"][0]["id"])
        query = {"limit": 1, "cursor": one["next_cursor"]} if "next_cursor" in one else None
    assert paged == [each["id"] for each in page["tokens"]]
    assert len(paged) > 1
    refused(pair.admin.get("/token", params={"cursor": "unknown"}), 400)
    refused(pair.admin.get("/token/unknown"), 404)


def test_a_revoked_token_is_refused_at_every_controller_and_after_its_start(pair: Cluster) -> None:
    made, kept = make(pair)["token"], make(pair)["token"]
    urls = (pair.url, str(pair.others[0].base_url))
    assert [status(pair, made, url=url) for url in urls] == [200, 200]
    found = jwt.decode(made, options={"verify_signature": False})["jti"]
    answer = pair.admin.delete(f"/token/{found}").raise_for_status().json()
    assert answer["revoked_by"] == "tests"
    assert status(pair, made) == 401
    wait_until(lambda: status(pair, made, url=urls[1]) == 401, what="it to be refused")
    assert "revoked" in refused(pair.client(made).get("/agent"), 401)
    assert [status(pair, kept, url=url) for url in urls] == [200, 200]
    # To revoke it again changes nothing.
    assert pair.others[0].delete(f"/token/{found}").json() == answer
    pair.controller.stop()
    pair.controller.start()
    pair.controller.wait_for_output("answers at")
    assert status(pair, made) == 401
    assert status(pair, kept) == 200


def test_a_stream_ends_before_its_next_event_once_its_token_is_revoked(pair: Cluster) -> None:
    made = make(pair)
    with pair.client(made["token"]).stream("GET", "/event") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        pair.admin.get(f"/node/{WEB_1}/load").raise_for_status()
        assert any(line.startswith("data: ") for line in itertools.islice(lines, 4))
        pair.admin.delete(f"/token/{made['id']}").raise_for_status()
        job = pair.admin.get(f"/node/{WEB_1}/load").raise_for_status().json()["job_id"]
        # One that went on would have signs of life for ever.
        rest = list(itertools.islice(lines, 40))
        assert len(rest) < 40
        assert job not in "".join(rest)


def test_a_token_that_is_in_no_list_is_revoked_too(pair: Cluster) -> None:
    token = pair.token("read")
    assert status(pair, token) == 200
    found = jwt.decode(token, options={"verify_signature": False})["jti"]
    known = pair.admin.delete(f"/token/{found}").raise_for_status().json()
    assert "subject" not in known
    assert status(pair, token) == 401


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"roles": ["raed"]}, "There is no role 'raed'"),
        ({"roles": []}, "no roles"),
        (
            {"permissions": ["docker:wirte"]},
            "There is no permission 'docker:wirte'. Did you mean docker:write",
        ),
        ({"permissions": ["docker:write@"]}, "is no permission"),
        ({"permissions": ["docker:write@_all"]}, "is no permission"),
        ({"expires": "366d"}, "365 days at most"),
        ({"expires": "-1h"}, "expires"),
        ({"expires": "500ms"}, "a second at least"),
        ({"permissions": ["docker:write@image=\0*"]}, "is no permission"),
        ({"permissions": [f"docker:read@image={n}{'x' * 900}" for n in range(9)]}, "8192"),
        ({"subject": "a\x1b[2Jb"}, "subject"),
        ({"subject": ""}, "subject"),
        ({"roles": "read"}, "roles"),
    ],
)
def test_what_makes_no_token_is_refused_by_its_name(
    pair: Cluster, asked: dict[str, Any], says: str
) -> None:
    before = pair.admin.get("/token").json()["total"]
    assert says in refused(pair.admin.post("/token", json={"roles": ["read"], **asked}), 400)
    assert pair.admin.get("/token").json()["total"] == before


@pytest.mark.parametrize(
    ("asked", "beyond"),
    [
        ({"roles": ["admin"]}, "agent:write"),
        ({"roles": ["write"]}, "node:write"),
        ({"roles": ["web"]}, "job:read"),
        ({"roles": [], "permissions": ["docker:write"]}, "docker:write"),
        ({"roles": [], "permissions": ["docker:write@web-*"]}, "docker:write@web-*"),
        ({"roles": [], "permissions": ["docker:write@image=*"]}, "docker:write@image=*"),
        ({"roles": [], "permissions": ["node:read"], "subject": "ann"}, "job:admin"),
    ],
)
def test_nobody_makes_a_token_that_may_do_more_than_their_own(
    pair: Cluster, asked: dict[str, Any], beyond: str
) -> None:
    held = ["token:write", "node:read", "docker:write@group:web"]
    maker = pair.client(pair.token(permissions=held, subject="maker"))
    assert beyond in refused(maker.post("/token", json=asked), 403)


def test_a_maker_gives_what_it_has_and_less_of_it(pair: Cluster) -> None:
    held = ["token:write", "node:read", "docker:write@group:web"]
    maker = pair.client(pair.token(permissions=held, subject="maker"))
    less = ["docker:write@group:web.dev,image=registry.example/*", "node:read@web-*", "token:write"]
    made = maker.post("/token", json={"roles": [], "permissions": less})
    assert (made.status_code, made.json()["subject"]) == (201, "maker")
    assert status(pair, made.json()["token"], f"/node/{WEB_1}/load") == 200


def by_portal(**claims: Any) -> str:
    now = time.time()
    body = {"sub": "ann", "roles": ["admin"], "iat": now, "exp": now + 600, "jti": "p1", **claims}
    return jwt.encode(body, SECRET, algorithm="HS256")


def test_a_client_s_own_token_does_what_its_key_may_under_the_name_of_the_key(
    pair: Cluster,
) -> None:
    portal = pair.client(by_portal())
    job = portal.get(f"/node/{WEB_1}/load").raise_for_status().json()["job_id"]
    assert pair.job(job)["caller"] == "portal/ann"
    refused(portal.post(f"/agent/{WEB_1}/drain"), 403)
    assert "too long" in refused(pair.client(by_portal(exp=time.time() + 7200)).get("/agent"), 401)
    # Whoever calls so in the fleet's own tokens is somebody else.
    ann = pair.client(pair.token("write", subject="ann"))
    assert "job:admin" in refused(ann.post(f"/job/{job}/cancel"), 403)
    pair.admin.delete("/token/p1").raise_for_status()
    refused(portal.get("/agent"), 401)
    assert pair.client(by_portal(jti="p2")).get("/agent").status_code == 200
