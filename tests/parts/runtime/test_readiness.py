"""What parts send to the service manager, and when: with one real broker."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.testing.broker import Broker
from tests.testing.controllers import Controllers, attached
from tests.testing.doubles import until
from tests.testing.process import TowlineProcess
from tests.testing.up import ServiceManager
from towline.broker.journal import STREAMS


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that is away at first."""
    directory = tmp_path / "broker"
    directory.mkdir()
    with Broker(directory) as broker:
        broker.stop()
        yield broker


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(str(tmp_path / "notify")) as manager:
        yield manager


@pytest.fixture
def controller(broker: Broker, manager: ServiceManager, tmp_path: Path) -> TowlineProcess:
    """A controller of that broker; it isn't started."""
    return TowlineProcess(
        "controller",
        *("--state", tmp_path / "state", "--listen", "127.0.0.1:0"),
        *broker.journal_login,
        logs=tmp_path,
        env={"TOWLINE_CONFIG": "/dev/null", "NOTIFY_SOCKET": manager.address},
    )


def test_a_controller_is_ready_when_it_can_answer_from_what_the_broker_has(
    controller: TowlineProcess, broker: Broker, manager: ServiceManager
) -> None:
    with controller:
        url = controller.wait_for_output(r"^Towline answers at (\S+)$")[1]
        manager.wait_for("STATUS=waiting for the broker")
        # It is alive all the while.
        controller.wait_for(lambda: "not reachable" in controller.stderr, what="an attempt")
        assert httpx.get(f"{url}/health").status_code == 200
        assert manager.count("READY=1") == 0

        broker.start()
        manager.wait_for("READY=1")
        assert set(STREAMS) <= set(broker.streams())
        assert "catching up" not in httpx.get(f"{url}/health/ready").text

        assert controller.stop() == 0
        manager.wait_for("STOPPING=1")
        assert manager.count("READY=1") == 1
        assert {notification.pid for notification in manager.received} == {controller.pid}


def test_a_controller_without_its_broker_ends_at_once_all_the_same(
    controller: TowlineProcess, manager: ServiceManager
) -> None:
    with controller:
        manager.wait_for("STATUS=waiting for the broker")
        assert controller.stop() == 0
    assert manager.count("READY=1") == 0
    assert "Traceback" not in controller.stderr


def agent_of(broker: Broker, directory: Path, *, notify: str) -> TowlineProcess:
    """Return an agent of that broker's; it isn't started."""
    return TowlineProcess(
        "agent",
        *("--state", directory / "agent", "--engine", "none"),
        *broker.agent_login,
        logs=directory,
        env={"TOWLINE_CONFIG": "/dev/null", "NOTIFY_SOCKET": notify},
    )


async def test_an_agent_is_ready_when_the_fleet_knows_that_its_node_is_here(
    broker: Broker, manager: ServiceManager, tmp_path: Path
) -> None:
    with agent_of(broker, tmp_path, notify=manager.address) as agent:
        manager.wait_for("STATUS=waiting for the broker")
        agent.wait_for(lambda: "broker not reachable" in agent.stderr, what="an attempt")
        assert manager.count("READY=1") == 0

        broker.start()
        agent.wait_for(lambda: "not registered yet" in agent.stderr, what="a connection")
        assert manager.count("READY=1") == 0

        controllers = Controllers()
        async with attached(broker, controllers):
            await asyncio.to_thread(manager.wait_for, "READY=1")
            await until(lambda: controllers.heartbeats)
            assert len(controllers.registrations) == 1

            assert await asyncio.to_thread(agent.stop) == 0
            manager.wait_for("STOPPING=1")
            await until(lambda: controllers.heartbeats[-1].leaving)
        assert manager.count("READY=1") == 1
        assert {notification.pid for notification in manager.received} == {agent.pid}


def test_an_agent_asks_for_more_time_while_it_waits_for_its_broker(
    broker: Broker, manager: ServiceManager, tmp_path: Path
) -> None:
    with agent_of(broker, tmp_path, notify=manager.address) as agent:
        manager.wait_for("EXTEND_TIMEOUT_USEC=60000000")
        assert agent.stop() == 0
    assert manager.count("READY=1") == 0
    assert "Traceback" not in agent.stderr
