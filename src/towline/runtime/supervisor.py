"""`towline up`: broker, controller and agent on one machine, supervised."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from towline.errors import InvalidConfiguration
from towline.runtime.embedded_broker import EmbeddedBroker
from towline.runtime.key_watch import KeyFile, KeyFiles
from towline.runtime.log_file import finished
from towline.runtime.part import keep_running
from towline.runtime.pauses import Pauses
from towline.runtime.process import SUPERVISED, child_environment, notify, starting
from towline.runtime.state_directory import URL, make_private, write_private
from towline.runtime.teller import Teller
from towline.trust.keys import CA, JOURNAL_LOGIN, NODES_LOGIN, NODES_SIGNING, Trust

log = structlog.get_logger()

STOP_WITHIN = 8.0
"""Seconds for a part to end by itself: a controller gives requests that wait up to 7."""
CHECK_EVERY = 0.2
"""Seconds between two questions to the controller whether a pull would work."""
SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
"""Seconds before a part that ended is started again: doubled each time, up to this."""


def _unverified() -> ssl.SSLContext:
    """Return what trusts every certificate: nothing is sent by it that another could use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# The controller is on this machine: a proxy that the environment names doesn't know it, and its
# certificate may be for other names than this machine's.
_direct = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_unverified())
)


class Part:
    """A part of Towline as a child process that is started again when it ends.

    Args:
        name: for logs.
        arguments: what follows `towline` on its command line.
        teller: is told when it ends.
    """

    def __init__(self, name: str, arguments: list[str], teller: Teller) -> None:
        self.name = name
        self._arguments = arguments
        self._teller = teller
        self._process: asyncio.subprocess.Process | None = None
        self._copying: asyncio.Task[None] | None = None
        self._words: list[str] = []

    async def run(self) -> None:
        """Keep the part running until cancelled; `stop` ends it."""
        loop = asyncio.get_running_loop()
        pauses = Pauses(SHORTEST_PAUSE, LONGEST_PAUSE)
        while True:
            started = loop.time()
            try:
                status = await self._run_once()
                self._teller.ended(self.name, status, "".join(self._words))
            except OSError as error:
                self._teller.not_started(self.name, str(error))
            if loop.time() - started > LONGEST_PAUSE:
                pauses.reset()
            await pauses.wait()

    async def _run_once(self) -> int:
        output = self._teller.output
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "towline",
            *self._arguments,
            # It ends when this pipe does: when this process has ended, however that was.
            stdin=asyncio.subprocess.PIPE,
            stdout=sys.stderr if output is None else asyncio.subprocess.PIPE,
            stderr=None if output is None else asyncio.subprocess.STDOUT,
            env=child_environment() | {SUPERVISED: "1"},
            start_new_session=True,
        )
        if output is not None and self._process.stdout is not None:
            self._words = []
            copying = output.copy(self._process.stdout, self._words)
            # It outlasts this, so that nothing is lost of what a part says while it is stopped.
            self._copying = asyncio.get_running_loop().create_task(copying)
        status = await self._process.wait()
        await self._read_rest()
        return status

    async def _read_rest(self) -> None:
        copying, self._copying = self._copying, None
        if copying is not None:
            await finished(copying)

    async def stop(self) -> None:
        """End the part, by force if it doesn't end in time."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            await self._end(process)
        await self._read_rest()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN)
        except TimeoutError:
            log.warning("part killed", name=self.name)
            process.kill()
            await process.wait()


class Arguments(msgspec.Struct, frozen=True):
    """What follows each command on its command line, but for where the broker is.

    Attributes:
        controller, agent: of these two.
        broker: of `towline broker`, where other machines reach it; None for one on loopback.
        broker_url: by which this machine reaches that.
    """

    controller: list[str]
    agent: list[str]
    broker: list[str] | None = None
    broker_url: str = ""


async def run(
    directory: Path,
    trust: Trust,
    machine: str,
    url: str,
    arguments: Arguments,
    teller: Teller,
    *,
    check_every: float = CHECK_EVERY,
) -> None:
    """Run all parts until cancelled.

    Args:
        directory: the state directory.
        trust: whom the broker trusts, and what controllers log in with.
        machine: the node's machine id.
        url: where the controller will answer.
        arguments: what the parts are started with.
        teller: tells a person of them.
        check_every: seconds between two questions to the controller whether a pull would work.
    """
    async with _broker(directory, trust, machine, arguments, teller) as (where, login, keep_broker):
        logins = [
            *("--nats-credentials", str(trust.path(JOURNAL_LOGIN))),
            *("--nodes-credentials", str(trust.path(NODES_LOGIN))),
        ]
        parts = [
            Part("controller", ["controller", *arguments.controller, *where, *logins], teller),
            Part(
                "agent",
                ["agent", *arguments.agent, *where, "--nats-credentials", str(login)],
                teller,
            ),
        ]
        write_private(directory / URL, url + "\n")

        def login_anew() -> None:
            _write_login(login, trust, machine)

        signing = KeyFiles([KeyFile(trust.path(NODES_SIGNING), login_anew)])
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part.run())
                group.create_task(keep_broker())
                group.create_task(keep_running("agent's login", signing.run))
                with starting("waiting for the controller") as ready:
                    await _show_readiness(url, teller, ready, check_every)
        finally:
            await asyncio.gather(*(part.stop() for part in parts))
            (directory / URL).unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _broker(
    directory: Path, trust: Trust, machine: str, arguments: Arguments, teller: Teller
) -> AsyncIterator[tuple[list[str], Path, Callable[[], Coroutine[Any, Any, None]]]]:
    """Have a broker: yield the arguments that say where, the agent's login, what keeps it up."""
    if arguments.broker is None:
        async with EmbeddedBroker(directory / "broker", trust, machine) as broker:
            where, login = ["--nats", broker.settings.urls[0]], broker.agent_login
            yield where, login, functools.partial(_keep_running, broker, teller)
        return
    login = directory / "broker" / "agent.creds"
    make_private(login.parent)
    _write_login(login, trust, machine)
    part = Part("broker", ["broker", *arguments.broker], teller)
    try:
        where = ["--nats", arguments.broker_url, "--nats-ca", str(trust.path(CA))]
        yield where, login, part.run
    finally:
        await part.stop()


def _write_login(path: Path, trust: Trust, machine: str) -> None:
    """Write a new login of this machine's node; raises `InvalidConfiguration`."""
    try:
        write_private(path, trust.node_login(machine))
    except OSError as error:
        raise InvalidConfiguration(
            f"The login of this machine's node, {str(path)!r}, can't be written.", str(error)
        ) from error


async def _keep_running(broker: EmbeddedBroker, teller: Teller) -> None:
    while True:
        teller.ended("broker", await broker.wait())
        await asyncio.sleep(0.5)
        try:
            await broker.start()
        except InvalidConfiguration as error:
            teller.not_started("broker", error.details)
        except OSError as error:
            teller.not_started("broker", str(error))


async def _show_readiness(
    url: str, teller: Teller, ready: Callable[[], None], check_every: float
) -> None:
    """Show whether a pull would work, and each change, for ever; the service manager gets it too.

    Args:
        ready: called whenever a pull works again.
    """
    loop = asyncio.get_running_loop()
    known: str | None = None
    shown: str | None = None
    since = 0.0
    while True:
        obstacle = await asyncio.to_thread(_obstacle, url)
        if obstacle != known:
            known, since = obstacle, loop.time()
            if obstacle:
                notify(f"STATUS=waiting: {obstacle}")
            else:
                ready()
        patient = bool(obstacle) and loop.time() - since < teller.patience
        if obstacle != shown and not patient:
            teller.show(f"waiting: {obstacle}" if obstacle else "ready")
            shown = obstacle
        await asyncio.sleep(check_every if obstacle else 5 * check_every)


def _obstacle(url: str) -> str:
    """Return why a pull would not work, in one line; an empty text if it would."""
    try:
        with _direct.open(f"{url}/health/ready", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        try:
            reason = str(json.loads(error.read())["error"])
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return f"the controller answers {error.code}"
        # It may have an engine's own words in it: they steer no terminal and no service manager.
        return "".join(letter if letter.isprintable() else " " for letter in reason)
    except (OSError, http.client.HTTPException):
        return "the controller is not answering yet"
