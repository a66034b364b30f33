"""What an agent sends to the service manager, and when."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.broker import Broker
from tests.testing.process import TowlineProcess
from tests.testing.up import ServiceManager
from towline.wire.subjects import HEARTBEATS


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


def part(broker: Broker, directory: Path, name: str, *options: str, notify: str) -> TowlineProcess:
    """Return a part of that broker's; it isn't started."""
    return TowlineProcess(
        name,
        *("--state", directory / name),
        *("--nats", broker.url, "--nats-credentials", broker.credentials),
        *options,
        logs=directory,
        env={"TOWLINE_CONFIG": "/dev/null", "NOTIFY_SOCKET": notify},
    )


def test_an_agent_is_ready_when_the_fleet_knows_that_its_node_is_here(
    broker: Broker, manager: ServiceManager, tmp_path: Path
) -> None:
    with part(broker, tmp_path, "agent", "--engine", "none", notify=manager.address) as agent:
        manager.wait_for("STATUS=waiting for the broker")
        agent.wait_for(lambda: "broker not reachable" in agent.stderr, what="an attempt")
        assert manager.count("READY=1") == 0

        broker.start()
        agent.wait_for(lambda: "waiting for the stream" in agent.stderr, what="a connection")
        assert manager.count("READY=1") == 0

        # It makes what parts keep at the broker.
        with part(broker, tmp_path, "controller", "--listen", "127.0.0.1:0", notify=""):
            manager.wait_for("READY=1")
            assert broker.last_sequence(f"KV_{HEARTBEATS}") == 1

            assert agent.stop() == 0
            manager.wait_for("STOPPING=1")
        assert manager.count("READY=1") == 1
        assert {notification.pid for notification in manager.received} == {agent.pid}


def test_an_agent_asks_for_more_time_while_it_waits_for_its_broker(
    broker: Broker, manager: ServiceManager, tmp_path: Path
) -> None:
    with part(broker, tmp_path, "agent", "--engine", "none", notify=manager.address) as agent:
        manager.wait_for("EXTEND_TIMEOUT_USEC=60000000")
        assert agent.stop() == 0
    assert manager.count("READY=1") == 0
    assert "Traceback" not in agent.stderr
