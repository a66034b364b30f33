"""Dry runs of operations that know nothing of them: who would do it, who not, and why."""

from typing import Any

import httpx
import pytest

from tests.system.jobs.asking import NODES, Ask, job_id
from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until
from towline.client import new_job_id

DRY = "?dry_run=true"


def foreseen(answer: httpx.Response) -> dict[str, Any]:
    """Return what a dry run has answered."""
    assert answer.status_code == 200, answer.text
    assert "Location" not in answer.headers
    found: dict[str, Any] = answer.json()
    assert found["dry_run"] is True
    return found


def by_name(answer: httpx.Response) -> dict[str, tuple[str, str | None]]:
    """Return status and reason of each node that a dry run has answered."""
    return {
        each["hostname"]: (each["status"], each.get("reason"))
        for each in foreseen(answer)["results"]
    }


@pytest.mark.parametrize("operation", ["pass", "once", "look"])
def test_a_dry_run_says_who_would_do_it_and_makes_nothing(
    jobs: Cluster, gate: Gate, ask: Ask, name: str, operation: str
) -> None:
    made, stored = jobs.jobs_made(), jobs.broker.messages("READS")
    entries = jobs.admin.get("/audit").json()["total_items"]
    answer = ask("_all", operation, query=f"{DRY}&max_parallel=2&canary=1&max_failures=50%25")
    found = foreseen(answer)
    assert found["operation"] == f"gate.{operation}"
    assert found["target"] == "_all"
    assert found["waves"] == {"parallel": 2, "canary": 1, "failures": 1}
    assert found["nodes"] == {"would_run": 3}
    assert {each["hostname"] for each in found["results"]} == set(NODES)
    assert {each["machine_id"] for each in found["results"]} == {
        node["machine_id"] for node in jobs.admin.get("/agent").json()["agents"]
    }
    assert by_name(ask("one", operation, query=DRY)) == {"one": ("would_run", None)}
    assert jobs.jobs_made() == made
    assert jobs.broker.messages("READS") == stored
    assert [gate.begun(name, node) for node in NODES] == [0, 0, 0]
    assert jobs.admin.get("/audit").json()["total_items"] == entries


def test_for_any_node_those_are_said_that_could_do_it(jobs: Cluster, ask: Ask) -> None:
    assert by_name(ask("_any,!one,!two", query=DRY)) == {"three": ("could_run", None)}
    jobs.admin.post("/agent/two/drain")
    try:
        found = by_name(ask("_any", query=DRY))
    finally:
        jobs.admin.post("/agent/two/undrain")
    assert found["one"] == found["three"] == ("could_run", None)
    status, reason = found["two"]
    assert (status, (reason or "")[:13]) == ("skipped", "drained since")


def test_a_node_that_is_away_would_do_it_when_it_returns_or_not_at_all(
    jobs: Cluster, ask: Ask
) -> None:
    jobs.agents["two"].stop()
    wait_until(
        lambda: jobs.admin.get("/agent/two").json()["status"] != "Ready", what="two to be away"
    )
    try:
        kept = by_name(ask("_all", query=DRY))
        once = by_name(ask("_all", "once", query=DRY))
        any_node = by_name(ask("_any", query=DRY))
        any_once = by_name(ask("_any", "once", query=DRY))
    finally:
        jobs.agents["two"].start()
        jobs.wait_here(*NODES)
    status, reason = kept["two"]
    assert status == "pending"
    assert reason is not None
    assert "runs when it returns, until" in reason
    status, reason = once["two"]
    assert status == "would_fail"
    assert reason is not None
    assert reason.endswith("not kept for nodes that are away")
    assert any_node["two"][0] == "pending"
    assert any_once["two"] == ("skipped", reason)
    assert kept["one"] == once["one"] == ("would_run", None)


def test_nodes_say_what_they_foresee_and_an_agent_of_before_that_it_can_t(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    ask("one", "once")
    jobs.agents["two"].stop()
    with gate.older():
        jobs.agents["two"].start()
        jobs.wait_here(*NODES)
        found = foreseen(ask("_all", "once", query=DRY))
    jobs.agents["two"].stop()
    jobs.agents["two"].start()
    jobs.wait_here(*NODES)
    rows = {each["hostname"]: each for each in found["results"]}
    assert found["nodes"] == {"would_run": 3}
    assert rows["one"]["plan"] == {"passed": 1}
    assert rows["three"]["plan"] == {"passed": 0}
    assert "plan" not in rows["two"]
    assert rows["two"]["not_told"].endswith("does not know gate.once.preview")
    assert [gate.begun(name, node) for node in NODES] == [1, 0, 0]


def test_a_node_that_does_not_answer_in_time_is_said_to_be_so(
    jobs: Cluster, ask: Ask, held: str
) -> None:
    rows = foreseen(ask("_all", "once", query=DRY, wait=1))["results"]
    assert [each["not_told"] for each in rows] == ["no answer within 1 s"] * 3
    assert {each["status"] for each in rows} == {"would_run"}
    # Who waits for nothing has nobody asked.
    assert "not_told" not in foreseen(ask("one", "once", query=DRY, wait=0))["results"][0]


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("nobody", {}),
        ("_all:", {}),
        ("one", {"body": {"unknown": 1}}),
        ("one", {"query": f"{DRY}&canary=1"}),
        ("_all", {"query": f"{DRY}&expires=90d"}),
        ("_all", {"query": f"{DRY}&max_parallel=none"}),
        ("_all", {"query": "?dry_run=perhaps"}),
    ],
)
def test_what_would_be_refused_is_refused_with_the_same_words(
    jobs: Cluster, ask: Ask, target: str, more: dict[str, Any]
) -> None:
    made = jobs.jobs_made()
    dry = ask(target, **{"query": DRY, **more})
    refused(dry, 400)
    if more.get("query", DRY).startswith(DRY):
        meant = {**more, "query": more.get("query", DRY).replace(DRY, "?")}
        assert ask(target, **meant).json() == dry.json()
    assert jobs.jobs_made() == made


def test_a_dry_run_needs_the_permission_and_only_that(jobs: Cluster, ask: Ask) -> None:
    nobody = jobs.client(None)
    refused(ask("one", client=nobody, query=DRY), 401)
    reader = jobs.client(jobs.token("read"))
    refused(ask("one", client=reader, query=DRY), 403)
    narrow = jobs.client(jobs.token(permissions=["docker:write@one"]))
    assert by_name(ask("one", client=narrow, query=DRY)) == {"one": ("would_run", None)}
    assert by_name(ask("_any", client=narrow, query=DRY)) == {"one": ("could_run", None)}
    assert "two" in refused(ask("_all", client=narrow, query=DRY), 403)


def test_a_dry_run_reserves_no_key_and_knows_those_that_are(jobs: Cluster, ask: Ask) -> None:
    for key in (new_job_id(), "plain"):
        headers = {"Idempotency-Key": key}
        assert "made" not in foreseen(ask("one", headers=headers, query=DRY))
        # Of whatever request the key was: it is free.
        job = job_id(ask("two", headers=headers))
        again = foreseen(ask("two", headers=headers, query=DRY))
        assert again["made"] == job
        assert [each["status"] for each in again["results"]] == ["skipped"]
        refused(ask("one", headers=headers, query=DRY), 409)
        # Nor is asked whether it could be made once more.
        jobs.admin.post("/agent/two/drain")
        try:
            assert foreseen(ask("two", headers=headers, query=DRY)) == again
        finally:
            jobs.admin.post("/agent/two/undrain")
