"""Which nodes hold up that a kind of keys is replaced."""

import time

import msgspec
import pytest

from towline.controller.fleet import Fleet
from towline.controller.key_kinds import KeyKind, KeyKinds
from towline.trust.trusted import Trusted
from towline.wire.node import Heartbeat, Registration

NEW = Trusted("ca", frozenset(["old", "new"]), "ACCOUNT")
SAID = {
    "current": NEW.hash,
    "lacks-a-key": msgspec.structs.replace(NEW, jobs=frozenset(["old"])).hash,
    "has-a-password": msgspec.structs.replace(NEW, issuer="").hash,
    "of-another-version": "",
}


@pytest.fixture
def fleet() -> Fleet:
    """Nodes that say what is above, and one that is away."""
    fleet = Fleet()
    for number, (hostname, said) in enumerate({**SAID, "away": ""}.items()):
        machine = f"m{number}"
        fleet.register(Registration(machine, hostname, "0.2.0", time.time(), trusts=said))
        if hostname != "away":
            fleet.receive(machine, Heartbeat("1" * 16, 5.0))
    return fleet


@pytest.mark.parametrize(
    ("kind", "behind"),
    [
        ("jobs", ["lacks-a-key", "of-another-version"]),
        ("nodes", ["has-a-password", "of-another-version"]),
        ("ca", ["of-another-version"]),
        ("tokens", []),
    ],
)
def test_nodes_that_are_here_and_say_something_else_are_behind(
    fleet: Fleet, kind: str, behind: list[str]
) -> None:
    kinds = KeyKinds([KeyKind(kind, lambda: ["a"])], fleet, lambda: NEW)
    assert [member.hostname for member in kinds.behind(kind)] == behind
    assert [(each.name, each.ids()) for each in kinds] == [(kind, ["a"])]
