"""The options of waves: what is refused, what a key and a retry make of them."""

from typing import Any

import pytest

from tests.system.rollout.waves import NODES, ask, begun, declined, made
from tests.testing.answers import statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate


@pytest.mark.parametrize(
    ("target", "query", "named"),
    [
        ("a1", "max_parallel=1", "'a1' is one node"),
        ("a1", "canary=1&max_failures=1", "Leave out `canary`, `max_failures`"),
        ("_any", "canary=1", "'_any' is one node"),
        ("_all", "max_parallel=0", "`max_parallel`: '0'"),
        ("_all", "max_parallel=200%25", "'200%'"),
        ("_all", "canary=some", "`canary`: 'some'"),
        ("_all", "canary=", "`canary`: ''"),
        ("_all", "max_failures=1", "give `max_parallel` or `canary` too"),
        ("_all", "max_failures=-1&canary=1", "`max_failures`: '-1'"),
        ("_all", "canary=1&canary=2", "stands there twice"),
        ("_all", "max_paralel=1", "max_parallel, canary, max_failures"),
    ],
)
def test_what_makes_no_sense_is_refused_and_no_job_is_made(
    system: Cluster, name: str, target: str, query: str, named: str
) -> None:
    before = system.jobs_made()
    declined(ask(system.admin, name, query, target=target), 400, named)
    assert system.jobs_made() == before


def test_a_key_makes_one_job_and_other_options_are_another_request(
    system: Cluster, gate: Gate, name: str
) -> None:
    key = {"Idempotency-Key": name}
    first = made(system.admin, name, "max_parallel=2", **key)
    assert made(system.others[0], name, "max_parallel=2", **key) == first
    declined(ask(system.admin, name, "max_parallel=3", **key), 409, "another request")
    system.ended(first)
    assert begun(gate, name) == list(NODES)


def test_a_retry_keeps_the_options_unless_others_are_given(
    system: Cluster, gate: Gate, name: str
) -> None:
    gate.damage(name)
    failed = made(system.admin, name, "max_parallel=4&max_failures=0")
    assert set(statuses(system.ended(failed)).values()) == {"failed", "cancelled"}
    gate.mend(name)

    def retried(query: str = "", on: str | None = None) -> dict[str, Any]:
        body = {} if on is None else {"target_hostname": on}
        answer = system.admin.post(f"/job/{failed}/retry?{query}", json=body)
        assert answer.status_code == 201, answer.text
        return system.ended(answer.json()["job_id"])

    again = retried()
    assert again["waves"] == {"max_parallel": "4", "max_failures": "0"}
    assert set(statuses(again).values()) == {"ok"}
    assert retried("canary=1")["waves"] == {"canary": "1"}
    assert "waves" not in retried(on="a1")
    url = f"/job/{failed}/retry"
    body = {"target_hostname": "a1"}
    declined(system.admin.post(f"{url}?canary=1", json=body), 400, "'a1' is one node")
    declined(system.admin.post(f"{url}?canary=0"), 400, "`canary`")
    declined(system.admin.post(f"{url}?color=red"), 400, "`color`")
