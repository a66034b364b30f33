import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from tests.testing.operations import Done, make
from towline.agent.node import Node
from towline.operation import (
    NODE,
    RESERVED,
    Effect,
    catalog,
    operation,
)
from towline.operations import docker
from towline.operations.node import load
from towline.signature import Body, Check, Place


def shout(text: str) -> None:
    if text != text.upper():
        raise ValueError(f"{text!r} is too low, write it in capitals")


def short(text: str) -> None:
    if len(text) > 5:
        raise ValueError(f"{text!r} is too long, use at most 5 characters")


Loud = Annotated[str, Meta(min_length=1), Check(shout), Check(short)]


@pytest.fixture(autouse=True)
def _registry_as_before() -> Iterator[None]:
    before = {each.name for each in catalog}
    yield
    for each in list(catalog):
        if each.name not in before:
            catalog.remove(each.name)


async def sail(node: Any, *, name: Loud, knots: int = 8) -> Done:
    """Set sail.

    Example:
        towline ship sail ARGO
    """
    return Done(bool(name) and knots > 0)


def test_the_signature_is_all_that_an_operation_needs() -> None:
    made = make(sail)
    assert (made.domain, made.verb) == ("ship", "sail")
    assert (made.method, made.path, made.route) == ("POST", "ship", "/node/{hostname}/ship")
    assert (made.summary, made.description) == (
        "Set sail.",
        "Example:\n    towline ship sail ARGO",
    )
    assert made.result is Done
    assert made.requires == NODE
    fields = {field.name: field for field in msgspec.structs.fields(made.parameters)}
    assert fields["name"].required
    assert fields["knots"].default == 8


async def test_an_operation_is_still_a_function() -> None:
    decorated = operation(
        "ship.sail", "POST ship", permission="ship:write", effect=Effect.CONVERGE
    )(sail)
    assert catalog.get("ship.sail") is decorated
    node = Node("0" * 32, "web-01")
    assert await decorated(node, name="ARGO") == Done(True)
    assert await decorated(node, name="ARGO", knots=0) == Done(False)


@pytest.mark.parametrize(
    ("effect", "success", "status"),
    [
        (Effect.READ, None, 200),
        (Effect.CONVERGE, None, 202),
        (Effect.ONCE, None, 202),
        (Effect.READ, 206, 206),
        (Effect.ONCE, 201, 201),
    ],
)
def test_the_effect_decides_the_status_unless_another_is_named(
    effect: Effect, success: int | None, status: int
) -> None:
    assert make(sail, effect=effect, success=success).success == status


@pytest.mark.parametrize(
    ("method", "takes_body"),
    [("GET", False), ("DELETE", False), ("POST", True), ("PUT", True), ("PATCH", True)],
)
def test_the_method_decides_where_parameters_stand(method: str, takes_body: bool) -> None:
    made = make(sail, route=f"{method} ship")
    assert made.signature.has_body == takes_body
    assert made.signature.needs_body == takes_body


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "missing required field `name`"),
        ({"name": "ARGO", "mast": 1}, "unknown field `mast`"),
        ({"name": 7}, "$.name"),
        ({"name": ""}, "$.name"),
        ({"name": "ARGO", "knots": "9"}, "$.knots"),
        ({"name": "ARGO", "knots": None}, "$.knots"),
        ({"name": "Argo"}, "`name`: 'Argo' is too low"),
        ({"name": "ARGONAUT"}, "`name`: 'ARGONAUT' is too long"),
        (["ARGO"], "object"),
        (None, "object"),
    ],
)
def test_values_that_do_not_fit_the_signature_are_named(values: object, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        make(sail).read(values)


def test_an_operation_says_by_its_parameters_which_place_a_credential_is_for() -> None:
    made = make(sail, credential_for=lambda parameters: f"harbour of {parameters['name']}")
    assert made.takes_credential
    assert made.credential_for({"name": "ARGO"}) == "harbour of ARGO"
    assert docker.pull.credential_for({"image": "nginx"}) == "docker.io"
    assert docker.pull.credential_for({"image": "localhost:5000/a/b"}) == "localhost:5000"


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("localhost:5000/@fact.arch/app:@fact.custom.tag", "localhost:5000"),
        ("library/@fact.custom.app", "docker.io"),
        ("@fact.custom.registry/app", None),
        ("localhost:@fact.custom.port/app", None),
        ("@fact.custom.image", None),
        ("app:@fact.custom.port", None),
    ],
)
def test_no_credential_is_for_a_registry_that_only_the_node_knows(
    image: str, registry: str | None
) -> None:
    assert docker.pull.credential_for({"image": image}) == registry


def test_an_operation_logs_in_nowhere_unless_it_says_so() -> None:
    made = make(sail)
    assert not made.takes_credential
    assert made.credential_for({"name": "ARGO"}) is None


def test_an_operation_says_by_its_parameters_whether_one_node_goes_first() -> None:
    made = make(sail, leads=lambda parameters: parameters["name"] == "ARGO")
    assert made.leads_for({"name": "ARGO"})
    assert not made.leads_for({"name": "NAIAD"})
    assert not make(sail).leads_for({"name": "ARGO"})


@pytest.mark.parametrize(
    ("more", "leads"),
    [
        ({}, True),
        ({"resolve": "once"}, True),
        ({"resolve": "each"}, False),
        ({"image": f"nginx@sha256:{'0' * 64}"}, False),
        ({"image": f"nginx:1.27@sha256:{'0' * 64}"}, False),
    ],
)
def test_of_the_nodes_that_pull_a_tag_one_resolves_it_unless_each_is_to(
    more: dict[str, str], leads: bool
) -> None:
    parameters = msgspec.to_builtins(docker.pull.read({"image": "nginx", **more}))
    assert docker.pull.leads_for(parameters) is leads


def test_values_that_fit_are_read_with_defaults() -> None:
    made = make(sail)
    assert msgspec.structs.asdict(made.read({"name": "ARGO"})) == {"name": "ARGO", "knots": 8}
    assert msgspec.to_builtins(made.read({"name": "ARGO", "knots": 8})) == {"name": "ARGO"}


@pytest.mark.parametrize(
    "values",
    [{"name": "@fact.hostname"}, {"name": "on the @fact.custom.quay", "knots": 9}],
    ids=str,
)
def test_a_value_that_refers_to_facts_is_validated_when_they_are_resolved(
    values: dict[str, Any],
) -> None:
    made = make(sail, leads=lambda parameters: True)
    assert msgspec.to_builtins(made.read(values)) == values
    assert not made.leads_for(values)
    with pytest.raises(ValueError, match=r"`name`: .* is too low"):
        made.read(values, resolved=True)
    with pytest.raises(ValueError, match="knots"):
        made.read(values | {"knots": "@fact.custom.knots"})
    with pytest.raises(ValueError, match="unknown field"):
        made.read(values | {"mast": "@fact.arch"})


def test_numbers_may_be_text_in_a_query_only() -> None:
    made = make(sail)
    assert msgspec.to_builtins(made.read({"name": "A", "knots": "9"}, strict=False))["knots"] == 9
    with pytest.raises(ValueError, match=r"\$\.knots"):
        made.read({"name": "A", "knots": "fast"}, strict=False)


async def optional(node: Any, *, name: Loud | None = None) -> Done:
    return Done()


async def optional_as_a_whole(
    node: Any, *, name: Annotated[str | None, Check(shout)] = None
) -> Done:
    return Done()


async def optional_with_a_bound(
    node: Any, *, name: Annotated[Loud | None, Meta(description="Any")] = None
) -> Done:
    return Done()


@pytest.mark.parametrize("function", [optional, optional_as_a_whole, optional_with_a_bound])
def test_the_rule_of_an_optional_parameter_holds_where_it_is_given(
    function: Callable[..., Any],
) -> None:
    made = make(function)
    made.read({})
    made.read({"name": None})
    made.read({"name": "ARGO"})
    with pytest.raises(ValueError, match="`name`: 'argo' is too low"):
        made.read({"name": "argo"})


async def in_a_list(node: Any, *, names: list[Loud]) -> Done:
    return Done()


async def in_a_union(node: Any, *, name: Loud | int) -> Done:
    return Done()


@pytest.mark.parametrize("function", [in_a_list, in_a_union])
def test_a_rule_that_would_not_be_seen_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="put it on the whole parameter"):
        make(function)


def test_a_fault_in_a_rule_is_not_taken_for_a_refusal() -> None:
    def broken(text: str) -> None:
        raise LookupError(text)

    async def function(node: Any, *, name: Annotated[str, Check(broken)]) -> Done:
        return Done()

    with pytest.raises(LookupError):
        make(function).read({"name": "ARGO"})


async def untyped(node, *, name) -> Done:  # type: ignore[no-untyped-def]
    return Done()


async def no_node() -> Done:
    return Done()


async def node_by_name(*, node: Any) -> Done:
    return Done()


async def by_place(node: Any, name: str) -> Done:
    return Done()


async def more_by_place(node: Any, *names: str) -> Done:
    return Done()


async def more_by_name(node: Any, **names: str) -> Done:
    return Done()


async def returns_nothing(node: Any) -> None:
    return None


async def says_nothing(node: Any):  # type: ignore[no-untyped-def]
    return Done()


async def returns_a_dict(node: Any) -> dict[str, int]:
    return {}


async def returns_perhaps(node: Any) -> Done | None:
    return None


async def returns_a_list_of_anything(node: Any) -> list[str]:
    return []


class Posing(msgspec.Struct):
    hostname: str


class Renamed(msgspec.Struct, rename={"state": "reason"}):
    state: str


async def poses(node: Any) -> Posing:
    return Posing("other")


async def poses_renamed(node: Any) -> Renamed:
    return Renamed("ok")


def not_async(node: Any) -> Done:
    return Done()


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (untyped, "'name' has no type"),
        (no_node, "the first parameter is the node"),
        (node_by_name, "the first parameter is the node"),
        (by_place, "'name' has to stand after a '*'"),
        (more_by_place, "'names' has to stand after a '*'"),
        (more_by_name, "'names' has to stand after a '*'"),
        (returns_nothing, "has to return a msgspec.Struct"),
        (says_nothing, "has to return a msgspec.Struct"),
        (returns_a_dict, "has to return a msgspec.Struct"),
        (returns_perhaps, "has to return a msgspec.Struct"),
        (returns_a_list_of_anything, "has to return a msgspec.Struct or a list of one"),
        (poses, "'hostname' is every result's"),
        (poses_renamed, "'reason' is every result's"),
        (not_async, "has to be async"),
    ],
)
def test_a_function_that_can_be_no_operation_is_refused_with_the_reason(
    function: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=rf"ship\.sail: .*{re.escape(problem)}"):
        make(function)


class Synced(msgspec.Struct):
    status: str


async def sync(node: Any) -> Synced:
    return Synced("in-sync")


async def each(node: Any) -> list[Done]:
    return [Done(), Done(True)]


def test_a_result_may_be_a_list_of_rows_or_have_a_status_of_its_own() -> None:
    assert (make(sail).result, make(sail).status) == (Done, "status")
    assert (make(each).result, make(each).status) == (Done, "status")
    assert (make(sync).result, make(sync).status) == (Synced, "outcome")


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_parameter_cannot_be_called_like_what_belongs_to_the_job(name: str) -> None:
    scope: dict[str, Any] = {"Done": Done}
    exec(f"async def function(node, *, {name}: str) -> Done: ...", scope)
    with pytest.raises(ValueError, match=f"{name!r} is a job's, not an operation's"):
        make(scope["function"])


@pytest.mark.parametrize(
    "name", ["ship", "ship.", ".sail", "Ship.sail", "ship.sail.", "ship.sail.far.away", "a b.c"]
)
def test_a_name_is_of_two_or_three_parts(name: str) -> None:
    with pytest.raises(ValueError, match="does not match"):
        make(sail, name=name)


@pytest.mark.parametrize(
    "route", ["ship", "GET ", "get ship", "GET /ship", "GET ship/", "FETCH ship", "GET {"]
)
def test_a_route_is_a_method_and_a_path(route: str) -> None:
    with pytest.raises(ValueError, match="does not match"):
        make(sail, route=route)


async def course(node: Any) -> Done:
    return Done()


def test_a_route_may_be_the_method_alone_for_the_node_itself() -> None:
    made = make(course, route="PUT")
    assert (made.method, made.path, made.route) == ("PUT", "", "/node/{hostname}")


def test_parameters_of_a_delete_may_stand_in_a_body() -> None:
    async def scuttle(
        node: Any, *, name: Annotated[str, Body], why: Annotated[str, Body()] = "", deep: int = 9
    ) -> Done:
        return Done()

    made = make(scuttle, route="DELETE ship").signature
    assert (made.has_body, made.needs_body) == (True, True)
    assert (made.names(Place.BODY), made.names(Place.QUERY)) == (["name", "why"], ["deep"])


@pytest.mark.parametrize("permission", ["", "ship", "ship:", ":write", "ship:write:all"])
def test_a_permission_is_a_domain_and_a_verb(permission: str) -> None:
    with pytest.raises(ValueError, match="does not match"):
        make(sail, permission=permission)


def test_a_placeholder_is_the_required_parameter_of_that_name() -> None:
    made = make(sail, route="PUT ship/{name}")
    assert made.route == "/node/{hostname}/ship/{name}"
    assert made.signature.names(Place.PATH) == ["name"]
    assert not made.signature.needs_body


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("GET ship/{mast}", "{mast} in the path is no required parameter"),
        ("GET ship/{knots}", "{knots} in the path is no required parameter"),
        ("GET ship/{name}/{name}", "{name} stands in the route twice"),
        ("GET ship/{hostname}", "{hostname} stands in the route twice"),
    ],
)
def test_a_placeholder_that_is_no_required_parameter_is_refused(route: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"ship.sail: {problem}")):
        make(sail, route=route)


def test_the_operations_there_are_have_the_effects_that_their_names_promise() -> None:
    assert docker.pull.effect is Effect.CONVERGE
    assert docker.list_containers.effect is Effect.READ
    assert load.effect is Effect.READ
    for each in catalog:
        assert (each.effect is Effect.READ) == each.permission.endswith(":read")
        assert "Example:" in each.description


def test_every_operation_stands_in_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    text = page.read_text()
    for each in catalog:
        assert f"| `{each.name}` | `{each.method} {each.path}` | `{each.permission}` |" in text


Sails = Literal["main", "fore"]


async def trim(node: Any, *, sail: Sails = "main", reefs: list[int] = []) -> Done:  # noqa: B006
    return Done()


def test_choices_and_lists_are_read_as_their_types_say() -> None:
    made = make(trim, route="PUT sail")
    assert msgspec.structs.asdict(made.read({})) == {"sail": "main", "reefs": []}
    assert not made.signature.needs_body
    with pytest.raises(ValueError, match=r"\$\.sail"):
        made.read({"sail": "mizzen"})
    with pytest.raises(ValueError, match=r"\$\.reefs\[1\]"):
        made.read({"reefs": [1, "2"]})
