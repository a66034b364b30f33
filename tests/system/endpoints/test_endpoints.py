"""An endpoint is one function: route, description, client and command are made from it."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from tests.testing.process import TowlineProcess
from towline.client import ApiError, AsyncClient, Client
from towline.signature import Upload


@pytest.fixture
def http(port: Cluster) -> httpx.Client:
    """Requests of somebody who may do everything."""
    return port.client(port.token("admin"))


def towline(
    port: Cluster, env: dict[str, str], *arguments: str | Path, status: int = 0
) -> TowlineProcess:
    """Run a command against the controller, and check its exit status."""
    process = TowlineProcess(
        *arguments,
        logs=port.directory,
        name=f"towline-{len(list(port.directory.glob('towline-*.out')))}",
        env=env | {"TOWLINE_URL": port.url, "TOWLINE_TOKEN": port.token("admin")},
    )
    with process:
        assert process.wait() == status, process.tail()
    return process


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_it_answers_over_http(http: httpx.Client, prefix: str) -> None:
    answer = http.get(f"{prefix}/harbour/fram?times=2")
    assert answer.status_code == 200
    assert answer.json() == {"text": "Ahoy fram! Ahoy fram! says tests"}


def test_what_is_not_valid_is_refused_and_named(http: httpx.Client) -> None:
    for query, word in (("times=0", "times"), ("times=x", "times"), ("tmes=1", "tmes")):
        assert word in refused(http.get(f"/harbour/fram?{query}"), 400)
    twice = http.get("/harbour/fram?times=1&times=2")
    assert "twice" in refused(twice, 400)
    for body, word in (
        ({"ship": "fram"}, "number"),
        ({"ship": "fram", "number": 10}, "number"),
        ({"ship": "fram", "number": "1"}, "number"),
        ({"ship": "fram", "number": 1, "mast": 2}, "mast"),
    ):
        assert word in refused(http.post("/harbour", json=body), 400)


def test_who_lacks_the_permission_is_refused(port: Cluster) -> None:
    reader = port.client(port.token("read"))
    assert reader.get("/harbour/fram").is_success
    said = refused(reader.post("/harbour", json={"ship": "fram", "number": 1}), 403)
    assert "harbour:write" in said
    refused(httpx.get(f"{port.url}/harbour/fram"), 401)


def test_what_is_made_has_a_place_and_what_is_gone_no_body(http: httpx.Client) -> None:
    made = http.post("/harbour", json={"ship": "fram", "number": 1})
    assert (made.status_code, made.headers["location"]) == (201, "/harbour/fram")
    assert made.json() == {"ship": "fram", "number": 1}
    gone = http.delete("/harbour/fram")
    assert (gone.status_code, gone.content) == (204, b"")


def test_it_takes_files_and_fields(http: httpx.Client) -> None:
    answer = http.post(
        "/harbour/fram/hold?first=true",
        data={"label": "fragile"},
        files={"cargo": ("tea.bin", b"x" * 100)},
    )
    assert (answer.status_code, answer.headers["location"]) == (201, "/harbour/fram/hold/100")
    assert answer.json() == {
        "name": "fram",
        "size": 100,
        "label": "fragile",
        "first": True,
        "file": "tea.bin",
    }


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        ({"json": {"cargo": "tea"}}, 415, "multipart/form-data"),
        ({"data": {"label": "x"}, "files": {"tea": ("a", b"1")}}, 400, "tea"),
        ({"files": {"cargo": (None, b"1")}}, 400, "no file"),
        ({"files": [("cargo", ("a", b"1")), ("cargo", ("b", b"2"))]}, 400, ""),
        ({"files": {"cargo": ("a", b"1"), "mast": (None, "2")}}, 400, "mast"),
        (
            {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "boundary",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_and_named(
    http: httpx.Client, arguments: dict[str, Any], status: int, word: str
) -> None:
    assert word in refused(http.post("/harbour/fram/hold", **arguments), status)


def test_it_streams_events(http: httpx.Client) -> None:
    answer = http.get("/harbour/fram/tide?hours=2")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.split("\n\n")[1:3] == [
        'id: 0\nevent: tide\ndata: {"hour":0}',
        'id: 1\nevent: end\ndata: {"hour":1}',
    ]
    assert "no water" in refused(http.get("/harbour/dry/tide"), 409)
    assert http.get("/harbour/still/tide").status_code == 204


def test_it_is_described(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    greet = document["paths"]["/harbour/{name}"]["get"]
    assert (greet["operationId"], greet["summary"]) == ("harbour.greet", "Greet a ship.")
    assert greet["parameters"][1]["schema"] == {"type": "integer", "minimum": 1, "default": 1}
    (kind,) = document["paths"]["/harbour/{name}/hold"]["post"]["requestBody"]["content"]
    assert kind == "multipart/form-data"
    (kind,) = document["paths"]["/harbour/{name}/tide"]["get"]["responses"]["200"]["content"]
    assert kind == "text/event-stream"
    assert "Location" in document["paths"]["/harbour"]["post"]["responses"]["201"]["headers"]


def test_it_may_have_options_and_statuses_of_its_own(port: Cluster, harbours: ModuleType) -> None:
    with Client(port.url, port.token("admin")) as client:
        assert client.call(harbours.moor, name="fram") == harbours.Moored(2, "tide")
        more = client.call(harbours.moor, name="fram", wait="ebb", ropes=harbours.Ropes(bow=3))
        assert more == harbours.Moored(4, "ebb")
    answers = port.anyone.get("/openapi.json").json()["paths"]["/harbour/{name}/ropes"]["post"]
    described = {code: each["description"] for code, each in answers["responses"].items()}
    assert described["203"] == "Non-Authoritative Information"
    assert described["412"].startswith("It is another by now")


def test_the_client_calls_it_and_has_its_answer(port: Cluster, harbours: ModuleType) -> None:
    with Client(port.url, port.token("admin")) as client:
        assert client.call(harbours.greet, name="a/b") == harbours.Greeting("Ahoy a/b! says tests")
        assert client.call(harbours.berth, ship="fram", number=2) == harbours.Berth("fram", 2)
        stowed = client.call(
            harbours.stow, name="fram", cargo=Upload("tea", b"123"), label="x", first=True
        )
        assert stowed == harbours.Stowed("fram", 3, "x", True, "tea")
        assert client.call(harbours.leave, name="fram") is None
        tides = list(client.stream(harbours.tide, name="fram"))
        assert [(event.id, event.kind, event.data) for event in tides] == [
            ("0", "tide", harbours.Tide(0)),
            ("1", "tide", harbours.Tide(1)),
            ("2", "end", harbours.Tide(2)),
        ]
        with pytest.raises(ApiError, match="number"):
            client.call(harbours.berth, ship="fram", number=10)


async def test_the_client_for_asyncio_calls_it_too(port: Cluster, harbours: ModuleType) -> None:
    async with AsyncClient(port.url, port.token("admin")) as client:
        answer = await client.call(harbours.greet, name="fram", times=2)
        assert answer == harbours.Greeting("Ahoy fram! Ahoy fram! says tests")
        hours = [event.data.hour async for event in client.stream(harbours.tide, name="x")]
    assert hours == [0, 1, 2]


def test_it_is_a_command(port: Cluster, env: dict[str, str]) -> None:
    assert "greet" in towline(port, env, "harbour", "--help").stdout
    said = towline(port, env, "harbour", "greet", "fram", "--times", "2")
    assert "Ahoy fram! Ahoy fram! says tests" in said.stdout
    asked = towline(port, env, "harbour", "berth", "fram", "3", "-o", "json")
    assert json.loads(asked.stdout) == {"ship": "fram", "number": 3}
    file = port.directory / "tea"
    file.write_bytes(b"12345")
    stowed = towline(port, env, "harbour", "stow", "fram", file, "--first", "-o", "json")
    assert json.loads(stowed.stdout)["size"] == 5
    lines = towline(port, env, "harbour", "tide", "fram", "--hours", "2").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"hour": 0}, {"hour": 1}]
    assert towline(port, env, "harbour", "leave", "fram").stdout == ""
    towline(port, env, "harbour", "berth", "fram", "10", status=2)
