"""What parameters and bodies may hold: a step below each bound, at it, and a step above."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.surface.facts import OPERATIONS, Schema
from tests.system.surface.requests import GOOD, NO_JOB, split, unnamed
from tests.testing.answers import refused
from tests.testing.cluster import LABELS, WEB_1, Cluster

SAME = {"Idempotency-Key": "the usual parameters"}
CHECKED = {"type", "minimum", "maximum", "minLength", "maxLength", "default", "enum", "format"}
"""What these tests know of a schema: whoever adds an operation with more adds its values. A path
that lacks its last name is another one: of `minLength` 1 there is nothing to send."""


def texts(schema: Schema) -> Iterator[tuple[str, bool]]:
    """Yield values as a path or a query has them, and whether each is valid."""
    assert schema.keys() <= CHECKED
    if schema["type"] == "integer":
        yield from (("", False), ("x", False), ("1.5", False), ("null", False))
    if "minimum" in schema:
        yield from ((str(schema["minimum"] + step), step >= 0) for step in (-1, 0, 1))
    if "maximum" in schema:
        yield from ((str(schema["maximum"] + step), step <= 0) for step in (-1, 0, 1))
    if "maxLength" in schema:
        # One that fits has to name what is there.
        yield "x" * (schema["maxLength"] + 1), False
    if "enum" in schema:
        yield from ((value, True) for value in schema["enum"])
        yield from ((value, False) for value in ("", "x", schema["enum"][0].upper()))
    if "format" in schema:
        assert schema["format"] == "uuid"
        yield from ((NO_JOB, True), (NO_JOB.upper(), True), (NO_JOB[:-1], False), ("x", False))


PARAMETERS = [
    (operation, name, text, valid)
    for operation in GOOD
    for name, parameter in OPERATIONS[operation].parameters.items()
    for text, valid in texts(parameter.schema)
]


@pytest.mark.parametrize(("operation", "name", "text", "valid"), PARAMETERS)
def test_a_parameter_takes_what_lies_within_its_bounds(
    fleet: Cluster, operation: str, name: str, text: str, valid: bool
) -> None:
    fact, method = OPERATIONS[operation], split(operation)[0]
    if fact.parameters[name].place == "path":
        answer = fleet.admin.request(method, unnamed(operation, **{name: text}))
        expected = 404
    else:
        path = unnamed(operation, hostname="_all")
        answer = fleet.admin.request(method, path, params={name: text})
        expected = fact.success.code
    if valid:
        assert answer.status_code == expected, answer.text
    else:
        assert name in refused(answer, 400) or repr(text) in answer.text


BODIES = [
    (operation, name, value)
    for operation in GOOD
    if (body := OPERATIONS[operation].body) is not None
    for name, schema in body.schema["properties"].items()
    for value in (7, True, ["x"], {"x": "x"})
    if schema == {"type": "string"}
]


@pytest.mark.parametrize(("operation", "name", "value"), BODIES)
def test_a_field_of_a_body_has_its_type(
    fleet: Cluster, operation: str, name: str, value: Any
) -> None:
    path = unnamed(operation, hostname=WEB_1)
    answer = fleet.admin.request(split(operation)[0], path, json={name: value})
    assert name in refused(answer, 400)


@pytest.mark.parametrize("operation", GOOD)
def test_a_body_is_wanted_only_where_a_field_of_it_is_required(
    fleet: Cluster, operation: str
) -> None:
    body = OPERATIONS[operation].body
    method, path = split(operation)[0], unnamed(operation, hostname=WEB_1)
    answers = [fleet.admin.request(method, path), fleet.admin.request(method, path, json={})]
    if body is not None and (required := body.schema.get("required")):
        bare, empty = answers
        assert bare.status_code in (400, 415)
        assert required[0] in refused(empty, 400)
    else:
        assert not {answer.status_code for answer in answers} & {400, 415}


def test_parameters_that_are_left_out_are_the_usual_ones(fleet: Cluster) -> None:
    path = "/node/{hostname}/container/docker"
    parameters = OPERATIONS[f"GET {path}"].parameters
    usual = {name: parameter.schema["default"] for name, parameter in parameters.items()}
    # The same key with the same request means the same job, and with another one a refusal.
    answers = [
        fleet.admin.get(path.format(hostname="_all"), params=params, headers=SAME)
        for params in ({}, usual, {"state": "all"}, {"limit": 19})
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 409]
    assert len({answer.json()["job_id"] for answer in answers[:3]}) == 1


def test_a_list_of_jobs_is_its_first_page_unless_told(fleet: Cluster) -> None:
    usual = {
        name: parameter.schema["default"]
        for name, parameter in OPERATIONS["GET /job"].parameters.items()
        if "default" in parameter.schema
    }
    for _ in range(usual["limit"] + 1):
        fleet.admin.get("/node/_any/load").raise_for_status()
    page = fleet.admin.get("/job").json()
    assert len(page["items"]) == usual["limit"] < page["total_items"]
    assert page == fleet.admin.get("/job", params=usual).json()


def test_a_list_for_which_the_surface_has_no_limit_is_whole(fleet: Cluster) -> None:
    assert OPERATIONS["GET /agent"].parameters == {}
    found = fleet.admin.get("/agent").json()
    assert {agent["hostname"] for agent in found["agents"]} == set(LABELS)
    assert found["total"] == len(LABELS)
