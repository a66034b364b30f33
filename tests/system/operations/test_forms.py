"""What operations may be beside one row from one route: each form by an operation of its own."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.system.operations.sources import OLD
from tests.system.operations.test_commands import towline
from tests.testing.answers import error_body, refused
from tests.testing.cluster import WEB_1, WEB_2, Cluster
from towline.client import ApiError, Client

Import = Callable[[str], ModuleType]


def rows(answer: httpx.Response, *names: str) -> list[tuple[Any, ...]]:
    """Return what results have under some names; but for the node that knows no operation."""
    assert answer.is_success, answer.text
    known = [row for row in answer.json()["results"] if row["hostname"] != OLD]
    return [tuple(row.get(name) for name in names) for row in known]


def test_an_operation_may_be_the_route_of_the_node_itself(
    extended: Cluster, imported: Import
) -> None:
    for path in (f"/node/{WEB_1}", f"/api/node/{WEB_1}"):
        assert rows(extended.reader.get(path), "hostname", "berths") == [(WEB_1, 2)]
    with Client(extended.url, extended.token("read")) as client:
        job = client.run(imported("harbours").look, on=WEB_1)
    assert [result.value for result in job.results] == [imported("harbours").Harbour(2)]


def test_a_node_has_a_result_for_each_entry_and_none_for_none(
    extended: Cluster, imported: Import, env: dict[str, str]
) -> None:
    target = f"/node/{WEB_1}/harbour/berth"
    answer = extended.reader.get(target)
    assert rows(answer, "hostname", "status", "name", "ship") == [
        (WEB_1, "ok", "north", "fram"),
        (WEB_1, "ok", "south", None),
    ]
    job = extended.job(answer.json()["job_id"])
    data = [{"name": "north", "ship": "fram"}, {"name": "south"}]
    assert (job["result"], job["responses"][WEB_1]["data"]) == (data, data)
    assert job["results"] == answer.json()["results"]
    assert job["operation"]["type"] == "harbour.berths.get"
    none = extended.reader.get(f"/node/{WEB_2}/harbour/berth")
    assert rows(none) == []
    assert extended.job(none.json()["job_id"])["result"] == []
    harbours = imported("harbours")
    with Client(extended.url, extended.token("read")) as client:
        found = client.run(harbours.berths, on=WEB_1, free=True)
        empty = client.run(harbours.berths, on=WEB_2)
    assert [result.value for result in found.results] == [harbours.Berth("south")]
    assert (empty.results, empty.done, empty.succeeded) == ([], True, True)
    process = towline(extended, env, "harbour", "berths", "--on", WEB_1)
    assert [line.split()[:2] for line in process.stdout.splitlines()[1:]] == [
        [WEB_1, "north"],
        [WEB_1, "south"],
    ]
    towline(extended, env, "harbour", "berths", "--on", WEB_2)


def test_an_operation_may_have_a_status_of_its_own(
    extended: Cluster, imported: Import, env: dict[str, str]
) -> None:
    names = ("status", "outcome", "error")
    answer = extended.reader.get(f"/node/{WEB_1}/harbour/tide")
    assert rows(answer, *names) == [("rising", "ok", None)]
    assert extended.job(answer.json()["job_id"])["responses"][WEB_1]["status"] == "ok"
    answer = extended.reader.get("/node/_all/harbour/tide?stuck=true")
    assert rows(answer, *names) == [(None, "failed", "the gauge is stuck")] * 2
    with Client(extended.url, extended.token("read")) as client:
        (result,) = client.run(imported("harbours").tide, on=WEB_1).results
    assert (result.status, result.value) == ("ok", imported("harbours").Tide("rising"))
    process = towline(extended, env, "harbour", "tide", "--on", WEB_1)
    assert [line.split() for line in process.stdout.splitlines()] == [
        *(["node", WEB_1], ["outcome", "ok"], ["status", "rising"])
    ]
    process = towline(extended, env, "harbour", "tide", "--on", WEB_1, "-o", "json")
    (row,) = json.loads(process.stdout)["results"]
    assert (row["outcome"], row["status"]) == ("ok", "rising")
    towline(extended, env, "harbour", "tide", "--stuck", "--on", "_all", status=1)


@pytest.mark.parametrize(("name", "code"), [("east", 404), ("royal", 403)])
def test_a_node_may_name_the_code_of_the_answer_to_a_request_for_it_alone(
    extended: Cluster, imported: Import, name: str, code: int
) -> None:
    answer = extended.reader.get(f"/node/{WEB_1}/harbour/berth/{name}")
    assert answer.status_code == code
    assert name in error_body(answer.content, code)
    _, _, job_id = answer.headers["Location"].rpartition("/")
    assert extended.job(job_id)["status"] == "failed"
    several = extended.reader.get(f"/node/_all/harbour/berth/{name}")
    assert [status for (status,) in rows(several, "status")] == ["failed", "failed"]
    with (
        Client(extended.url, extended.token("read")) as client,
        pytest.raises(ApiError, match=name) as raised,
    ):
        client.run(imported("harbours").berth, on=WEB_1, name=name)
    assert raised.value.status == code


def test_a_delete_may_have_a_body(extended: Cluster, imported: Import, env: dict[str, str]) -> None:
    path = f"/node/{WEB_1}/harbour/berth"
    answer = extended.writer.request("DELETE", path, json={"name": "north", "force": True})
    assert rows(answer, "name", "force", "changed") == [("north", True, True)]
    assert "name" in refused(extended.writer.request("DELETE", path, json={}), 400)
    assert "name" in refused(extended.writer.request("DELETE", f"{path}?name=north"), 400)
    with Client(extended.url, extended.token("write")) as client:
        (result,) = client.run(imported("harbours").clear, on=WEB_1, name="south").results
    assert result.value == imported("harbours").Cleared("south", False, False)
    process = towline(extended, env, "harbour", "clear", "north", "--on", WEB_1, "-o", "json")
    assert json.loads(process.stdout)["results"][0]["changed"] is True


def test_texts_may_refer_to_facts_which_each_node_resolves(extended: Cluster) -> None:
    words = ["ahoy @fact.hostname", "plain"]
    answer = extended.writer.post("/node/_all/harbour/hail", json={"words": words})
    assert rows(answer, "words") == [([f"ahoy {name}", "plain"],) for name in (WEB_1, WEB_2)]
    assert extended.job(answer.json()["job_id"])["operation"]["data"] == {"words": words}
    path = f"/node/{WEB_1}/harbour/hail"
    unknown = extended.writer.post(path, json={"words": ["@fact.custom.tide"]})
    assert "@fact.custom.tide" in error_body(unknown.content, 500)
    odd = extended.writer.post(path, json={"words": ["@fact.hostname!"]})
    assert "$.words[0]" in error_body(odd.content, 500)
    assert "words" in refused(extended.writer.post(path, json={"words": ["ahoy!"]}), 400)
    placed = extended.admin.post(f"/node/{WEB_1}/ship/@fact.custom.ship/bell")
    assert "@fact.custom.ship" in error_body(placed.content, 500)


def test_jobs_are_found_by_the_name_or_the_label_of_their_operation(extended: Cluster) -> None:
    made = extended.reader.get(f"/node/{WEB_1}/harbour/tide").json()["job_id"]
    # A list may be a moment behind the journal; who asks for the job by its id waits for that.
    assert extended.reader.get(f"/job/{made}").is_success
    for name in ("harbour.tide.get", "harbour.tide"):
        jobs = extended.reader.get("/job", params={"operation": name}).json()["items"]
        assert made in [job["id"] for job in jobs]
        assert {job["operation"]["type"] for job in jobs} == {"harbour.tide.get"}


def test_the_document_has_the_forms(extended: Cluster) -> None:
    paths = extended.anyone.get("/openapi.json").json()["paths"]
    assert paths["/node/{hostname}"]["get"]["operationId"] == "harbour.look.get"
    berth = paths["/node/{hostname}/harbour/berth"]
    assert berth["delete"]["requestBody"]["required"] is True
    assert "requestBody" not in berth["get"]
    responses = paths["/node/{hostname}/harbour/berth/{name}"]["get"]["responses"]
    assert {"403", "404"} <= responses.keys()
