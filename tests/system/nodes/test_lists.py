"""Lists of nodes: which are asked for, and what has changed since."""

from typing import Any

import pytest

from tests.testing.answers import refused
from tests.testing.cluster import DB_1, LABELS, WEB_1, WEB_2, Cluster
from tests.testing.process import wait_until

Answer = dict[str, Any]


def listed(fleet: Cluster, token: str | None = None, **asked: str) -> Answer:
    client = fleet.admin if token is None else fleet.client(token)
    found: Answer = client.get("/agent", params=asked).raise_for_status().json()
    assert found["total"] == len(found["agents"])
    return found


def names(found: Answer) -> list[str]:
    return [agent["hostname"] for agent in found["agents"]]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, sorted(LABELS)),
        ({"label": "group:web"}, [WEB_1, WEB_2]),
        ({"label": "group:web,group:web.prod"}, [WEB_2]),
        ({"label": "group:none"}, []),
        ({"target": f"group:web,!{WEB_1};{DB_1}"}, sorted([DB_1, WEB_2])),
        ({"target": "_all", "label": "group:website"}, [DB_1]),
        ({"status": "Ready"}, sorted(LABELS)),
        ({"status": "NotReady"}, []),
    ],
    ids=str,
)
def test_a_list_has_the_nodes_that_are_asked_for(
    fleet: Cluster, asked: dict[str, str], found: list[str]
) -> None:
    assert names(listed(fleet, **asked)) == found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"target": "nobody"}, "No registered node is called 'nobody'."),
        ({"label": "web"}, "'web' is not a label, which is KEY:VALUE."),
        ({"label": ""}, "The target is not valid"),
        ({"status": "Away"}, "status"),
    ],
    ids=str,
)
def test_what_no_list_can_be_asked_for_is_refused(
    fleet: Cluster, asked: dict[str, str], said: str
) -> None:
    answer = fleet.admin.get("/agent", params=asked)
    assert said in refused(answer, 400)


def test_a_brief_list_has_what_lists_show(fleet: Cluster) -> None:
    whole, brief = listed(fleet), listed(fleet, brief="true")
    assert names(whole) == names(brief)
    for full, short in zip(whole["agents"], brief["agents"], strict=True):
        assert (short["facts"], short["timeline"]) == ({}, [])
        assert full["facts"]
        # What may be another in the second answer.
        rest = short.keys() - {"facts", "timeline", "conditions", "last_heard", "running"}
        assert {name: short[name] for name in rest} == {name: full[name] for name in rest}


def test_whoever_asks_again_is_told_what_has_changed_since(fleet: Cluster) -> None:
    asked = {"label": "group:web", "brief": "true"}
    found = listed(fleet, **asked)
    assert "changes" not in found
    again = listed(fleet, **asked, after=found["cursor"])
    assert again["changes"]
    fleet.admin.post(f"/agent/{WEB_1}/drain").raise_for_status()
    try:
        # Of the others a heartbeat may bring something new at any time.
        wait_until(lambda: WEB_1 in names(listed(fleet, **asked, after=again["cursor"])))
        changed = listed(fleet, **asked, after=again["cursor"])["agents"]
        assert {each["hostname"]: each["state"] for each in changed}[WEB_1] == "Cordoned"
        others = listed(fleet, target=DB_1, after=again["cursor"])
        assert WEB_1 not in names(others)
        assert fleet.machine_id(WEB_1) in others["gone"]
    finally:
        fleet.admin.post(f"/agent/{WEB_1}/undrain").raise_for_status()


def test_where_it_is_not_known_what_has_changed_all_are_told(fleet: Cluster) -> None:
    for after in ("0", "00000000-1"):
        found = listed(fleet, after=after)
        assert names(found) == sorted(LABELS)
        assert "changes" not in found


def test_a_permission_that_is_narrowed_is_told_of_no_other_node(fleet: Cluster) -> None:
    token = fleet.token(permissions=["agent:read@group:web"])
    found = listed(fleet, token)
    again = listed(fleet, token, after=found["cursor"])
    assert names(found) == names(again) == [WEB_1, WEB_2]
    assert "gone" not in again
