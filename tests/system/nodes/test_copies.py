"""Two agents with one identity, at two servers of a cluster of brokers."""

import asyncio
import shutil
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from nats.aio.msg import Msg

from tests.testing.cluster import NO_ENGINE, Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.own_broker import OwnBroker
from tests.testing.passages import EFFECTS, ask, asked, counts, ends, hold, let_go
from tests.testing.process import TowlineProcess, wait_until
from towline.trust.keys import NODES_LOGIN
from towline.wire import messages
from towline.wire.node import Heartbeat

NODE, OTHER = "web-01", "web-02"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def copied_gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """Counts what copies run: nothing holds that back."""
    return Gate(tmp_path_factory.mktemp("copied-gate"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Cluster]:
    """Two servers; at the first a node and a controller, at the second a node and another one."""
    directory = tmp_path_factory.mktemp("fleet")
    with Cluster(directory, [], gate.env, broker=partial(OwnBroker, size=2)) as fleet:
        for number, hostname in enumerate((NODE, OTHER)):
            fleet.add_node(NodePlan(hostname), nats=url(fleet, number))
        fleet.wait_here(NODE, OTHER)
        fleet.add_controller(nats=url(fleet, 1))
        yield fleet


def own(fleet: Cluster) -> OwnBroker:
    assert isinstance(fleet.broker, OwnBroker)
    return fleet.broker


def url(fleet: Cluster, number: int) -> str:
    """Return the URL of one server."""
    return f"tls://127.0.0.1:{own(fleet).ports[number]}"


def copy_of_node(fleet: Cluster, gate: Gate, name: str, *, ledger: bool) -> TowlineProcess:
    """Return an agent at the second server that isn't started, with a copy of the first's state.

    Parameters: `ledger` says whether the copy has that, too.
    """
    before, state = fleet.directory / f"agent-{NODE}", fleet.directory / name
    left_out = shutil.ignore_patterns(*(() if ledger else ("ledger*",)))
    shutil.copytree(before, state, ignore=left_out)
    login = own(fleet).login_of(NODE)
    return TowlineProcess(
        *("agent", "--state", state, "--hostname", NODE, "--engine", NO_ENGINE),
        *(url(fleet, 1) if each == own(fleet).url else each for each in login),
        logs=fleet.directory,
        name=name,
        env={"TOWLINE_HEARTBEAT": "1s", **gate.env},
    )


def shows_second(client: httpx.Client) -> bool:
    known = client.get("/agent").raise_for_status().json()["agents"]
    return {each["hostname"] for each in known if "second_agent_at" in each} == {NODE}


@pytest.mark.parametrize("ledger", [False, True], ids=["without its ledger", "with its ledger"])
def test_a_copy_at_another_server_is_noticed_before_its_first_heartbeat_counts_and_runs_nothing(
    fleet: Cluster, gate: Gate, copied_gate: Gate, ledger: bool
) -> None:
    name = f"copy-{ledger}"
    heartbeats: list[Heartbeat] = []

    def work() -> None:
        hold(gate, f"{name}-held")
        held = asked(fleet.admin, NODE, f"{name}-held")
        with copy_of_node(fleet, copied_gate, name, ledger=ledger) as copy:
            copy.wait_for(lambda: f"another agent with the machine id {NODE}" in copy.stderr)
            for client in (fleet.admin, *fleet.others):
                wait_until(partial(shows_second, client), what="every controller to show it")
            for client in (fleet.admin, *fleet.others):
                for target in (NODE, "_any", "_all"):
                    for effect in EFFECTS:
                        asking = f"{name}-{client.base_url.port}-{target}"
                        answer = ask(client, target, effect, asking, prefer="wait=30")
                        shown = {row["status"] for row in answer.json()["results"]}
                        assert shown == {"ok"}, answer.text
            let_go(gate, f"{name}-held")
            assert ends(fleet, held, NODE) == dict.fromkeys(EFFECTS, "ok")
            assert {counts(gate, f"{name}-held", effect, NODE) for effect in EFFECTS} == {(1, 1)}
            wait_until(
                lambda: {each.second for each in heartbeats[-4:]} == {False, True},
                what="heartbeats of both",
            )
            assert not {"agent registered", "task accepted"} & set(copy.stderr.split('"'))
        assert list(copied_gate.directory.glob(f"{name}*")) == []

    async def watch() -> None:
        async def keep(message: Msg) -> None:
            heartbeats.append(messages.heartbeat(message.subject, message.data)[1])

        broker = own(fleet)
        async with broker.client(broker.trust.path(NODES_LOGIN), 1) as client:
            await client.subscribe(f"beat.{NODE}", cb=keep)
            await client.flush()
            await asyncio.to_thread(work)

    asyncio.run(watch())
    # From its first heartbeat to its last the copy never was the node.
    assert len({each.start for each in heartbeats if each.second}) == 1
    assert len({each.start for each in heartbeats if not each.second}) == 1
