from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.jobs import LONG_AGO
from towline.controller.fleet import Fleet
from towline.controller.member import Member
from towline.controller.moment import LocalClock
from towline.errors import InvalidRequest, NoNodes, TowlineError
from towline.wire.job import new_id
from towline.wire.member import MemberRecord
from towline.wire.node import Heartbeat, NodeState, Registration, pack
from towline.wire.target import ALL, ANY, Hostname, Label, Target, parse_target

FIRST, SECOND = "1" * 16, "2" * 16
MACHINES = ["m1", "m2", "m3", "web-01"]
HOSTNAMES = ["web-01", "web-02", "m2"]
KEYS = ["group", "rack"]
# Few segments, one the beginning of another, so that labels often nearly match.
PATHS = st.lists(st.sampled_from(["web", "we", "website", "eu"]), min_size=1, max_size=3)


def registration(
    machine: str, hostname: str, labels: dict[str, str] | None = None, started: float = LONG_AGO
) -> Registration:
    return Registration(machine, hostname, "0.2.0", started, started, labels or {})


def a_fleet(registrations: Iterable[Registration]) -> Fleet:
    """A fleet that has followed these, in order."""
    fleet = Fleet()
    for each in registrations:
        fleet.register(each)
    return fleet


def heartbeat(**more: Any) -> Heartbeat:
    return Heartbeat(**{"start": FIRST, "interval": 5.0, "capabilities": {"node": ""}, **more})


def beat(fleet: Fleet, machine: str, **more: Any) -> bool:
    """Have a heartbeat arrive."""
    return fleet.receive(machine, heartbeat(**more))


def resolved(fleet: Fleet, target: Target) -> list[str] | type[TowlineError]:
    try:
        return sorted(member.machine for member in fleet.resolve(target))
    except TowlineError as error:
        return type(error)


def by_the_rules(known: list[Registration], target: Target) -> list[str] | type[TowlineError]:
    nodes = {each.machine: each for each in known}
    if not nodes:
        return NoNodes
    match target:
        case Hostname(name) if name in nodes:
            found = [name]
        case Hostname(name):
            found = [machine for machine, node in nodes.items() if node.hostname == name]
            if len(found) > 1:
                return InvalidRequest
        case Label(key, value):
            wanted = value.split(".")
            found = [
                machine
                for machine, node in nodes.items()
                if key in node.labels and node.labels[key].split(".")[: len(wanted)] == wanted
            ]
        case _:
            found = list(nodes)
    return sorted(found) or InvalidRequest


REGISTRATIONS = st.lists(
    st.builds(
        registration,
        st.sampled_from(MACHINES),
        st.sampled_from(HOSTNAMES),
        st.dictionaries(st.sampled_from(KEYS), PATHS.map(".".join), max_size=2),
    ),
    max_size=6,
)
TARGETS = (
    st.sampled_from([ANY, ALL])
    | st.sampled_from([*MACHINES, *HOSTNAMES, "absent"]).map(Hostname)
    | st.builds(Label, st.sampled_from(KEYS), PATHS.map(".".join))
)


@given(REGISTRATIONS, TARGETS)
def test_a_target_means_the_nodes_that_the_rules_say(
    known: list[Registration], target: Target
) -> None:
    assert resolved(a_fleet(known), target) == by_the_rules(known, target)


def test_the_machine_id_goes_before_another_nodes_hostname() -> None:
    fleet = a_fleet([registration("a", "b"), registration("b", "c")])
    assert resolved(fleet, Hostname("b")) == ["b"]


def test_a_name_of_two_nodes_is_refused_with_their_machine_ids() -> None:
    fleet = a_fleet([registration("b", "web-01"), registration("a", "web-01")])
    with pytest.raises(InvalidRequest, match="'web-01' belongs to 2 nodes") as refused:
        fleet.resolve(Hostname("web-01"))
    assert "of which 0 are here" in refused.value.error
    assert refused.value.details.endswith("a, b")
    assert resolved(fleet, Hostname("a")) == ["a"]


def test_a_name_of_several_nodes_means_the_one_that_is_here_where_just_one_is() -> None:
    fleet = a_fleet(registration(machine, "web-01") for machine in "abc")
    beat(fleet, "b")
    assert resolved(fleet, Hostname("web-01")) == ["b"]
    assert fleet.one("web-01").machine == "b"
    beat(fleet, "c")
    with pytest.raises(InvalidRequest, match="belongs to 3 nodes, of which 2 are here"):
        fleet.resolve(Hostname("web-01"))
    beat(fleet, "b", leaving=True)
    assert resolved(fleet, Hostname("web-01")) == ["c"]


def test_a_node_that_alone_has_its_name_is_meant_though_it_is_away() -> None:
    fleet = a_fleet([registration("a", "web-01"), registration("b", "web-02")])
    beat(fleet, "b")
    assert resolved(fleet, Hostname("web-01")) == ["a"]


def test_a_node_that_was_renamed_is_known_by_its_new_name_alone() -> None:
    fleet = a_fleet([registration("a", "old"), registration("a", "new")])
    assert resolved(fleet, Hostname("new")) == ["a"]
    assert resolved(fleet, Hostname("old")) is InvalidRequest


def test_a_registration_that_cannot_be_read_leaves_the_node_as_it_was() -> None:
    fleet = a_fleet([registration("a", "old")])
    with pytest.raises(ValueError, match="is not a label"):
        fleet.register(registration("a", "new", {"group": "web.*"}))
    assert resolved(fleet, Hostname("old")) == ["a"]
    assert resolved(fleet, Hostname("new")) is InvalidRequest


@pytest.mark.parametrize("target", ["nobody", "group:nobody"])
def test_a_target_that_means_no_node_is_repeated_with_where_to_look(target: str) -> None:
    fleet = a_fleet([registration("a", "web-01", {"group": "web"})])
    with pytest.raises(InvalidRequest) as refused:
        fleet.resolve(parse_target(target))
    assert repr(target) in refused.value.error
    assert "GET /agent" in refused.value.details


@pytest.mark.parametrize("target", ["_any", "_all", "web-01", "group:web"])
def test_without_any_node_the_refusal_says_how_to_start_one(target: str) -> None:
    with pytest.raises(NoNodes) as refused:
        a_fleet([]).resolve(parse_target(target))
    assert "towline agent" in refused.value.details


def test_members_are_listed_by_hostname() -> None:
    fleet = a_fleet([registration("1", "c"), registration("2", "a"), registration("3", "b")])
    assert [member.hostname for member in fleet.members()] == ["a", "b", "c"]


def test_a_node_is_here_from_its_heartbeat_on_and_gone_when_it_says_so() -> None:
    changes: list[set[str]] = []
    fleet = a_fleet([registration("a", "web-01")])
    fleet.subscribe(changes.append)
    assert not list(fleet.here())
    beat(fleet, "a")
    assert [member.machine for member in fleet.here()] == ["a"]
    beat(fleet, "a")
    beat(fleet, "a", leaving=True)
    assert not list(fleet.here())
    assert changes == [{"a"}, {"a"}]


def test_a_heartbeat_of_a_node_that_is_not_registered_counts_as_none() -> None:
    fleet = a_fleet([])
    assert beat(fleet, "a")
    assert resolved(fleet, ALL) is NoNodes
    fleet.register(registration("a", "web-01"))
    assert not list(fleet.here())
    beat(fleet, "a", capabilities={"docker": ""})
    (member,) = fleet.here()
    assert member.can("docker")


@pytest.mark.parametrize(
    ("before", "second", "counts"),
    [
        ({}, {"start": SECOND}, False),
        ({}, {"start": SECOND, "after": SECOND}, False),
        ({}, {"start": SECOND, "after": FIRST}, True),
        ({"leaving": True}, {"start": SECOND}, True),
        ({}, {"start": FIRST}, True),
    ],
)
def test_one_start_of_an_agent_counts_at_a_time(
    before: dict[str, Any],
    second: dict[str, Any],
    counts: bool,
) -> None:
    fleet = a_fleet([registration("a", "web-01")])
    beat(fleet, "a", **before)
    assert beat(fleet, "a", running=3, **second) is counts
    (member,) = fleet.members()
    assert member.start == (second["start"] if counts else FIRST)
    assert member.heartbeat is not None
    assert (member.heartbeat.running == 3) is counts


def test_a_second_start_counts_once_the_first_is_away() -> None:
    running = [1000.0]
    fleet = Fleet(LocalClock(lambda: running[0]))
    fleet.register(registration("a", "web-01"))
    beat(fleet, "a")
    running[0] += 16.0
    fleet.find_silent(0.0)
    assert beat(fleet, "a", start=SECOND)
    (member,) = fleet.here()
    assert (member.start, fleet.size) == (SECOND, 1)


def test_what_a_node_holds_is_what_its_heartbeat_names() -> None:
    fleet = a_fleet([registration("a", "web-01")])
    (member,) = fleet.members()
    jobs = [new_id() for _ in range(2)]
    assert not member.holds(jobs[0])
    beat(fleet, "a", tasks=pack(jobs[:1]))
    assert [member.holds(job) for job in jobs] == [True, False]
    beat(fleet, "a", tasks=pack(jobs[:1]), more=True)
    assert [member.holds(job) for job in jobs] == [True, True]
    beat(fleet, "a")
    assert [member.holds(job) for job in jobs] == [False, False]


def test_who_follows_heartbeats_gets_each_that_counts_and_says_that_its_node_is_here() -> None:
    fleet = a_fleet([registration("a", "web-01")])
    received: list[str] = []
    fleet.subscribe_heartbeats(lambda member: received.append(member.start))
    beat(fleet, "a")
    beat(fleet, "a", start=SECOND)
    beat(fleet, "z")
    beat(fleet, "a")
    beat(fleet, "a", leaving=True)
    assert received == [FIRST, FIRST]


def test_what_people_decided_about_a_node_outlives_its_registrations() -> None:
    fleet = a_fleet([])
    fleet.decide("a", NodeState(LONG_AGO, "ann", LONG_AGO))
    for hostname in ("web-01", "web-02"):
        fleet.register(registration("a", hostname))
        assert fleet.one(hostname).drained == LONG_AGO
    fleet.decide("a", NodeState())
    assert fleet.one("web-02").drained is None


def test_a_registration_anew_does_not_make_a_node_silent() -> None:
    fleet = a_fleet([registration("a", "web-01")])
    beat(fleet, "a", capabilities={"docker": "refused"})
    fleet.register(registration("a", "web-01", {"group": "web"}, started=LONG_AGO + 2))
    (member,) = fleet.here()
    assert member.trouble("docker") == "refused"
    assert resolved(fleet, Label("group", "web")) == ["a"]


def test_what_a_node_can_do_is_what_its_heartbeat_says() -> None:
    member = Member(registration("a", "web-01"))
    assert member.can("docker")  # nothing is known of it yet
    member.heartbeat = heartbeat(capabilities={"node": "", "docker": "no such file"})
    assert member.can("node")
    assert member.can("docker")
    assert not member.can("podman")
    assert member.trouble("docker") == "no such file"
    assert not member.trouble("node")


def test_a_node_that_never_sent_a_heartbeat_is_away_since_its_start() -> None:
    member = Member(registration("a", "web-01", started=1_700_000_000.0))
    assert member.absence == "not reachable since 2023-11-14T22:13:20.000Z"


def member_record(machine: str, hostname: str, labels: dict[str, str]) -> MemberRecord:
    return MemberRecord(
        *(machine, "U" + "A" * 55, "its key", hostname, "accepted", "i1"),
        *(LONG_AGO, "ann", LONG_AGO),
        labels=labels,
    )


def test_what_a_node_that_came_by_an_invite_says_of_its_name_and_labels_does_not_count() -> None:
    fleet = a_fleet([registration("m1", "db-01", {"group": "db"})])
    fleet.enrol(member_record("m1", "web-01", {"group": "web"}))
    for claimed in ("db-01", "web-02"):
        fleet.register(registration("m1", claimed, {"group": "db", "rack": "r1"}))
        assert resolved(fleet, Hostname("web-01")) == ["m1"]
        assert resolved(fleet, Hostname(claimed)) is InvalidRequest
        assert resolved(fleet, Label("group", "web")) == ["m1"]
        assert resolved(fleet, Label("group", "db")) is InvalidRequest
        assert resolved(fleet, Label("rack", "r1")) is InvalidRequest
        assert fleet.public_key("m1") == "its key"


def test_a_node_that_is_renamed_and_labelled_anew_is_known_by_that_at_once() -> None:
    fleet = a_fleet([registration("m1", "web-01")])
    fleet.enrol(member_record("m1", "web-01", {}))
    beat(fleet, "m1")
    fleet.enrol(member_record("m1", "web-02", {"group": "db"}))
    assert resolved(fleet, Hostname("web-01")) is InvalidRequest
    assert resolved(fleet, Hostname("web-02")) == resolved(fleet, Label("group", "db")) == ["m1"]
    assert fleet.is_here("m1")


def test_nobody_takes_the_name_of_a_node_that_came_by_an_invite_and_is_away() -> None:
    fleet = a_fleet([registration("m1", "web-01"), registration("m2", "web-01")])
    beat(fleet, "m2")
    assert resolved(fleet, Hostname("web-01")) == ["m2"]
    fleet.enrol(member_record("m1", "web-01", {}))
    assert resolved(fleet, Hostname("web-01")) == ["m1"]
    assert fleet.one("web-01").machine == "m1"


REVOKED = NodeState(revoked=LONG_AGO, shut_by="ann")


def test_a_node_that_was_revoked_is_shown_and_takes_no_work() -> None:
    fleet = a_fleet([registration("m1", "web-01", {"group": "web"})])
    fleet.register(registration("m2", "web-02", {"group": "web"}))
    beat(fleet, "m1")
    fleet.decide("m1", REVOKED)
    assert fleet.one("web-01").revoked == (LONG_AGO, "ann")
    assert not fleet.is_here("m1")
    # What it sends counts no longer, nor what it registers.
    beat(fleet, "m1")
    fleet.register(registration("m1", "web-01", {"group": "web"}))
    assert not fleet.is_here("m1")
    assert fleet.refuses("m1") == fleet.shut_out["m1"] == "the node was revoked by ann"
    assert resolved(fleet, ALL) == resolved(fleet, Label("group", "web")) == ["m2"]
    assert resolved(fleet, Hostname("web-01")) is InvalidRequest
    fleet.decide("m2", REVOKED)
    assert resolved(fleet, ALL) is NoNodes


def test_of_two_nodes_of_one_name_the_one_that_was_not_revoked_is_meant() -> None:
    fleet = a_fleet([registration("m1", "web-01"), registration("m2", "web-01")])
    fleet.decide("m1", REVOKED)
    assert resolved(fleet, Hostname("web-01")) == ["m2"]


@pytest.mark.parametrize("first", ["registration", "state"])
def test_a_node_that_was_removed_is_none_until_it_is_registered_anew(first: str) -> None:
    removed = NodeState(removed=LONG_AGO + 1, shut_by="ann")
    before = msgspec.structs.replace(registration("m1", "web-01"), registered=LONG_AGO)
    fleet = Fleet()
    if first == "registration":
        fleet.register(before)
    fleet.decide("m1", removed)
    if first == "state":
        fleet.register(before)
    assert fleet.get("m1") is None
    assert not fleet.members()
    assert fleet.shut_out == {"m1": "the node was removed by ann"}
    assert fleet.refuses("m1") is None
    fleet.register(msgspec.structs.replace(before, registered=LONG_AGO + 2))
    assert fleet.one("web-01").machine == "m1"
    assert fleet.shut_out == {}


@pytest.mark.parametrize("state", ["revoked", "removed"])
def test_a_node_that_came_by_an_invite_is_shut_out_by_its_record(state: str) -> None:
    fleet = a_fleet([registration("m1", "web-01"), registration("m2", "web-02")])
    record = member_record("m1", "web-01", {})
    fleet.enrol(record)
    beat(fleet, "m1")
    seen: list[set[str]] = []
    fleet.subscribe(seen.append)
    fleet.enrol(msgspec.structs.replace(record, state=state, changed_by="ann"))
    fleet.register(registration("m1", "web-01"))
    assert seen[0] == {"m1"}
    assert not fleet.is_here("m1")
    assert (fleet.get("m1") is None) == (state == "removed")
    assert resolved(fleet, ALL) == ["m2"]
    assert fleet.refuses("m1") == f"the node was {state} by ann"


def test_a_name_is_another_node_s_in_upper_and_lower_case_and_as_a_machine_id() -> None:
    fleet = a_fleet([registration("m1", "web-01"), registration("m2", "web-02")])
    for name in ("web-01", "WEB-01", "m1", "M1"):
        assert fleet.names_another(name, "m2")
        assert not fleet.names_another(name, "m1")
    assert not fleet.names_another("web-03", "m2")
