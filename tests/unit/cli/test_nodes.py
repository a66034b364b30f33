"""What `towline nodes` says of a node that is not as it should be."""

import pytest

from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController

MOMENT = "2026-01-01T00:00:00Z"
NODE = {
    **{"hostname": "web-01", "machine_id": "m1", "status": "Ready", "state": "Ready"},
    **{"registered_at": MOMENT, "started_at": MOMENT, "last_heard": MOMENT, "version": "1"},
    **{"labels": {}, "facts": {}, "timeline": []},
}
SAID: list[tuple[dict[str, object], str]] = [
    ({}, "Ready"),
    ({"dropped": 7}, "Ready; 7 of its messages dropped: it sends more than a node may"),
    ({"refused": 2, "refusal": "too old"}, "Ready; 2 messages refused: too old"),
    ({"revoked_at": MOMENT, "revoked_by": "ann"}, "Ready; revoked by ann"),
    ({"second_agent_at": MOMENT}, f"another agent has its identity, last seen {MOMENT}"),
]


@pytest.mark.parametrize(("fields", "said"), SAID, ids=lambda each: str(each)[:30])
def test_the_list_of_nodes_says_what_is_the_matter(
    asking: Here, controller: StubController, fields: dict[str, object], said: str
) -> None:
    controller.answers["GET /agent"] = Answer({"agents": [{**NODE, **fields}], "total": 1})
    listed = asking("nodes")
    assert (listed.status, listed.stderr) == (0, "")
    assert said in listed.stdout
    assert ("dropped" in listed.stdout) is ("dropped" in fields)
