"""No loop of a part of the controller ends by an error: one is raised in each."""

import asyncio
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from tests.testing.doubles import ConnectionDouble, until
from tests.testing.signing import SIGNER
from towline.broker.client import ServerClient
from towline.broker.journal import Retention
from towline.broker.settings import Settings
from towline.controller.controller import Controller
from towline.controller.jobs.index import Index
from towline.controller.jobs.reports import Asked
from towline.controller.jobs.state import JobState
from towline.controller.options import Options
from towline.controller.progress.picture import Picture
from towline.controller.progress.watches import Watch
from towline.controller.token_keys import TokenKeys
from towline.runtime.keys import open_vault
from towline.wire.job import Job
from towline.wire.report import STORED

JOB = "018bcfe5-6800-7000-8000-000000000000"
SETTINGS = Settings(["nats://127.0.0.1:1"])
LOOPS = {
    *("storage", "indexer of CHANGES", "indexer of READS", "registrations", "states"),
    *("heartbeats", "cooldowns", "service", "answers", "progress", "jobcredentials"),
    *("receipts", "runner", "asking for heartbeats", "members", "lastsigns"),
}


class Broken(ConnectionDouble):
    """A connection on which whatever is done raises what nobody expects."""

    async def client(self, timeout: float | None = None) -> ServerClient:
        raise RuntimeError("a fault")

    async def lost(self) -> None:
        raise RuntimeError("a fault")

    async def request(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a fault")

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        raise RuntimeError("a fault")


def options(path: Path) -> Options:
    return Options(
        *("127.0.0.1", 0, SETTINGS, SETTINGS, path / "index.sqlite", TokenKeys([b"k" * 32])),
        signer=SIGNER,
        vault=open_vault(path / "credentials.key", create=True),
        roles={},
        wait=1.0,
        longest_wait=1.0,
        expires=60.0,
        retention=Retention(),
        heartbeat=5.0,
    )


async def test_every_loop_of_a_controller_begins_anew_whatever_is_raised_in_it(
    tmp_path: Path,
) -> None:
    with Index(tmp_path / "index.sqlite") as index, capture_logs() as logs:
        controller = Controller(options(tmp_path), Broken(), Broken(), index)
        running = asyncio.create_task(controller.run())

        def broken() -> set[str]:
            return {str(line["part"]) for line in logs if line["event"] == "part broke off"}

        await until(lambda: "storage" in broken())
        # What follows is begun once there is what it needs.
        controller.storage.ready.set()
        controller.service.able.set()
        controller.members.known.set()
        controller.presence._known.set()
        job = Job(JOB, "x", {}, "_any", "c", 1e9, 2e9, plan=[])
        controller.open.add(job)
        watch = Watch(Picture(JobState(job)), Broken())
        watch.followers = 1
        controller.watches._watches[JOB] = watch
        controller.watches._wake.set()
        controller.reports._answer(Asked("_INBOX.1", b""), STORED)
        await until(lambda: broken() >= LOOPS)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
