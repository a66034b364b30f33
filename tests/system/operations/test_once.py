"""A new operation that must not run twice."""

from tests.testing.answers import refused, results
from tests.testing.cluster import WEB_1, WEB_2, Cluster
from tests.testing.process import wait_until


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
