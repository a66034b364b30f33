"""The key of nodes' logins is replaced while nodes pull, and two are away."""

import asyncio
import contextlib
import time

import pytest

from tests.system.rotation.conftest import BY_HAND, DAY, INVITED, Rotating
from tests.testing.command import failed
from tests.testing.logins import lets_in, until_shut_out
from tests.testing.own_broker import OwnBroker
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage
from towline.trust.identity import Identity

AWAY, ENDED = "away", "ended"


@pytest.fixture
def broker(rotating: Rotating) -> OwnBroker:
    broker = rotating.cluster.broker
    assert isinstance(broker, OwnBroker)
    return broker


def copy_by_hand(rotating: Rotating) -> str:
    """Give the node that came by no invite a new login; return the one that it had."""
    path = rotating.cluster.directory / f"{BY_HAND}.creds"
    before = path.read_text()
    path.write_text(rotating.trust.node_login(BY_HAND))
    return before


def connections(rotating: Rotating, hostname: str) -> int:
    """Return how often a node has connected to the broker."""
    log = (rotating.cluster.directory / f"agent-{hostname}.err").read_text()
    return log.count("broker connected")


def dropped(rotating: Rotating, hostname: str) -> int:
    """Return how often a node has lost its connection, without wanting another one."""
    log = (rotating.cluster.directory / f"agent-{hostname}.err").read_text()
    lost = [line for line in log.splitlines() if "broker connection lost" in line]
    return sum("there is another login" not in line for line in lost)


def test_each_step_under_pulls_and_nodes_that_were_away_over_all_of_them(
    rotating: Rotating, broker: OwnBroker, image: PushedImage
) -> None:
    (old,) = rotating.trust.login_keys().public
    away = {name: rotating.join(name) for name in (AWAY, ENDED)}
    with contextlib.ExitStack() as agents:
        for name in away:
            agents.enter_context(rotating.agent(name))
        rotating.cluster.wait_here(*away)
    rotating.cluster.wait_away(*away)
    rotating.end_login(away[ENDED])
    invited = Identity(rotating.cluster.directory / f"agent-{INVITED}" / "identity")
    logins = [invited.login.read_text()]

    with rotating.pulls(image):
        rotating.step("nodes")
        assert len(rotating.kind("nodes")["keys"]) == 2
        for number in range(2):
            wait_until(
                lambda number=number: not rotating.kind("nodes", number).get("obstacle"),  # type: ignore[misc]
                what="a broker that lets in what the new key signs",
            )
        rotating.wait_behind("nodes")
        seen = {name: connections(rotating, name) for name in (BY_HAND, INVITED)}
        rotating.step("nodes")
        _, known = rotating.trust.login_keys().public
        assert known == old
        rotating.wait_behind("nodes", BY_HAND)
        assert invited.read_login().iss != old
        refused = failed(rotating.towline("trust", "rotate", "nodes", "--retire"))
        assert "1 of 2 nodes that are here do not know the keys of nodes yet" in refused
        assert BY_HAND in refused
        logins.append(copy_by_hand(rotating))
        rotating.wait_behind("nodes")
        kept = {
            name: rotating.cluster.pull(name, image.reference, prefer="respond-async").json()
            for name in away
        }
        # Each is logged in with its new login by now, one after the other.
        for name, count in seen.items():
            wait_until(
                lambda name=name, count=count: connections(rotating, name) > count,  # type: ignore[misc]
                what=f"{name} to log in anew",
            )
        for login in logins:
            assert asyncio.run(lets_in(broker, login))
        rotating.step("nodes", "--retire")
        for login in logins:
            asyncio.run(until_shut_out(broker, login))
        rotating.wait_behind("nodes")
        assert [dropped(rotating, name) for name in seen] == [0, 0]

    new = rotating.trust.login_keys()
    assert new.retired == (old,)
    assert rotating.kind("nodes")["keys"] == rotating.kind("nodes", 1)["keys"]

    with contextlib.ExitStack() as agents:
        processes = {name: agents.enter_context(rotating.agent(name)) for name in away}
        for name in away:
            assert rotating.cluster.ended(kept[name]["job_id"])["status"] == "completed"
            assert away[name].read_login().exp - time.time() > 29 * DAY
            assert away[name].read_login().iss == new.public[0]
        processes[AWAY].wait_for(lambda: "cut off" in processes[AWAY].stderr)
        rotating.wait_behind("nodes")
