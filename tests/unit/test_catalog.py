"""The catalog of operations: what it knows them by, and what it refuses."""

import asyncio
import re
from typing import Any

import msgspec
import pytest

from tests.testing.operations import Done, make
from towline import operations
from towline.endpoint import AnyEndpoint, Context, Endpoints, endpoint
from towline.endpoint import endpoints as offered
from towline.errors import InvalidConfiguration
from towline.operation import NODE, Catalog, Effect, Operation
from towline.signature.commands import Commands


async def sail(node: Any, *, name: str, knots: int = 8) -> Done:
    return Done()


async def moor(node: Any, *, berth: str) -> Done:
    return Done()


@pytest.mark.parametrize(
    "second",
    [
        make(moor, name="ship.sail", route="GET berth"),
        make(moor, name="ship.moor", route="POST ship/{berth}"),
        make(moor, name="ship.sail.get", route="GET x"),
        make(moor, name="ship-sail.x", route="GET x"),
    ],
    ids=["name", "route", "command", "camel"],
)
def test_two_operations_of_one_name_or_route_are_refused(second: Operation[..., Any]) -> None:
    known = Catalog()
    known.add(make(sail, route="POST ship/{name}"))
    known.add(make(sail, name="ship.sail-x", route="GET y"))
    with pytest.raises(ValueError, match=f"{second!r} clashes with <operation ship.sail"):
        known.add(second)
    assert len(list(known)) == 2


def test_a_preview_is_known_by_a_name_that_no_operation_has() -> None:
    known, made = Catalog(), make(sail, route="POST ship/{name}", credential_for=lambda _: "port")
    known.add(made)
    assert known.task("ship.sail") is made
    assert known.task("ship.sail.preview") is None

    @made.previewed(finds="changed")
    async def preview(node: Any, *, knots: int) -> Done:
        return Done(knots > 8)

    found = known.task("ship.sail.preview")
    assert found is not None
    assert found is made.preview
    assert known.get("ship.sail.preview") is None
    assert found.effect is Effect.READ
    assert found.credential_for({}) == "port"
    given = msgspec.structs.asdict(found.read({"name": "Ada", "knots": 9}))
    assert asyncio.run(found.function(None, **given)) == Done(True)


async def unknown(node: Any, *, sails: int) -> Done:
    return Done()


async def finding(node: Any) -> Done:
    return Done()


@pytest.mark.parametrize(
    ("function", "problem"),
    [(unknown, "sails is no parameter"), (finding, "it returns no wind")],
)
def test_a_preview_that_can_t_be_one_is_refused(function: Any, problem: str) -> None:
    made = make(sail, route="POST ship/{name}")
    with pytest.raises(ValueError, match=f"ship.sail.preview: {problem}"):
        made.previewed(finds="wind" if function is finding else None)(function)


def test_another_method_on_the_same_path_is_another_route() -> None:
    known = Catalog()
    known.add(make(sail, route="POST ship"))
    known.add(make(moor, name="ship.moor", route="GET ship"))
    assert [each.name for each in known] == ["ship.moor", "ship.sail"]


def test_a_registry_knows_what_it_was_given_and_what_that_requires() -> None:
    known = Catalog()
    made = make(sail, requires="wind")
    known.add(made)
    assert known.get("ship.sail") is made
    assert known.get("ship.sink") is None
    assert known.capabilities() == {NODE, "wind"}
    known.remove("ship.sail")
    assert known.capabilities() == {NODE}


def test_the_third_part_of_a_name_is_of_its_jobs_alone() -> None:
    made = make(sail, name="ship.sail.execute")
    assert (made.name, made.label, made.domain, made.verb) == (
        *("ship.sail.execute", "ship.sail", "ship", "sail"),
    )
    known = Catalog()
    known.add(made)
    assert known.get("ship.sail.execute") is known.get("ship.sail") is made
    with pytest.raises(ValueError, match=r"clashes with <operation ship\.sail\.execute>"):
        known.add(make(moor, name="ship.sail.get", route="GET ship"))
    another = make(moor, name="ship.sail.get", route="GET ship", verb="show")
    known.add(another)
    assert (another.label, another.verb) == ("ship.show", "show")
    assert known.get("ship.show") is another
    with pytest.raises(ValueError, match="does not match"):
        make(sail, name="ship.sail.get", verb="show it")


async def look(context: Context) -> Done:
    return Done()


def ask(name: str, command: str = "") -> AnyEndpoint:
    """Return an endpoint that is on no list."""
    made = endpoint(name, f"GET /{name}", permission="port:read", command=command)(look)
    offered.remove(name)
    return made


def test_what_would_be_the_same_command_is_refused_and_both_are_named() -> None:
    commands = Commands()
    known, asked = Catalog(commands), Endpoints(commands)
    known.add(make(sail, name="ship.look.get"))
    first = ask("port.look.all")
    asked.add(first)
    asked.add(ask("port.look.one", "see"))
    for name, command, other in (
        ("port.look.x", "", "endpoint port.look.all"),
        ("port.open", "port", "endpoint port.look.all"),
        ("ship.look.x", "", "operation ship.look.get"),
        ("see.it", "", "endpoint port.look.one"),
    ):
        clash = re.escape(f"<endpoint {name}> clashes with <{other}>: ")
        with pytest.raises(ValueError, match=f"^{clash}.* command= of an endpoint$"):
            asked.add(ask(name, command))
    second = make(moor, name="port.look", route="GET x")
    with pytest.raises(ValueError, match="clashes with <endpoint port"):
        known.add(second)
    assert ([each.name for each in known], len(list(asked))) == (["ship.look.get"], 2)
    asked.remove(first.name)
    known.add(second)


def test_a_command_has_one_or_two_words() -> None:
    assert ask("port.look.all").command == "port look"
    with pytest.raises(ValueError, match="one or two words, not 'port look all'"):
        ask("port.look.all", "port look all")


def test_a_module_of_further_operations_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(InvalidConfiguration, match="can't be imported") as refused:
        operations.load_extra(["no.such.module"])
    assert "'no.such.module'" in refused.value.error
    assert "No module named 'no'" in refused.value.details
