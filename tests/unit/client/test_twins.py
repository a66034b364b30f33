"""The two clients: what the one has, the other has in the same form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from towline.client import AsyncClient, AsyncJob, Client, Job

PAIRS = [(Client, AsyncClient), (Job, AsyncJob)]


def methods(kind: type) -> dict[str, Callable[..., Any]]:
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("plain", "other"), PAIRS, ids=["clients", "jobs"])
def test_both_have_the_same_methods_with_the_same_parameters(plain: type, other: type) -> None:
    ours, theirs = methods(plain), methods(other)
    assert ours.keys() == theirs.keys()
    for name, method in ours.items():
        assert inspect.signature(method).parameters == inspect.signature(theirs[name]).parameters, (
            name
        )


@pytest.mark.parametrize("kind", [each for pair in PAIRS for each in pair])
def test_every_method_is_described(kind: type) -> None:
    assert all(method.__doc__ for method in methods(kind).values())
