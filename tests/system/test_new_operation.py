"""A new operation is one function: whatever else it needs is made from its signature."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.system.test_openapi import generated
from tests.testing.answers import refused, results
from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.process import TowlineProcess, wait_until
from towline.client import ApiError, AsyncClient, Client
from towline.operation import catalog

SIGNAL = '''\
import msgspec
from towline.operation import Effect, operation

class Hoisted(msgspec.Struct):
    flags: str

@operation("signal.hoist", "POST signal", permission="signal:write", effect=Effect.CONVERGE)
async def hoist(node, *, text: str) -> Hoisted:
    """Hoist a text in flags."""
    return Hoisted(f"{node.hostname}: {text.upper()}")
'''

SHIP = '''\
"""What the shorter one leaves open: query, placeholders, and what must not run twice."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from towline.errors import TaskFailed
from towline.operation import Effect, operation

class Course(msgspec.Struct):
    heading: str
    knots: int

Knots = Annotated[int, Meta(ge=1, le=40, description="Speed through the water.")]

@operation("ship.course", "GET ship/course", permission="ship:read", effect=Effect.READ)
async def course(node, *, heading: Literal["north", "south"] = "north", knots: Knots = 8) -> Course:
    """Tell a course."""
    return Course(heading, knots)

class Cabin(msgspec.Struct, omit_defaults=True):
    name: str
    berth: int
    guests: list[str] = []

@operation("ship.berth", "GET ship/{name}/berth/{berth}", permission="ship:read",
           effect=Effect.READ)
async def berth(node, *, name: str, berth: int) -> Cabin:
    return Cabin(name, berth)

@operation("ship.assign", "PUT ship/{name}/berth/{berth}", permission="ship:write",
           effect=Effect.CONVERGE)
async def assign(
    node, *, name: str, berth: Annotated[int, Meta(ge=1)], guests: list[str] = []
) -> Cabin:
    if name == "mutinous":
        raise TaskFailed("nobody wants to go aboard")
    return Cabin(name, berth, guests)

Bell = Annotated[str, Meta(pattern="^[a-z]+$")]

class Struck(msgspec.Struct):
    strokes: int

@operation("ship.bell", "POST ship/{name}/bell", permission="ship:execute", effect=Effect.ONCE)
async def bell(node, *, name: Bell) -> Struck:
    file = Path(__file__).with_name(f"{node.hostname}-{name}")
    with file.open("a") as strokes:
        strokes.write("*")
    while file.with_suffix(".held").exists():
        await asyncio.sleep(0.02)
    return Struck(len(file.read_text()))
'''

OLD = DB_1
UNKNOWN = "does not know signal.hoist"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the two modules are."""
    directory = tmp_path_factory.mktemp("new-operation")
    (directory / "signals.py").write_text(SIGNAL)
    (directory / "ships.py").write_text(SHIP)
    return directory


@pytest.fixture(scope="module")
def env(directory: Path) -> dict[str, str]:
    """All that a part is told of them."""
    return {"TOWLINE_OPERATIONS": "signals,ships", "PYTHONPATH": str(directory)}


@pytest.fixture(scope="module")
def extended(directory: Path, env: dict[str, str]) -> Iterator[Cluster]:
    """A controller and two nodes that have them, and one node that hasn't."""
    with Cluster(directory, [NodePlan(WEB_1), NodePlan(WEB_2)], env) as cluster:
        older = TowlineProcess(
            *("agent", "--hostname", OLD, "--engine", "none", "--state", directory / OLD),
            *("--nats", cluster.broker.url, "--nats-credentials", cluster.broker.credentials),
            logs=directory,
            name=f"agent-{OLD}",
            env={"TOWLINE_HEARTBEAT": "1s"},
        )
        with older:
            cluster.wait_here(OLD)
            yield cluster


@pytest.fixture
def modules(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The modules as a program imports them; afterwards nothing knows them any more."""
    monkeypatch.syspath_prepend(directory)
    before = {operation.name for operation in catalog}
    yield importlib.import_module("signals"), importlib.import_module("ships")
    for operation in list(catalog):
        if operation.name not in before:
            catalog.remove(operation.name)
    del sys.modules["signals"], sys.modules["ships"]


@pytest.fixture(scope="module")
def api(extended: Cluster) -> dict[str, Any]:
    """The OpenAPI document."""
    document: dict[str, Any] = extended.anyone.get("/openapi.json").json()
    return document


def towline(
    extended: Cluster, env: dict[str, str], *arguments: str, status: int = 0
) -> TowlineProcess:
    """Run a command against the controller, and check its exit status."""
    process = TowlineProcess(
        *arguments,
        logs=extended.directory,
        name=f"towline-{len(list(extended.directory.glob('towline-*.out')))}",
        env=env | {"TOWLINE_URL": extended.url, "TOWLINE_TOKEN": extended.token("admin")},
    )
    with process:
        assert process.wait() == status, process.tail()
    return process


def test_it_is_nine_lines() -> None:
    assert len([line for line in SIGNAL.splitlines() if line]) <= 9


# HTTP


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_it_is_a_route_that_runs_on_the_node(extended: Cluster, prefix: str) -> None:
    answer = extended.admin.post(f"{prefix}/node/{WEB_1}/signal", json={"text": "ahoy"})
    assert results(answer) == {
        WEB_1: {"hostname": WEB_1, "status": "ok", "flags": f"{WEB_1}: AHOY"}
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
    assert skipped.keys() == {"hostname", "status", "error"}
    assert skipped["status"] == "skipped"
    assert UNKNOWN in skipped["error"]
    assert {name: (r["status"], r["flags"]) for name, r in found.items()} == {
        WEB_1: ("ok", f"{WEB_1}: AHOY"),
        WEB_2: ("ok", f"{WEB_2}: AHOY"),
    }


def test_a_single_node_that_does_not_know_it_has_not_failed(extended: Cluster) -> None:
    (result,) = results(extended.admin.post(f"/node/{OLD}/signal", json={"text": "x"})).values()
    assert result["status"] == "skipped"
    assert UNKNOWN in result["error"]


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


# Query and placeholders


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
        **{"hostname": WEB_1, "status": "ok"},
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


def test_what_it_raises_is_told_in_its_words(extended: Cluster) -> None:
    answer = extended.writer.put(f"/node/{WEB_1}/ship/mutinous/berth/1", json={})
    assert answer.status_code == 500
    assert "nobody wants to go aboard" in answer.json()["details"]
    _, _, job_id = answer.headers["Location"].rpartition("/")
    assert extended.job(job_id)["status"] == "failed"


# What must not run twice


def strokes(extended: Cluster, node: str, name: str) -> str:
    file = extended.directory / f"{node}-{name}"
    return file.read_text() if file.exists() else ""


def test_what_must_not_run_twice_runs_once(extended: Cluster) -> None:
    answer = extended.admin.post("/node/_all/ship/once/bell")
    found = results(answer)
    assert [found[name]["strokes"] for name in (WEB_1, WEB_2)] == [1, 1]
    assert strokes(extended, WEB_1, "once") == strokes(extended, WEB_2, "once") == "*"


def test_what_must_not_run_twice_is_not_run_again_by_an_agent_that_died_meanwhile(
    extended: Cluster,
) -> None:
    held = extended.directory / f"{WEB_2}-held.held"
    held.touch()
    answer = extended.admin.post(
        f"/node/{WEB_2}/ship/held/bell", headers={"Prefer": "respond-async"}
    )
    wait_until(lambda: strokes(extended, WEB_2, "held") == "*", what="the first stroke")
    agent = extended.agents[WEB_2]
    agent.kill()
    held.unlink()
    agent.start()
    (end,) = extended.ended(answer.json()["job_id"])["results"]
    assert end["status"] == "failed"
    assert "interrupted" in end["error"]
    assert strokes(extended, WEB_2, "held") == "*"
    extended.wait_here(WEB_2)


def test_what_must_not_run_twice_is_not_kept_for_a_node_that_is_away(extended: Cluster) -> None:
    agent = extended.agents[WEB_2]
    assert agent.stop() == 0
    extended.wait_away(WEB_2)
    try:
        before = extended.jobs_made()
        said = refused(extended.admin.post(f"/node/{WEB_2}/ship/away/bell"), 500)
        assert "not reachable since" in said
        assert extended.jobs_made() == before
        found = results(extended.admin.post("/node/_all/ship/away/bell"))
        assert (found[WEB_1]["status"], found[WEB_2]["status"]) == ("ok", "failed")
        assert "not reachable since" in found[WEB_2]["error"]
    finally:
        agent.start()
    extended.wait_here(WEB_2)
    # Jobs reach a node in the order in which they were made.
    answer = extended.admin.post(f"/node/{WEB_2}/ship/back/bell")
    assert results(answer)[WEB_2]["strokes"] == 1
    assert strokes(extended, WEB_2, "away") == ""


# The document


def test_the_document_has_it(api: dict[str, Any]) -> None:
    entry = api["paths"]["/node/{hostname}/signal"]["post"]
    assert entry["operationId"] == "signal.hoist"
    assert entry["summary"] == "Hoist a text in flags."
    assert "`signal:write`" in entry["description"]
    assert entry["responses"].keys() == {*("202", "400", "401", "403", "409", "413", "415", "500")}
    assert entry["requestBody"]["required"] is True
    body = schema(api, entry["requestBody"])
    assert body["properties"] == {"text": {"type": "string"}}
    assert body["required"] == ["text"]
    assert body["additionalProperties"] is False
    result = schema(api, entry["responses"]["202"])["properties"]["results"]["items"]
    assert result["properties"].keys() == {"hostname", "status", "flags", "error", "waits"}
    assert result["properties"]["flags"] == {"type": "string"}


def schema(api: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    reference = content["content"]["application/json"]["schema"]["$ref"]
    found: dict[str, Any] = api["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def parameters(entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in entry["parameters"]}


def test_the_document_has_a_querys_parameters_bounds_and_defaults(api: dict[str, Any]) -> None:
    entry = api["paths"]["/node/{hostname}/ship/course"]["get"]
    assert "requestBody" not in entry
    listed = parameters(entry)
    assert listed.keys() == {
        *("hostname", "expires", "max_parallel", "canary", "max_failures"),
        *("Prefer", "Idempotency-Key", "heading", "knots"),
    }
    knots, heading = listed["knots"], listed["heading"]
    assert (knots["in"], knots["required"]) == ("query", False)
    assert {name: knots["schema"][name] for name in ("type", "minimum", "maximum", "default")} == {
        **{"type": "integer", "minimum": 1, "maximum": 40, "default": 8}
    }
    assert (heading["in"], heading["required"]) == ("query", False)
    assert (heading["schema"]["enum"], heading["schema"]["default"]) == (
        ["north", "south"],
        "north",
    )


@pytest.mark.parametrize("method", ["get", "put"])
def test_the_document_has_a_paths_placeholders(api: dict[str, Any], method: str) -> None:
    listed = parameters(api["paths"]["/node/{hostname}/ship/{name}/berth/{berth}"][method])
    for name, kind in (("hostname", "string"), ("name", "string"), ("berth", "integer")):
        assert (listed[name]["in"], listed[name]["required"]) == ("path", True)
        assert listed[name]["schema"]["type"] == kind


def test_the_document_has_no_placeholder_in_the_body(api: dict[str, Any]) -> None:
    body = api["paths"]["/node/{hostname}/ship/{name}/berth/{berth}"]["put"]["requestBody"]
    assert body["required"] is False
    assert schema(api, body)["properties"].keys() == {"guests"}
    assert not schema(api, body).get("required")
    bell = api["paths"]["/node/{hostname}/ship/{name}/bell"]["post"]
    assert bell.get("requestBody", {"required": False})["required"] is False


def test_generated_requests_are_answered_as_documented(extended: Cluster, tmp_path: Path) -> None:
    assert re.search(r"Tested: +25\b", generated(extended, tmp_path))


# Client and command line


def test_the_client_calls_it_and_has_its_result(
    extended: Cluster, modules: tuple[ModuleType, ModuleType]
) -> None:
    signals, ships = modules
    with Client(extended.url, extended.token("admin")) as client:
        job = client.run(signals.hoist, on="_all", text="ahoy")
        course = client.run(ships.course, on=WEB_1, knots=12)
        cabin = client.run(ships.assign, on=WEB_1, name="fram", berth=2, guests=["Ann"])
        struck = client.run(ships.bell, on=WEB_1, name="client")
        with pytest.raises(ApiError, match="nobody wants to go aboard"):
            client.run(ships.assign, on=WEB_1, name="mutinous", berth=1)
        with pytest.raises(ApiError, match="knots"):
            client.run(ships.course, on=WEB_1, knots=41)
    values = {result.hostname: result.value for result in job.results}
    assert values == {
        **{name: signals.Hoisted(f"{name}: AHOY") for name in (WEB_1, WEB_2)},
        OLD: None,
    }
    assert job.done
    assert not job.succeeded
    assert course.results[0].value == ships.Course("north", 12)
    assert cabin.results[0].value == ships.Cabin("fram", 2, ["Ann"])
    assert struck.results[0].value == ships.Struck(1)


async def test_the_client_for_asyncio_calls_it_too(
    extended: Cluster, modules: tuple[ModuleType, ModuleType]
) -> None:
    signals, _ = modules
    async with AsyncClient(extended.url, extended.token("admin")) as client:
        job = await client.run(signals.hoist, on=WEB_2, text="ahoy")
    assert job.succeeded
    assert job.results[0].value == signals.Hoisted(f"{WEB_2}: AHOY")


def test_it_is_a_command(extended: Cluster, env: dict[str, str]) -> None:
    process = towline(extended, env, "signal", "hoist", "ahoy", "--on", WEB_1, "-o", "json")
    assert json.loads(process.stdout)["results"] == [
        {"hostname": WEB_1, "status": "ok", "flags": f"{WEB_1}: AHOY"}
    ]
    assert process.stderr == ""


def test_its_command_shows_each_node_and_fails_where_one_skipped_it(
    extended: Cluster, env: dict[str, str]
) -> None:
    process = towline(extended, env, "signal", "hoist", "ahoy", "--on", "_all", status=1)
    head, *rows = process.stdout.splitlines()
    assert head.split() == ["HOSTNAME", "STATUS", "FLAGS", "ERROR"]
    assert [row.split()[:2] for row in rows] == [[OLD, "skipped"], [WEB_1, "ok"], [WEB_2, "ok"]]
    assert UNKNOWN in rows[0]
    assert f"{WEB_1}: AHOY" in rows[1]


def test_its_command_has_options_for_what_has_a_default(
    extended: Cluster, env: dict[str, str]
) -> None:
    course = towline(extended, env, "ship", "course", "--knots", "12", "--on", WEB_1, "-o", "json")
    (result,) = json.loads(course.stdout)["results"]
    assert (result["heading"], result["knots"]) == ("north", 12)
    assign = ("ship", "assign", "fram", "7", "--guests", "Ann", "--guests", "Bob")
    cabin = towline(extended, env, *assign, "--on", WEB_1, "-o", "json")
    (result,) = json.loads(cabin.stdout)["results"]
    assert (result["name"], result["berth"], result["guests"]) == ("fram", 7, ["Ann", "Bob"])


def test_its_command_refuses_what_does_not_fit_the_signature(
    extended: Cluster, env: dict[str, str]
) -> None:
    before = extended.jobs_made()
    for arguments, status, word in (
        (["signal", "hoist", "--on", WEB_1], 2, "TEXT"),
        (["ship", "course", "--knots", "fast", "--on", WEB_1], 2, "fast"),
        (["ship", "course", "--heading", "east", "--on", WEB_1], 2, "north"),
        (["ship", "course", "--knots", "41", "--on", WEB_1], 1, "knots"),
        (["ship", "course", "--speed", "1", "--on", WEB_1], 2, "--speed"),
    ):
        process = towline(extended, env, *arguments, status=status)
        assert word in process.stderr
        assert process.stdout == ""
    assert extended.jobs_made() == before


def test_help_shows_it(extended: Cluster, env: dict[str, str]) -> None:
    assert "signal" in towline(extended, env, "--help").stdout
    assert "Hoist a text in flags." in towline(extended, env, "signal", "--help").stdout
    shown = towline(extended, env, "ship", "course", "--help").stdout
    assert "--knots" in shown
    assert "[north|south]" in shown


def test_a_command_line_that_was_not_told_of_it_does_not_have_it(extended: Cluster) -> None:
    process = towline(extended, {}, "signal", "hoist", "ahoy", "--on", WEB_1, status=2)
    assert "'signal'" in process.stderr


@pytest.mark.parametrize("part", ["controller", "agent", "up"])
def test_a_part_that_cannot_import_it_says_so_and_does_not_start(tmp_path: Path, part: str) -> None:
    process = TowlineProcess(
        *(part, "--state", tmp_path / "state"),
        logs=tmp_path,
        env={"TOWLINE_OPERATIONS": "no_such_module"},
    )
    with process:
        assert process.wait() == 1
    assert "'no_such_module'" in process.stderr
    assert "Traceback" not in process.stderr
