"""Permissions that are narrowed: what they are written like, and what is inside."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.operations import Done, make
from towline.controller.permissions import Bounds, parse_grant
from towline.errors import Forbidden
from towline.operations import docker, node
from towline.wire.pattern import parse_nodes
from towline.wire.target import Expression, Hostname, Hostnames, Label, Part, parse_target


class Place(msgspec.Struct, frozen=True):
    hostname: str
    machine: str = "m"
    labels: list[Label] = []


WEB_1 = Place("web-01", "m1", [Label("group", "web.dev")])
WEB_2 = Place("web-02", "m2", [Label("group", "web.prod")])
DB = Place("db-01", "m3", [Label("group", "website")])
IMAGE = {"image": "nginx"}
DIGEST = f"sha256:{'0' * 64}"


def bounds(*permissions: str) -> Bounds:
    grants = [parse_grant(each) for each in permissions]
    return Bounds("ci", "docker:write", grants)


def outside(found: Bounds, *places: Place, parameters: dict[str, Any] | None = None) -> str:
    with pytest.raises(Forbidden) as refused:
        found.check(places, docker.pull, IMAGE if parameters is None else parameters)
    assert refused.value.code == 403
    return refused.value.error


@pytest.mark.parametrize(
    ("text", "nodes", "values"),
    [
        ("docker:write@group:web", "group:web", {}),
        ("docker:write@web-*", "web-*", {}),
        ("docker:write@image=x/*", None, {"image": "x/*"}),
        (
            "docker:write@web-*,image=a=b,policy=always",
            "web-*",
            {"image": "a=b", "policy": "always"},
        ),
        ("docker:write@policy=*,web-01", "web-01", {"policy": "*"}),
    ],
)
def test_a_permission_is_narrowed_to_nodes_and_to_values(
    text: str, nodes: str | None, values: dict[str, str]
) -> None:
    grant = parse_grant(text)
    assert (grant.permission, f"{grant.permission}@{grant.scope}") == ("docker:write", text)
    assert (None if grant.nodes is None else grant.nodes.text) == nodes
    assert grant.values == values


@pytest.mark.parametrize(
    "text",
    [
        *("docker:write@", "docker:write@,", "docker:write@a,b", "docker:write@a,", "@web-*"),
        *("docker@web-*", "Docker:write@web-*", "docker:write@_any", "docker:write@image="),
        *("docker:write@=x", "docker:write@a-b=x", "docker:write@image=x,image=y"),
        *("docker:write@group:", "docker:write@web 01", "docker:write@@web", "docker:*@web-*"),
        *(
            f"docker:write@image={'x' * 1024}",
            "docker:write@image=\0*",
            "docker:write@image=\ud800",
        ),
    ],
)
def test_what_is_not_narrowed_well_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="is no permission") as refused:
        parse_grant(text)
    assert str(refused.value).isprintable()


@given(st.text() | st.text("docker:write@gop,=*-x1", min_size=10))
def test_any_text_is_a_permission_or_is_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        grant = parse_grant(text)
        assert text == f"{grant.permission}@{grant.scope}"


def test_where_nothing_narrows_it_everything_is_inside() -> None:
    found = Bounds("ci", "docker:write", None)
    found.check([WEB_1, DB], docker.pull, IMAGE)
    assert found.inside([WEB_1, DB]) == [WEB_1, DB]
    assert found.patterns(docker.pull, IMAGE) == []


def test_who_is_outside_is_named_and_nobody_is_left_out_silently() -> None:
    found = bounds("docker:write@group:web")
    found.check([WEB_1, WEB_2], docker.pull, IMAGE)
    said = outside(found, WEB_1, DB)
    assert "only for group:web, and db-01 is outside of that" in said
    many = [Place(f"n{number}", f"x{number}") for number in range(9)]
    assert "n0, n1, n2, n3, n4 and 4 more are outside" in outside(found, *many)


def test_each_node_has_to_be_inside_of_one_of_several() -> None:
    found = bounds("docker:write@web-01", "docker:write@web-02,image=docker.io/library/*")
    found.check([WEB_1, WEB_2], docker.pull, IMAGE)
    assert found.patterns(docker.pull, IMAGE) == ["web-01", "web-02"]
    other = {"image": "registry.example/app"}
    found.check([WEB_1], docker.pull, other)
    assert "web-02 is outside" in outside(found, WEB_1, WEB_2, parameters=other)
    assert found.patterns(docker.pull, other) == ["web-01"]


@pytest.mark.parametrize(
    ("pattern", "image", "inside"),
    [
        ("docker.io/library/*", "nginx", True),
        ("docker.io/library/nginx:*", "index.docker.io/nginx", True),
        ("nginx*", "nginx", False),
        ("registry.example/*", "registry.example/a/b:1", True),
        ("registry.example/*", "registry.example:5000/a", False),
        ("registry.example/*", "registry.example.evil/a", False),
        ("registry.example/*", "evil/registry.example/a", False),
        ("docker.io/library/nginx:1.*", f"nginx:1.27@{DIGEST}", False),
        ("docker.io/library/nginx@*", f"nginx:1.27@{DIGEST}", True),
        ("docker.io/library/nginx@*", f"nginx@{DIGEST}", True),
        ("*", "nginx", True),
        ("*", "registry.example/@fact.custom.name", False),
    ],
)
def test_an_image_counts_as_what_its_reference_means(
    pattern: str, image: str, inside: bool
) -> None:
    found = bounds(f"docker:write@image={pattern}")
    if inside:
        found.check([DB], docker.pull, {"image": image})
    else:
        assert "image" in outside(found, DB, parameters={"image": image})


def test_a_value_that_is_left_out_counts_as_what_is_usual() -> None:
    found = bounds("docker:write@policy=always,retries=4")
    found.check([DB], docker.pull, IMAGE)
    assert "policy 'missing'" in outside(found, DB, parameters={**IMAGE, "policy": "missing"})
    assert "retries '5'" in outside(found, DB, parameters={**IMAGE, "retries": 5})
    assert "no platform" in outside(bounds("docker:write@platform=*"), DB)


def test_what_has_no_such_parameter_is_outside() -> None:
    found = bounds("node:read@image=*")
    with pytest.raises(Forbidden, match="no image is given"):
        found.check([DB], node.load, {})
    with pytest.raises(Forbidden, match="no parameters"):
        found.check([DB])


def test_all_of_a_list_has_to_be_inside_and_what_has_no_text_never_is() -> None:
    async def stow(node: Any, *, names: list[str], one: dict[str, str]) -> Done:
        return Done()

    operation = make(stow)
    found = bounds("docker:write@names=a*")
    found.check([DB], operation, {"names": ["a", "ab"]})
    for names in (["a", "b"], ["b"]):
        with pytest.raises(Forbidden, match="'b' is outside"):
            found.check([DB], operation, {"names": names})
    with pytest.raises(Forbidden, match="no names is given"):
        found.check([DB], operation, {"names": []})
    with pytest.raises(Forbidden, match="one"):
        bounds("docker:write@one=*").check([DB], operation, {"names": [], "one": {"a": "b"}})


@pytest.mark.parametrize(
    ("narrow", "wide", "within"),
    [
        ("docker:write@group:web.dev", "docker:write@group:web", True),
        ("docker:write@group:web", "docker:write@group:web.dev", False),
        ("docker:write@group:website", "docker:write@group:web", False),
        ("docker:write@web-01", "docker:write@web-01", True),
        ("docker:write@web-01", "docker:write@web-*", False),
        ("docker:write@web-*,image=x", "docker:write@web-*", True),
        ("docker:write@web-*", "docker:write@web-*,image=x", False),
        ("docker:write@image=x", "docker:write@web-*,image=x", False),
        ("docker:write@web-*,image=y", "docker:write@web-*,image=x", False),
        ("docker:write@web-*,image=x", "docker:write@image=x", True),
    ],
)
def test_which_permission_is_within_another_is_known_where_it_is_certain(
    narrow: str, wide: str, within: bool
) -> None:
    assert parse_grant(narrow).within(parse_grant(wide)) is within


@pytest.mark.parametrize(
    ("permissions", "target"),
    [
        (["docker:write@group:web"], "group:web"),
        (["docker:write@group:web"], "group:web.dev"),
        (["docker:write@group:web"], "group:web.*"),
        (["docker:write@group:web"], "web-01,group:web;_all,group:web.dev,!db-01"),
        (["docker:write@group:web", "docker:write@db-*"], "group:web;db-0*"),
        (["docker:write@web-01"], "web-01"),
        (["docker:write@image=*/nginx:*"], "_all"),
    ],
)
def test_a_target_is_inside_where_it_says_so_itself(permissions: list[str], target: str) -> None:
    bounds(*permissions).check_target(parse_target(target), docker.pull, IMAGE)


@pytest.mark.parametrize(
    ("permissions", "target"),
    [
        (["docker:write@group:web"], "_all"),
        (["docker:write@group:web"], "web-01"),
        (["docker:write@group:web"], "group:website"),
        (["docker:write@group:web"], "group:web*"),
        (["docker:write@group:web.dev"], "group:web"),
        (["docker:write@group:web"], "group:web;db-01"),
        (["docker:write@web-*"], "web-01"),  # it could be a machine id
        (["docker:write@web-*"], "w*"),
        (["docker:write@group:web,image=x/*", "docker:write@db-*"], "group:web"),
    ],
)
def test_a_target_that_could_come_to_mean_others_is_refused_with_the_mend(
    permissions: list[str], target: str
) -> None:
    with pytest.raises(Forbidden, match="may come to mean nodes outside") as refused:
        bounds(*permissions).check_target(parse_target(target), docker.pull, IMAGE)
    kept = refused.value.error.rpartition("write '")[2].partition("'")[0]
    mended = ";".join(part + kept for part in target.split(";"))
    bounds(*permissions).check_target(parse_target(mended), docker.pull, IMAGE)


NAMES = st.sampled_from(["a", "ab", "b", "bab"])
STARRED = st.sampled_from(["a*", "*b", "b*b", "a*b", "*a*"])
VALUES = st.sampled_from(["a", "ab", "a.b", "a.b.a", "a*", "a.*", "*.b"])
LABELS = st.builds(Label, st.sampled_from(["group", "site"]), VALUES)
TERMS = st.one_of(
    st.builds(Hostname, NAMES),
    st.builds(Hostnames, STARRED.filter(lambda text: "*" in text)),
    LABELS,
)


@given(
    st.lists(TERMS, min_size=1, max_size=2),
    st.lists(st.one_of(LABELS.map(str), NAMES, STARRED), min_size=1, max_size=2),
    NAMES,
    NAMES,
    st.lists(LABELS, max_size=3),
)
def test_of_a_target_that_is_let_in_no_node_can_be_outside(
    terms: list[Hostname | Hostnames | Label],
    patterns: list[str],
    machine: str,
    hostname: str,
    labels: list[Label],
) -> None:
    carried = [each for each in labels if "*" not in each.value]
    place = Place(hostname, machine, carried)

    def means(term: Hostname | Hostnames | Label) -> bool:
        if isinstance(term, Hostname):
            return term.name in (hostname, machine)
        if isinstance(term, Hostnames):
            return parse_nodes(term.pattern).covers("", hostname, [])
        return any(term.matches(each) for each in carried)

    usable = [each for each in patterns if "*" not in each.partition(":")[2]]
    grants = [parse_grant(f"docker:write@{each}") for each in usable]
    if not grants or not all(means(each) for each in terms):
        return
    with contextlib.suppress(Forbidden):
        found = Bounds("ci", "docker:write", grants)
        found.check_target(Expression((Part(tuple(terms)),)))
        assert any(grant.covers(place) for grant in grants)
