"""How the machine is at this moment."""

import time

from tests.testing.tasks import Answers, a_task
from towline.agent.host import machine
from towline.agent.host.provider import HostProvider
from towline.agent.node import Node
from towline.agent.provider import Context
from towline.operation import NODE
from towline.operations.node import load
from towline.runtime.keys import KEY_BYTES, NodeKey
from towline.wire.job import Job


def test_memory_is_in_bytes_and_adds_up() -> None:
    found = machine.memory()
    assert found is not None
    total, free, used = found
    assert total > 2**20
    assert 0 <= free <= total
    assert used == total - free


def test_the_machine_was_started_before_now() -> None:
    assert 0 < machine.booted() < time.time()


async def test_every_node_has_its_load_averages() -> None:
    key = NodeKey(bytes(KEY_BYTES))
    host = HostProvider(Context("machine", "web-01", key, Answers(), time.time, "0" * 16))
    await host.probe()
    assert (host.capability, host.offered, host.trouble) == (NODE, True, "")
    job = Job("job", "node.load.get", {}, "web-01", "ci", 0.0, 60.0)
    node = Node("machine", "web-01", [host]).serving(a_task(job))
    found = await load(node)
    assert found.load_average.one_minute >= 0.0
    await host.close()
