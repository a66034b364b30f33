"""`towline up`: broker, controller and agent on one machine, supervised."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import structlog

from towline.errors import InvalidConfiguration
from towline.runtime.embedded_broker import EmbeddedBroker
from towline.runtime.process import SUPERVISED, child_environment, notify
from towline.runtime.state_directory import URL, write_private

log = structlog.get_logger()

STOP_WITHIN = 8.0
ASK_EVERY = 0.2
LONGEST_PAUSE = 10.0

# The controller asked is on this machine: no proxy that the environment names knows it.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Part:
    """A part of Towline as a child process that is started again when it dies."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        """Run it, for ever."""
        pause = 0.2
        while True:
            started = asyncio.get_running_loop().time()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "towline",
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=sys.stderr,
                env=child_environment() | {SUPERVISED: "1"},
                start_new_session=True,
            )
            status = await self._process.wait()
            log.error("part ended", name=self.name, status=status)
            if asyncio.get_running_loop().time() - started > LONGEST_PAUSE:
                pause = 0.2
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def stop(self) -> None:
        """End it, by force if it takes too long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN)
        except TimeoutError:
            log.warning("part killed", name=self.name)
            process.kill()
            await process.wait()


async def run(
    directory: Path,
    url: str,
    controller: list[str],
    agent: list[str],
    say: Callable[[str], None],
) -> None:
    """Run all parts until cancelled.

    Args:
        directory: the state directory.
        url: where the controller will answer.
        controller, agent: the arguments of the two commands, but for where the broker is.
        say: called with what a person should read.
    """
    async with EmbeddedBroker(directory / "broker") as broker:
        where = [
            "--nats",
            broker.settings.urls[0],
            "--nats-credentials",
            str(broker.settings.credentials),
        ]
        parts = [
            Part("controller", ["controller", *controller, *where]),
            Part("agent", ["agent", *agent, *where]),
        ]
        write_private(directory / URL, url + "\n")
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part.keep())
                group.create_task(_keep_broker(broker))
                group.create_task(_announce(url, say))
        finally:
            await asyncio.gather(*(part.stop() for part in parts))
            (directory / URL).unlink(missing_ok=True)


async def _keep_broker(broker: EmbeddedBroker) -> None:
    while True:
        status = await broker.wait()
        log.error("part ended", name="broker", status=status)
        await asyncio.sleep(0.5)
        try:
            await broker.start()
        except InvalidConfiguration as error:
            log.error("broker not started", reason=error.details)


async def _announce(url: str, say: Callable[[str], None]) -> None:
    """Say "ready" once a pull would work, and tell the service manager whenever that changes."""
    told = ""
    while True:
        trouble = await asyncio.to_thread(_trouble, url)
        if trouble != told or told == "":
            if not trouble:
                say("ready")
                notify("READY=1\nSTATUS=ready")
                told = trouble
                await _until_trouble(url)
                continue
            say(f"waiting: {trouble}")
            notify(f"STATUS=waiting: {trouble}")
            told = trouble
        await asyncio.sleep(ASK_EVERY)


async def _until_trouble(url: str) -> None:
    while not await asyncio.to_thread(_trouble, url):
        await asyncio.sleep(5 * ASK_EVERY)


def _trouble(url: str) -> str:
    import json

    try:
        with _direct.open(f"{url}/health/ready", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        try:
            return str(json.loads(error.read())["error"])
        except (ValueError, KeyError):
            return f"the controller answers {error.code}"
    except OSError:
        return "the controller is not answering yet"
