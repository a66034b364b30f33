"""What an error says by itself: many clients show its sentence and nothing else."""

import json
from typing import Any

import httpx
import pytest

from tests.system.refusals.requests import IMAGE, PULL_ON_WEB_1
from tests.testing.answers import refused
from tests.testing.cluster import PULL, WEB_1, Cluster

JOB = "/job/00000000-0000-4000-8000-000000000000"
TEXT = {"headers": {"Content-Type": "text/plain"}, "content": "nginx"}


def said(answer: httpx.Response, status: int) -> str:
    """Return the sentence alone of a refusal."""
    refused(answer, status)
    return str(answer.json()["error"])


@pytest.mark.parametrize(
    ("path", "sent", "status", "words"),
    [
        (PULL_ON_WEB_1, {"json": {}}, 400, ["body", "missing required field `image`"]),
        (PULL_ON_WEB_1, {"json": {**IMAGE, "tag": "1"}}, 400, ["unknown field `tag`"]),
        (
            PULL_ON_WEB_1,
            {"json": {"image": "a:b:c"}},
            400,
            ["'a:b:c'", "is not an image reference"],
        ),
        (PULL_ON_WEB_1, {"json": {**IMAGE, "retries": -1}}, 400, ["retries", ">= 0"]),
        (PULL_ON_WEB_1, TEXT, 415, ["'text/plain'", "application/json"]),
        (f"{PULL_ON_WEB_1}?expires=soon", {"json": IMAGE}, 400, ["`expires`", "'soon'"]),
        (f"{PULL_ON_WEB_1}?canary=0", {"json": IMAGE}, 400, ["`canary`", "'0'"]),
        (f"/node/nobody/{PULL}", {"json": IMAGE}, 400, ["'nobody'", "No registered node"]),
        (f"/node/web.*/{PULL}", {"json": IMAGE}, 400, ["'web.*'", "has a name like"]),
        (f"/node/web..*/{PULL}", {"json": IMAGE}, 400, ["'web..*'", "is not a target"]),
        (f"/node/group:nobody/{PULL}", {"json": IMAGE}, 400, ["'group:nobody'", "carries"]),
        (f"{JOB}/retry", {}, 404, [JOB[5:], "no job"]),
        (f"{JOB}/retry", {"json": {"target": 1}}, 400, ["unknown field `target`"]),
        ("/job/7/cancel", {}, 400, ["'7'", "UUID"]),
        ("/agent/_all/drain", {}, 400, ["'_all'", "hostname or its machine id"]),
        (f"/agent/{WEB_1}/undrain", {}, 409, [WEB_1, "takes work already"]),
        (f"/agent/{WEB_1}/revoke", {}, 409, [WEB_1, "can't be taken back", "broker"]),
        ("/agent/nobody/revoke", {}, 404, ["'nobody'", "No registered node"]),
        (
            f"/agent/{WEB_1}/label",
            {"json": {"labels": ["group:web"]}},
            409,
            [WEB_1, "came by no invite", "--label"],
        ),
        (f"/agent/{WEB_1}/label", {"json": {"labels": ["group=web"]}}, 400, ["'group=web'"]),
        (f"/agent/{WEB_1}/label", {"json": {"labels": ["a:-", "a:b"]}}, 400, ["'a'", "twice"]),
        (f"/agent/{WEB_1}/rename", {"json": {"name": "web-09"}}, 409, ["came by no invite"]),
        (f"/agent/{WEB_1}/rename", {"json": {"name": "a:b"}}, 400, ["'a:b'"]),
        ("/job", {}, 405, ["POST", "GET"]),
        ("/jobs", {}, 404, ["'/jobs'"]),
    ],
)
def test_the_sentence_names_the_thing_and_the_cause(
    fleet: Cluster, path: str, sent: dict[str, Any], status: int, words: list[str]
) -> None:
    sentence = said(fleet.admin.post(path, **sent), status)
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/job?status=odd", ["status", "'odd'"]),
        ("/job?since=soon", ["`since`", "'soon'"]),
        ("/job?node=nobody", ["'nobody'"]),
        ("/registry/a@b", ["registry", "'@'"]),
    ],
)
def test_so_does_that_of_a_query(fleet: Cluster, path: str, words: list[str]) -> None:
    sentence = said(fleet.admin.get(path), 400)
    assert [word for word in words if word not in sentence] == [], sentence


def test_a_token_s_fault_is_named(fleet: Cluster) -> None:
    bad = {"Authorization": "Bearer a.b.c"}
    answer = fleet.anyone.post(PULL_ON_WEB_1, json=IMAGE, headers=bad)
    assert said(answer, 401).startswith("The token is not valid: ")
    assert "'docker:write'" in said(fleet.reader.post(PULL_ON_WEB_1, json=IMAGE), 403)


def test_of_a_long_cause_the_details_have_all(fleet: Cluster) -> None:
    name = "a" * 2000
    answer = fleet.writer.post(
        PULL_ON_WEB_1,
        content=json.dumps({**IMAGE, name: 1}),
        headers={"Content-Type": "application/json"},
    )
    assert len(said(answer, 400)) < 600
    assert name in answer.json()["details"]


LARGE = 8 * 1024**2


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
@pytest.mark.parametrize(
    ("token", "path", "kind", "status"),
    [
        (None, PULL_ON_WEB_1, "application/json", 401),
        ("read", PULL_ON_WEB_1, "application/json", 403),
        ("write", "/nowhere", "application/json", 404),
        ("write", "/job", "application/json", 405),
        ("write", PULL_ON_WEB_1, "application/json", 413),
        ("write", PULL_ON_WEB_1, "application/octet-stream", 415),
    ],
)
def test_a_request_refused_before_its_body_was_read_is_answered(
    fleet: Cluster, token: str | None, path: str, kind: str, status: int, chunked: bool
) -> None:
    headers = {"Content-Type": kind}
    if token is not None:
        headers["Authorization"] = f"Bearer {fleet.token(token)}"
    parts = [b"x" * 65536] * (LARGE // 65536)
    content = iter(parts) if chunked else b"".join(parts)
    refused(fleet.anyone.post(path, content=content, headers=headers), status)
