"""Which nodes an expression means, held against a model that looks at each node by itself."""

import fnmatch
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.jobs import a_job
from tests.unit.controller.test_fleet import (
    REVOKED,
    a_fleet,
    beat,
    member_record,
    registration,
    resolved,
)
from towline.controller.fleet import Fleet
from towline.controller.names import Names
from towline.controller.permissions import Bounds, parse_grant
from towline.controller.resolution import candidates
from towline.controller.rollout.view import FleetView
from towline.errors import InvalidRequest, NotFound
from towline.wire.node import Registration
from towline.wire.target import Target, parse_target

ALL = Bounds("ann", "agent:read", None)
LONG = "0123456789ab"
"""What two machine ids begin with, as many characters as stand for one."""


def the_fleet() -> Fleet:
    """Nodes named and labelled as people do it; `old` was revoked."""
    return a_fleet(
        [
            registration("m1", "web-01", {"group": "web.dev", "site": "ber", "rack": "r3.u1"}),
            registration("m2", "web-02", {"group": "web.prod", "site": "ber", "rack": "r12"}),
            registration("m3", "web-03", {"group": "web", "site": "oslo", "rack": "s1"}),
            registration("m4", "db-01", {"group": "db", "site": "oslo"}),
            registration(f"{LONG}cdef", "cache-01", {"group": "cache"}),
        ]
    )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("group:web,site:ber", "m1 m2"),
        ("web-*;db-01", "m1 m2 m3 m4"),
        ("_all,!rack:r3", f"{LONG}cdef m2 m3 m4"),
        ("_all,!web-*,!group:cache", "m4"),
        ("web-*,!web-03", "m1 m2"),
        ("web-01;m4", "m1 m4"),
        ("rack:r*", "m1 m2"),
        ("rack:*.u1", "m1"),
        ("site:*,!site:ber", "m3 m4"),
        ("*-01,!group:web", f"{LONG}cdef m4"),
        ("_any,group:web", "m1 m2 m3"),
        ("_any,group:web,!web-01;_any,db-01", "m2 m3 m4"),
        (LONG, f"{LONG}cdef"),
        (f"_all,!{LONG}c", "m1 m2 m3 m4"),
        # One part may be empty where others are not.
        ("group:db,site:ber;web-01", "m1"),
    ],
)
def test_an_expression_means_the_nodes_that_its_signs_say(target: str, expected: str) -> None:
    assert resolved(the_fleet(), parse_target(target)) == expected.split()


@pytest.mark.parametrize(
    ("target", "error", "details"),
    [
        ("webs-*", "No registered node has a name like 'webs-*'.", "GET /agent"),
        ("web-*;web-1", "No registered node is called 'web-1'. Did you mean web-01", ""),
        ("WEB-02", "No registered node is called 'WEB-02'. Did you mean web-02", ""),
        ("nobody", "No registered node is called 'nobody'.", "GET /agent"),
        ("grup:web", "carries the label 'grup:web'. Did you mean group:web", "labels"),
        ("group:wbe;db-01", "carries the label 'group:wbe'. Did you mean group:web", ""),
        ("_all,!web-04", "No registered node is called 'web-04'. Did", "would spare nobody"),
        ("_all,!rack:r99", "No registered node carries the label 'rack:r99'", "spare nobody"),
        ("_all,!wbe-*", "No registered node has a name like 'wbe-*'.", "would spare nobody"),
        (
            "group:db,site:ber",
            "means no node: no node of 'group:db' is one of 'site:ber', too.",
            "',' means and, ';' means or",
        ),
        ("web-01,web-02", "no node of 'web-01' is one of 'web-02', too", "'web-01;web-02'"),
        ("db-01,!db-*", "'!db-*' leaves none of 'db-01'", ""),
        ("_all,!group:*", "'!group:*' leaves none of '_all'", ""),
        (LONG[:11], f"No registered node is called '{LONG[:11]}'", ""),
    ],
)
def test_what_means_no_node_is_named_with_what_may_have_been_meant(
    target: str, error: str, details: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        the_fleet().resolve(parse_target(target), ALL)
    assert error in refused.value.error
    assert details in refused.value.details


def test_a_machine_id_may_be_shortened_where_no_other_begins_so_and_nobody_is_called_so() -> None:
    fleet = the_fleet()
    assert fleet.one(LONG).hostname == "cache-01"
    fleet.register(registration(f"{LONG}cxyz", "cache-02"))
    for target in (LONG, f"_all,!{LONG}c"):
        with pytest.raises(InvalidRequest, match="is the beginning of 2 machine ids") as refused:
            fleet.resolve(parse_target(target))
        assert f"{LONG}cdef, {LONG}cxyz" in refused.value.details
    assert fleet.one(f"{LONG}cx").hostname == "cache-02"
    fleet.register(registration("m9", LONG))
    assert fleet.one(LONG).machine == "m9"
    with pytest.raises(NotFound):
        fleet.one(LONG[:11])
    with pytest.raises(NotFound, match="Did you mean web-01"):
        fleet.one("web01", ALL)


@pytest.mark.parametrize(
    ("scope", "meant"),
    [
        ("group:db", ("db-01", "group:db")),
        ("group:cache", ("cache-01", "group:cache")),
        ("image=a", ()),
        (None, ()),
    ],
)
def test_a_refusal_asks_for_nothing_that_the_caller_may_not_read(
    scope: str | None, meant: tuple[str, ...]
) -> None:
    grants = [] if scope is None else [parse_grant(f"agent:read@{scope}")]
    seen = None if scope is None else Bounds("ann", "agent:read", grants)
    fleet = the_fleet()

    def suggested(text: str) -> str:
        with pytest.raises(InvalidRequest) as refused:
            fleet.resolve(parse_target(text), seen)
        assert f"'{text}'" in refused.value.error
        return refused.value.error.partition("Did you mean ")[2]

    near = ["db-1", "cache-1", "web-1", "group:dbb", "group:cachee", "group:webb"]
    names = ("db-01", "cache-01", "web-01", "group:db", "group:cache", "group:web")
    said = "".join(map(suggested, near))
    assert {name for name in names if name in said} == {*meant}
    with pytest.raises(NotFound) as refused:
        fleet.one("web-1", seen)
    assert "web-01" not in refused.value.error


def test_what_is_excluded_by_a_name_are_all_that_have_it() -> None:
    fleet = the_fleet()
    fleet.register(registration("m5", "web-01"))
    assert resolved(fleet, parse_target("web-*,!web-01")) == ["m2", "m3"]
    # Named otherwise, it is the one that is here.
    assert resolved(fleet, parse_target("web-01;db-01")) is InvalidRequest
    beat(fleet, "m5")
    assert resolved(fleet, parse_target("web-01;db-01")) == ["m4", "m5"]
    # One node's machine id, and the name of another.
    fleet.register(registration("db-01", "db-02"))
    assert resolved(fleet, parse_target("db-*,!db-01")) is InvalidRequest


def test_a_node_that_was_revoked_may_be_excluded_and_is_none_that_is_meant() -> None:
    fleet = the_fleet()
    fleet.decide("m1", REVOKED)
    assert resolved(fleet, parse_target("web-*,!web-01")) == ["m2", "m3"]
    assert resolved(fleet, parse_target("web-*;db-01")) == ["m2", "m3", "m4"]
    assert resolved(fleet, parse_target("_all,!group:*")) is InvalidRequest
    assert resolved(fleet, parse_target("_all,!web-02,!group:cache")) == ["m3", "m4"]
    assert resolved(fleet, parse_target("web-01;web-02")) is InvalidRequest
    assert resolved(fleet, parse_target("rack:r3;web-02")) is InvalidRequest


def test_a_node_is_found_by_what_it_is_called_and_carries_now_and_by_nothing_else() -> None:
    fleet = the_fleet()
    fleet.register(registration("m1", "web-09", {"group": "db.new"}))
    assert resolved(fleet, parse_target("group:db")) == ["m1", "m4"]
    for gone in ("web-01", "web-01;db-01", "rack:r3", "group:web.dev"):
        assert resolved(fleet, parse_target(gone)) is InvalidRequest
    names = Names()
    for member in fleet.members():
        names.add(member)
    for member in fleet.members():
        names.drop(member)
    assert (names.machines, names.hostnames, names.labels) == (set(), {}, {})


def test_nodes_that_a_job_for_any_may_be_done_by_are_those_that_are_meant_now() -> None:
    fleet = the_fleet()
    assert candidates(fleet, parse_target("_any")) is None

    def able(target: Target) -> list[str]:
        found = candidates(fleet, target)
        assert found is not None
        return sorted(found)

    wanted = parse_target("_any,group:web,!web-03")
    assert able(wanted) == ["m1", "m2"]
    fleet.register(registration("m2", "web-02", {"group": "db"}))
    fleet.register(registration("m3", "web-04", {"group": "web"}))
    assert able(wanted) == ["m1", "m3"]
    fleet.register(registration("m1", "web-01"))
    fleet.register(registration("m3", "web-03"))
    assert able(wanted) == []


def test_nodes_that_are_tried_again_are_those_that_are_still_meant_though_names_are_gone() -> None:
    fleet = the_fleet()
    wanted = parse_target("site:*,!rack:r3;db-01")
    tried = ["m2", "m4", "gone"]
    assert [each.machine for each in fleet.still(wanted, tried)] == ["m4", "m2"]
    fleet.register(registration("m1", "web-01"))  # the last of rack:r3
    fleet.register(registration("m4", "db-02"))
    assert resolved(fleet, wanted) is InvalidRequest
    assert [each.machine for each in fleet.still(wanted, tried)] == ["m2"]
    assert [each.machine for each in fleet.still(parse_target("_all"), tried)] == ["m4", "m2"]
    fleet.decide("m2", REVOKED)
    assert not fleet.still(wanted, tried)
    assert [each.machine for each in fleet.still(parse_target("_all"), tried)] == ["m4"]


def test_a_job_for_any_of_some_is_picked_a_node_that_is_one_of_these_at_the_time() -> None:
    fleet = the_fleet()
    view = FleetView(fleet)
    job = a_job(target="_any,group:web,!web-03", requires="node")
    assert view.pick(job) is None  # nobody is here
    for machine in ("m2", "m3", "m4"):
        beat(fleet, machine)
    assert {view.pick(job) for _ in range(20)} == {"m2"}
    fleet.register(registration("m2", "web-02", {"group": "db"}))
    assert view.pick(job) is None
    fleet.register(registration("m4", "db-01", {"group": "web"}))
    assert view.pick(job) == "m4"
    assert view.pick(a_job(target="_any,group:web,!web-03", requires="docker")) is None
    assert view.pick(a_job(target="_any,web@03", requires="node")) is None
    permitted = a_job(target="_any,site:*", within=["web-*"], requires="node")
    assert view.pick(permitted) == "m3"


def test_a_job_for_any_of_a_name_is_done_by_no_node_that_only_says_it_is_called_so() -> None:
    fleet = the_fleet()
    fleet.register(registration("m9", "web-01"))
    view, job = FleetView(fleet), a_job(target="_any,web-01;_any,db-02", requires="node")
    beat(fleet, "m9")
    assert view.pick(job) == "m9"
    fleet.enrol(member_record("m1", "web-01", {}))
    assert view.pick(job) is None
    beat(fleet, "m1")
    assert {view.pick(job) for _ in range(20)} == {"m1"}
    # Nor is one tried again there: of several that came by no invite all are meant.
    tried = parse_target("web-01;db-02")
    assert [each.machine for each in fleet.still(tried, ["m1", "m9"])] == ["m1"]
    fleet.forget("m1")
    assert [each.machine for each in fleet.still(tried, ["m1", "m9"])] == ["m1", "m9"]
    assert {view.pick(job) for _ in range(40)} == {"m1", "m9"}


def test_whom_a_target_means_is_found_again_only_when_that_may_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = the_fleet()
    beat(fleet, "m2")
    asked: list[Target] = []

    def counted(fleet: Fleet, target: Target) -> frozenset[str] | None:
        asked.append(target)
        return candidates(fleet, target)

    monkeypatch.setattr("towline.controller.rollout.view.candidates", counted)
    view, job = FleetView(fleet), a_job(target="_any,web-*,!rack:r3", requires="node")

    def pick() -> tuple[str | None, int]:
        asked.clear()
        return view.pick(job), len(asked)

    assert [pick() for _ in range(3)] == [("m2", 1), ("m2", 0), ("m2", 0)]
    beat(fleet, "m3", leaving=True)
    beat(fleet, "m2")
    fleet.register(registration("m3", "web-03", {"group": "web", "site": "oslo", "rack": "s1"}))
    assert pick() == ("m2", 0)
    changes: tuple[Callable[[], object], ...] = (
        lambda: fleet.register(registration("m3", "web-03", {"rack": "s2"})),
        lambda: fleet.register(registration("m6", "web-06")),
        lambda: fleet.decide("m4", REVOKED),
        lambda: fleet.shut("m5", "ann"),
        lambda: fleet.enrol(member_record("m1", "web-01", {})),
        lambda: fleet.forget("m1"),
    )
    for change in changes:
        change()
        assert [pick(), pick()] == [("m2", 1), ("m2", 0)]


def naive(nodes: list[Registration], text: str) -> list[str] | None:
    """Return the nodes that an expression means; None where it, or one of its terms, means none."""

    def means(term: str, node: Registration) -> bool:
        key, colon, value = term.partition(":")
        if not colon:
            return node.machine == term or fnmatch.fnmatchcase(node.hostname, term)
        carried, wanted = node.labels.get(key, "").split("."), value.split(".")
        return (
            key in node.labels
            and len(wanted) <= len(carried)
            and all(map(fnmatch.fnmatchcase, carried, wanted))
        )

    found = set()
    for part in text.split(";"):
        terms = [each for each in part.split(",") if each not in ("_all", "_any")]
        if not all(any(means(each.lstrip("!"), node) for node in nodes) for each in terms):
            return None
        found |= {
            node.machine
            for node in nodes
            if all(means(each.lstrip("!"), node) != each.startswith("!") for each in terms)
        }
    return sorted(found) or None


VALUES = st.lists(st.sampled_from(["a", "ab", "b"]), min_size=1, max_size=2).map(".".join)
NODES = st.lists(
    st.tuples(st.sampled_from(["w-1", "w-2", "d-1", "d-22"]), st.dictionaries(
        st.sampled_from("kl"), VALUES, max_size=2
    )),
    min_size=1, max_size=6, unique_by=lambda each: each[0],
)  # fmt: skip
TERMS = st.sampled_from(
    ["w-1", "w-2", "d-1", "m0", "m1", "w-*", "*-1", "d*2", "k:a", "k:a.b", "k:*", "l:a*", "l:*.b"]
)
PARTS = st.builds(
    lambda wanted, excluded: ",".join([*wanted, *(f"!{each}" for each in excluded)]),
    st.lists(TERMS, min_size=1, max_size=2) | st.just(["_all"]),
    st.lists(TERMS, max_size=2),
)


@given(NODES, st.lists(PARTS, min_size=1, max_size=3).filter(lambda each: str(each).count("*") < 9))
def test_an_expression_means_what_a_model_says_that_looks_at_each_node(
    nodes: list[tuple[str, dict[str, str]]], parts: list[str]
) -> None:
    known = [registration(f"m{n}", *node) for n, node in zip(count(), nodes, strict=False)]
    target = parse_target(";".join(parts))
    found = resolved(a_fleet(known), target)
    expected = naive(known, ";".join(parts))
    assert found == (InvalidRequest if expected is None else expected)
