"""What nodes say that they have, over a real broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.testing.broker import AGENTS_PASSWORD, AGENTS_USER, Broker
from tests.testing.doubles import until
from tests.testing.signing import SIGNER, opened
from tests.unit.controller.inventory.node import START, Node, image
from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.controller.budget import Budget
from towline.controller.fleet import Fleet
from towline.controller.inventory.inventories import Inventories
from towline.controller.jobs.index import Index
from towline.wire import messages
from towline.wire.node import Heartbeat, Registration
from towline.wire.release import Recount
from towline.wire.subjects import inventory_subject, task_subject

NOW = 1_700_000_000.0


class Agent:
    """A node's, which sends what it has when it is asked."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.node = Node(part=2)
        self.asked = 0

    async def say(self) -> None:
        """Send all that the node has."""
        for message in self.node.whole():
            await self.client.publish(inventory_subject("m1"), msgspec.json.encode(message))

    async def receive(self, message: Msg) -> None:
        """Take an order."""
        assert isinstance(messages.order(opened(message.data), "m1"), Recount)
        self.asked += 1
        await self.say()


@contextlib.asynccontextmanager
async def agent(broker: Broker) -> AsyncIterator[Agent]:
    client = await nats.connect(broker.url, user=AGENTS_USER, password=AGENTS_PASSWORD)
    try:
        found = Agent(client)
        await client.subscribe(task_subject("m1", START), cb=found.receive)
        yield found
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def controller(broker: Broker, file: Path, known: Heartbeat) -> AsyncIterator[Inventories]:
    """What one controller knows of a node that is here."""
    fleet, settled = Fleet(), asyncio.Event()
    fleet.register(Registration("m1", "web-01", "0.2.0", NOW))
    settings = Settings([broker.url], broker.logins.nodes)
    with Index(file) as index:
        async with Connection(settings, "controller of nodes") as nodes:
            inventories = Inventories(
                *(nodes, SIGNER, fleet, Budget(), index, settled), grace=0.0, ask_every=0.1
            )
            settled.set()
            running = asyncio.create_task(inventories.run())
            try:
                await until(inventories._listener.ready.is_set)
                fleet.receive("m1", known)
                yield inventories
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


async def test_each_of_several_controllers_knows_what_a_node_has_and_one_that_lacks_it_asks(
    own_broker: Broker, tmp_path: Path
) -> None:
    silent = Heartbeat(START, 60.0)
    async with (
        agent(own_broker) as node,
        controller(own_broker, tmp_path / "one", silent) as one,
    ):
        node.node.change(*(image(each, f"example.org/{each}:1") for each in "abcde"))
        await node.client.publish(inventory_subject("m1"), b"{}")
        await node.say()
        await until(lambda: one.of("m1") == node.node.images)
        assert (one._listener.unreadable, node.asked) == (1, 0)
        said = Heartbeat(START, 60.0, inventory=node.node.hash)
        async with controller(own_broker, tmp_path / "two", said) as two:
            await until(lambda: two.settled("m1"))
            assert node.asked >= 1
            asked = node.asked
            change = node.node.change(image("f", "example.org/f:1"), gone=[image("a").id])
            await node.client.publish(inventory_subject("m1"), msgspec.json.encode(change))
            await until(lambda: one.of("m1") == two.of("m1") == node.node.images)
            assert node.asked == asked
        said = Heartbeat(START, 60.0, inventory=node.node.hash)
        async with controller(own_broker, tmp_path / "two", said) as again:
            await until(lambda: again.settled("m1"))
            assert again.of("m1") == node.node.images
            assert node.asked == asked, "it was kept"
