"""A new operation is one function: its route is made from its signature."""

from types import ModuleType

import pytest

from tests.system.operations.sources import OLD, SIGNAL, UNKNOWN
from tests.testing.answers import refused, results
from tests.testing.cluster import WEB_1, WEB_2, Cluster
from towline.client import Client


def test_it_is_nine_lines() -> None:
    assert len([line for line in SIGNAL.splitlines() if line]) <= 9


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_it_is_a_route_that_runs_on_the_node(extended: Cluster, prefix: str) -> None:
    answer = extended.admin.post(f"{prefix}/node/{WEB_1}/signal", json={"text": "ahoy"})
    assert results(answer) == {
        WEB_1: {
            **{"hostname": WEB_1, "machine_id": extended.machine_id(WEB_1)},
            **{"status": "ok", "flags": f"{WEB_1}: AHOY"},
        }
    }


def test_its_job_is_known_like_any_other(extended: Cluster) -> None:
    answer = extended.admin.post(f"/node/{WEB_1}/signal", json={"text": "ahoy"})
    job = extended.job(answer.json()["job_id"])
    assert job["operation"] == {"type": "signal.hoist", "data": {"text": "ahoy"}}
    assert job["status"] == "completed"
    assert job["results"] == answer.json()["results"]


def test_an_agent_that_does_not_know_it_skips_it_and_says_so(extended: Cluster) -> None:
    found = results(extended.admin.post("/node/_all/signal", json={"text": "ahoy"}))
    skipped = found.pop(OLD)
    assert skipped.keys() == {"hostname", "machine_id", "status", "reason"}
    assert skipped["status"] == "skipped"
    assert UNKNOWN in skipped["reason"]
    assert {name: (r["status"], r["flags"]) for name, r in found.items()} == {
        WEB_1: ("ok", f"{WEB_1}: AHOY"),
        WEB_2: ("ok", f"{WEB_2}: AHOY"),
    }


def test_a_single_node_that_does_not_know_it_has_not_failed(extended: Cluster) -> None:
    (result,) = results(extended.admin.post(f"/node/{OLD}/signal", json={"text": "x"})).values()
    assert result["status"] == "skipped"
    assert UNKNOWN in result["reason"]


def test_its_permission_is_asked_for(extended: Cluster) -> None:
    before = extended.jobs_made()
    path = f"/node/{WEB_1}/signal"
    refused(extended.anyone.post(path, json={"text": "ahoy"}), 401)
    assert "'signal:write'" in refused(extended.reader.post(path, json={"text": "ahoy"}), 403)
    assert extended.jobs_made() == before
    only = extended.client(extended.token(permissions=["signal:write"]))
    assert only.post(path, json={"text": "ahoy"}).status_code == 202


def test_the_roles_have_its_permission_by_its_verb(extended: Cluster) -> None:
    wanted = {
        ("admin", "signal:write"): 202,
        ("write", "signal:write"): 202,
        ("read", "signal:write"): 403,
        ("admin", "ship:read"): 200,
        ("write", "ship:read"): 200,
        ("read", "ship:read"): 200,
        ("admin", "ship:execute"): 202,
        ("write", "ship:execute"): 403,
        ("read", "ship:execute"): 403,
    }
    requests = {
        "signal:write": ("POST", "signal", {"text": "ahoy"}),
        "ship:read": ("GET", "ship/course", None),
        "ship:execute": ("POST", "ship/roles/bell", None),
    }
    clients = {"admin": extended.admin, "write": extended.writer, "read": extended.reader}
    found = {}
    for role, permission in wanted:
        method, path, body = requests[permission]
        answer = clients[role].request(method, f"/node/{WEB_1}/{path}", json=body)
        found[role, permission] = answer.status_code
    assert found == wanted


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "text"),
        ({"text": 7}, "text"),
        ({"text": None}, "text"),
        ({"text": ["ahoy"]}, "text"),
        ({"text": "ahoy", "loud": True}, "loud"),
        ({"Text": "ahoy"}, "Text"),
        (["ahoy"], "text"),
        ("ahoy", "text"),
    ],
)
def test_a_body_that_does_not_fit_the_signature_is_refused(
    extended: Cluster, body: object, word: str
) -> None:
    before = extended.jobs_made()
    said = refused(extended.admin.post(f"/node/{WEB_1}/signal", json=body), 400)
    assert word in said
    assert "image" not in said
    assert extended.jobs_made() == before


@pytest.mark.parametrize(
    ("query", "course"),
    [
        ("", ("north", 8)),
        ("?knots=12", ("north", 12)),
        ("?heading=south&knots=40", ("south", 40)),
        ("?heading=south&expires=5m", ("south", 8)),
    ],
)
def test_parameters_of_a_get_stand_in_the_query_and_have_defaults(
    extended: Cluster, query: str, course: tuple[str, int]
) -> None:
    answer = extended.reader.get(f"/node/{WEB_1}/ship/course{query}")
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert (result["heading"], result["knots"]) == course


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("knots=0", "knots"),
        ("knots=41", "knots"),
        ("knots=fast", "knots"),
        ("knots=", "knots"),
        ("knots=1.5", "knots"),
        ("heading=east", "heading"),
        ("heading=", "heading"),
        ("knots=1&knots=2", "knots"),
        ("speed=1", "speed"),
        ("name=victory", "name"),
    ],
)
def test_a_query_that_does_not_fit_the_signature_is_refused(
    extended: Cluster, query: str, word: str
) -> None:
    before = extended.jobs_made()
    assert word in refused(extended.reader.get(f"/node/{WEB_1}/ship/course?{query}"), 400)
    assert extended.jobs_made() == before


NAMES = [
    "victory",
    "Cutty Sark",
    "a/b",
    "..",
    "%2F",
    "50%",
    "Fram Ⅱ",
    "?x=1",
    "#1",
    "a+b&c",
    "{name}",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_placeholder_of_the_path_is_a_parameter(
    extended: Cluster, modules: tuple[ModuleType, ModuleType], name: str
) -> None:
    _, ships = modules
    with Client(extended.url, extended.token("read")) as client:
        job = client.run(ships.berth, on=WEB_1, name=name, berth=3)
    assert job.results[0].value == ships.Cabin(name, 3)


def test_a_placeholder_beside_a_body_is_a_parameter(extended: Cluster) -> None:
    answer = extended.writer.put(f"/node/{WEB_1}/ship/a%2Fb/berth/7", json={"guests": ["Ann"]})
    assert results(answer)[WEB_1] == {
        **{"hostname": WEB_1, "machine_id": extended.machine_id(WEB_1), "status": "ok"},
        **{"name": "a/b", "berth": 7, "guests": ["Ann"]},
    }


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_where_no_parameter_has_to_stand_in_the_body_there_need_be_none(
    extended: Cluster, content: bytes
) -> None:
    headers = {"Content-Type": "application/json"} if content else {}
    for method, path in (("PUT", "ship/fram/berth/7"), ("POST", "ship/fram/bell")):
        answer = extended.admin.request(
            method, f"/node/{WEB_1}/{path}", content=content, headers=headers
        )
        assert results(answer)[WEB_1]["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "body", "word"),
    [
        ("GET", "ship/fram/berth/first", None, "berth"),
        ("PUT", "ship/fram/berth/first", {}, "berth"),
        ("PUT", "ship/fram/berth/0", {}, "berth"),
        ("PUT", "ship/fram/berth/7", {"guests": "Ann"}, "guests"),
        ("PUT", "ship/fram/berth/7", {"guests": [1]}, "guests"),
        ("PUT", "ship/fram/berth/7", {"berth": 7}, "berth"),
        ("PUT", "ship/fram/berth/7", {"name": "fram"}, "name"),
        ("PUT", "ship/fram/berth/7?guests=Ann", {}, "guests"),
        ("GET", "ship/fram/berth/7?name=fram", None, "name"),
        ("GET", "ship/%ff/berth/7", None, "name"),
    ],
)
def test_what_does_not_fit_a_placeholder_or_stands_elsewhere_too_is_refused(
    extended: Cluster, method: str, path: str, body: object, word: str
) -> None:
    before = extended.jobs_made()
    answer = extended.writer.request(method, f"/node/{WEB_1}/{path}", json=body)
    assert word in refused(answer, 400)
    assert extended.jobs_made() == before


def test_what_it_raises_is_shown_in_its_words(extended: Cluster) -> None:
    answer = extended.writer.put(f"/node/{WEB_1}/ship/mutinous/berth/1", json={})
    assert answer.status_code == 500
    assert "nobody wants to go aboard" in answer.json()["details"]
    _, _, job_id = answer.headers["Location"].rpartition("/")
    assert extended.job(job_id)["status"] == "failed"
