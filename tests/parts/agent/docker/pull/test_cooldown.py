"""Nodes leave a registry alone together, by controllers that keep that in a real broker."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.testing.broker import Broker
from tests.testing.ports import free_port
from tests.testing.proxy import Answer, FaultyProxy
from tests.testing.registry import Registry
from tests.testing.tasks import a_release, a_task
from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.pull.attempts import Pauses
from towline.agent.docker.pull.cooldown import Cooldowns, retry_after
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.pulls import Pulls
from towline.agent.docker.pull.releases import Releases
from towline.agent.docker.pull.steps import COOLDOWN
from towline.agent.provider import Questions
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.controller.cooldowns import Cooldowns as Controller
from towline.operations import docker
from towline.wire.cooldown import Cooldown
from towline.wire.event import Step
from towline.wire.job import Job, new_id
from towline.wire.platform import Platform
from towline.wire.reference import Reference
from towline.wire.release import Release
from towline.wire.report import CooldownQuestion


@pytest.fixture
def busy(registry: Registry) -> Iterator[FaultyProxy]:
    """A registry of its own name, before which a proxy stands."""
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [(429, "7", 7), (429, "DATE", 60), (429, "", None), (429, "soon", None), (503, "7", None)],
)
async def test_the_registry_itself_is_asked_how_long_it_wants_to_rest(
    busy: FaultyProxy, status: int, text: str, seconds: float | None
) -> None:
    if text == "DATE":
        text = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    busy.fault = Answer(match="/v2/a/b/manifests/1.0", status=status, retry_after=text)
    wait = await retry_after(Reference.parse(f"{busy.host}/a/b:1.0"))
    if seconds is None:
        assert wait is None
    else:
        assert wait is not None
        assert seconds - 30 <= wait <= seconds
    busy.refuse()
    assert await retry_after(Reference.parse(f"{busy.host}/a/b:1.0")) is None


class Limited:
    """A registry that allows so many requests a second, and counts how many were too many."""

    def __init__(self, rate: float) -> None:
        self.port = free_port()
        self.refused: list[float] = []
        self._rate = rate
        self._left = rate
        self._filled = time.monotonic()

    async def __aenter__(self) -> "Limited":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        self._left = min(self._rate, self._left + (now - self._filled) * self._rate)
        self._filled = now
        if self._left < 1:
            self.refused.append(now)
            return web.Response(status=429, headers={"Retry-After": "1"})
        self._left -= 1
        return web.Response(text="here")


class Light(Engine):
    """An engine whose pulls are two requests, one after another."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        super().__init__("none://")
        self._port = port
        self._session = session
        self._images: dict[str, Image] = {}

    async def image(self, name: str) -> Image | None:
        return self._images.get(name)

    async def ping(self) -> str:
        return "0"

    async def pull(
        self,
        repository: str,
        tag: str,
        auth: dict[str, str] | None = None,
        platform: Platform | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        for part in range(2):
            async with self._session.get(f"http://127.0.0.1:{self._port}/{part}") as answer:
                if answer.status == 429:
                    raise EngineRefused(0, "toomanyrequests: slow down")
            yield {"status": "Download complete", "id": str(part)}
        self._images[f"{repository}:{tag}"] = Image("id", 1)


class Task:
    """What one of fifty nodes does for a job."""

    def __init__(self, job: Job) -> None:
        self.kinds: list[str] = []
        self.served = a_task(job, step=self._step)

    def _step(self, step: Step) -> None:
        self.kinds.append(step.name)


class Asking(Questions):
    """What one node asks of a controller, without what lies between them."""

    def __init__(self, controller: Controller, job: Job, hostname: str) -> None:
        self._controller = controller
        self._job = job
        self._hostname = hostname

    async def task(self, job_id: str) -> Release:
        return a_release(self._job, cooldown=self._controller.of(self._job))

    async def cooldown(
        self, job_id: str, *, reason: str, known: float | None, asked: float | None
    ) -> Cooldown | None:
        question = CooldownQuestion(job_id, reason, known, asked)
        return await self._controller.limited(self._job, self._hostname, question)


@pytest.fixture
async def controller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Controller]:
    with Broker(tmp_path_factory.mktemp("cooldown")) as broker:
        settings = Settings([broker.url], broker.credentials)
        async with Connection(settings, "cooldown") as connection:
            # Some fifteen requests a second, as a whole pull's five are some ten.
            controller = Controller(JetStream(connection), time.time, interval=0.13)
            await controller.create(1)
            following = asyncio.create_task(controller.run())
            yield controller
            following.cancel()
            await asyncio.wait([following])


async def test_fifty_nodes_come_back_to_a_registry_of_twenty_requests_a_second_one_by_one(
    controller: Controller,
) -> None:
    nodes = 50
    async with Limited(20) as registry, aiohttp.ClientSession() as session:
        image = f"127.0.0.1:{registry.port}/a/b:1.0"
        job = Job(
            *(new_id(), docker.pull.name, {"image": image}, "_all", "tests"),
            *(time.time(), time.time() + 60),
            nodes=nodes,
        )
        tasks = [Task(job) for _ in range(nodes)]
        order = Order(Reference.parse(image))
        pulls = [
            Pulls(
                Light(registry.port, session),
                [Cooldowns(Releases(asking, time.time), asking, f"node-{number}", time.time)],
                pauses=Pauses(first=0.1),
            )
            for number in range(nodes)
            if (asking := Asking(controller, job, f"node-{number}"))
        ]
        await asyncio.gather(
            *(pull.pull(order, task.served) for pull, task in zip(pulls, tasks, strict=True))
        )
    first = registry.refused[0]
    later = [moment for moment in registry.refused if moment > first + 1.0]
    # Those that were at it already, one request each, and the question how long.
    assert len(registry.refused) - len(later) <= nodes + 1
    assert len(later) <= 5
    assert sum(COOLDOWN in task.kinds for task in tasks) >= nodes / 2
