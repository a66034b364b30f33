"""`towline trust rotate nodes` and `rotate ca`: what they say, and what they wait for."""

from pathlib import Path

import pytest

from tests.testing.command import failed
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController
from towline.trust.certificates import fingerprints, short_id
from towline.trust.keys import (
    CA,
    CA_KEY,
    FILES,
    NODES_SIGNING,
    OPERATOR_SIGNING,
    Trust,
    create,
)

COPIED = {"nodes": NODES_SIGNING, "ca": "ca.pem and ca.key to all other brokers"}
NEEDED = {"nodes": "towline trust login", "ca": "copy ca.pem"}


@pytest.fixture
def trust(state: Path) -> Trust:
    state.mkdir(mode=0o700)
    return create(state)


def ids(trust: Trust, kind: str) -> list[str]:
    """Return the keys of a kind as a controller names them that has read the files."""
    keys = {"nodes": trust.login_keys().public, "ca": fingerprints(trust.read(CA))}
    return list(map(short_id, keys[kind]))


def says(controller: StubController, trust: Trust, kind: str, **more: object) -> None:
    found = {"kind": kind, "keys": ids(trust, kind), **more}
    controller.answers["GET /trust"] = Answer({"kinds": [found], "nodes_here": 40})


@pytest.mark.parametrize("kind", ["nodes", "ca"])
def test_a_key_is_replaced_in_three_steps(
    asking: Here, controller: StubController, trust: Trust, kind: str
) -> None:
    (old,) = ids(trust, kind)
    # Nobody is asked, since nobody has to know the new one yet.
    done = asking("trust", "rotate", kind)
    assert (done.status, controller.asked) == (0, [])
    said = [done.stdout]
    first, new = ids(trust, kind)
    assert first == old
    for flags, left in (((), [new, old]), (("--retire",), [new])):
        says(controller, trust, kind)
        done = asking("trust", "rotate", kind, *flags)
        assert done.status == 0, done
        said.append(done.stdout)
        assert ids(trust, kind) == left
    assert all(COPIED[kind].rpartition("/")[2] in each for each in said)
    assert NEEDED[kind] in " ".join(said)
    assert f"towline trust rotate {kind} --retire" in said[1]
    assert "Removed one older key from" in said[2]


@pytest.mark.parametrize("flags", [(), ("--retire",)])
@pytest.mark.parametrize("kind", ["nodes", "ca"])
def test_a_step_waits_for_nodes_and_for_whatever_else_the_controller_names(
    asking: Here, controller: StubController, trust: Trust, kind: str, flags: tuple[str, ...]
) -> None:
    asking("trust", "rotate", kind)
    if flags:
        asking("trust", "rotate", kind, "--anyway")
    before = ids(trust, kind)
    says(controller, trust, kind, behind=["web-01"], nodes_behind=1)
    said = failed(asking("trust", "rotate", kind, *flags))
    assert "1 of 40 nodes that are here" in said
    assert NEEDED[kind] in said
    says(controller, trust, kind, obstacle="no broker lets them in")
    assert "no broker lets them in" in failed(asking("trust", "rotate", kind, *flags))
    assert "no broker lets them in" in asking("trust", "status").stdout
    assert ids(trust, kind) == before
    assert asking("trust", "rotate", kind, *flags, "--anyway").status == 0
    assert ids(trust, kind) != before


@pytest.mark.parametrize(
    ("kind", "file"), [("nodes", NODES_SIGNING), ("nodes", OPERATOR_SIGNING), ("ca", CA_KEY)]
)
def test_what_is_needed_for_it_is_named_where_it_is_not_on_this_machine(
    towline: Here, trust: Trust, kind: str, file: str
) -> None:
    trust.path(file).unlink()
    before = {name: trust.path(name).read_bytes() for name in FILES if trust.path(name).exists()}
    said = failed(towline("trust", "rotate", kind))
    assert before == {name: trust.path(name).read_bytes() for name in before}
    assert f"{file}' (" in said
    assert "is not on this machine" in said
