"""NATS: a connection that comes back by itself, and JetStream calls with honest errors."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from towline.broker.clock import Clock, running
from towline.broker.settings import Settings, without_password
from towline.errors import BrokerUnreachable, InvalidConfiguration, TowlineError

log = structlog.get_logger()


# A dead server that sends no reset is noticed after two unanswered pings: some 10 s. The client's
# own default takes six minutes.
PING_INTERVAL = 5
CONNECT_TIMEOUT = 5
"""Seconds that each step of connecting may take, and half of what all may take together."""
SHORTEST_PAUSE = 0.05
PATIENCE = 8.0
"""Seconds for which one of several servers may store nothing before another one is tried: more than
an election takes."""
UNAVAILABLE = 10008
"""What a server answers that is cut off from the others of its cluster, or while they elect."""
LONGEST_PAUSE = 5.0
"""Seconds between attempts to connect, at most; each pause is drawn at random below a bound that
doubles, so that a fleet does not come back in step."""
REQUEST_TIMEOUT = 5.0
FIRST_ATTEMPT = 2.0
"""Seconds until a message that nobody acknowledged is sent once more, on the same connection: in a
cluster a leader that is gone loses it without a word. Doubled each time."""
WRONG_LAST_SEQUENCE = (10071, 10164)
"""What is answered where another message than the sender knew of is the newest on a subject."""
_SEED = re.compile("SU[A-Z2-7]{56}")


class BrokerRefused(TowlineError):
    """JetStream answered with an error.

    Attributes:
        number: JetStream's own error code, for example 10071 for a wrong last sequence.
    """

    def __init__(self, number: int, description: str) -> None:
        super().__init__("The broker refused.", f"{description} (JetStream error {number})")
        self.number = number


class WrongLastSequence(BrokerRefused):
    """The newest message on a subject is another one than the sender knew of."""


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


class _Client(Client):
    """One connection to one server, which tells at once when it is lost.

    Left to itself the library tries a server twice, two seconds apart, and tells of a loss when
    it has sent what was left to send: to a server that is gone without a word, after a quarter of
    an hour.

    Args:
        lost: set when the connection is lost, or closed.
    """

    def __init__(self, lost: asyncio.Event) -> None:
        super().__init__()
        self._lost = lost

    async def _select_next_server(self) -> None:
        (self._current_server,) = self._server_pool
        await self._connect_to_server(self._current_server)

    def _connect_command(self) -> bytes:
        # The library encrypts only if the server's greeting asks for it. To a server that doesn't,
        # or to somebody between who strikes that out, it would send the credentials in the clear.
        encrypted = self._server_info.get("tls_required", False)
        if self._current_server and self._current_server.uri.scheme == "tls" and not encrypted:
            raise nats.errors.Error("nats: the server does not encrypt, and the URL says tls")
        return super()._connect_command()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._lost.set()
        await super()._close(status, do_cbs)

    def drop(self) -> None:
        """Let go of the connection: what is still to be sent would reach nobody."""
        self._lost.set()
        self._pending, self._pending_data_size = [], 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class Connection:
    """A connection to NATS that is made anew whenever it is lost, for as long as it is open.

    The client's own reconnecting is off: it has no jitter, gives up, and ends for good on a
    protocol error or when a callback raises. Here one path covers every way of losing a
    connection: a new client.

    Args:
        settings: where to connect.
        name: shown in the server's list of connections.
        on_change: called with True when connected and with False when lost.
    """

    def __init__(
        self, settings: Settings, name: str, on_change: Callable[[bool], None] | None = None
    ) -> None:
        self._settings = settings
        self._name = name
        self._on_change = on_change
        self._client: _Client | None = None
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._asking: set[asyncio.Timeout] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._options = self._read_options()
        self.last_error = "not connected yet"
        self.clock = Clock()
        self.trouble = ""
        """Why the broker did not store what it was given last."""
        self._failing_since: float | None = None
        self._asked_in_vain: dict[str, float] = {}
        self._chosen = self._given_up = ""

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep(), name="broker-connection")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Again and again: the library waits with wait_for, which in Python 3.11 drops a
        # cancellation that comes together with what is waited for.
        while self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait([self._keeper], timeout=0.1)
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(nats.errors.Error, OSError):
                async with asyncio.timeout(2):
                    await client.close()
            client.drop()

    def _read_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if any(url.startswith("tls://") for url in self._settings.urls):
            try:
                options["tls"] = ssl.create_default_context(cafile=self._settings.ca)
            except OSError as error:
                raise InvalidConfiguration(
                    f"The certificates in {str(self._settings.ca)!r} can't be read.", str(error)
                ) from error
        path = self._settings.credentials
        if path is None:
            return options
        try:
            text = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(
                f"The NATS credentials file {str(path)!r} can't be read.", str(error)
            ) from error
        if "BEGIN NATS USER JWT" in text:
            options["user_credentials"] = str(path)
        elif _SEED.fullmatch(text):
            options["nkeys_seed_str"] = text
        elif ":" in text and "\n" not in text:
            options["user"], _, options["password"] = text.partition(":")
        else:
            raise InvalidConfiguration(
                f"The NATS credentials file {str(path)!r} holds none.",
                "It takes a NATS .creds text, an nkey seed, or one line user:password.",
            )
        return options

    async def _keep(self) -> None:
        pause = SHORTEST_PAUSE
        loop = asyncio.get_running_loop()
        servers = [without_password(url) for url in self._settings.urls]
        while True:
            lost = asyncio.Event()
            try:
                client = await self._connect(lost)
            except (OSError, nats.errors.Error) as error:
                self.last_error = _reason(error)
                log.warning("broker not reachable", servers=servers, reason=self.last_error)
            except Exception as error:
                self.last_error = _reason(error)
                log.exception("broker not understood", servers=servers)
            else:
                since = loop.time()
                await self._until_lost(client, lost)
                if loop.time() - since > LONGEST_PAUSE:
                    pause = SHORTEST_PAUSE
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _until_lost(self, client: _Client, lost: asyncio.Event) -> None:
        self._client, self._lost = client, lost
        self._connected.set()
        log.info("broker connected", server=_server(client))
        self._notify(True)
        await lost.wait()
        self._client = None
        self._connected.clear()
        # What was asked over this connection is answered by nobody any more.
        for scope in self._asking:
            scope.reschedule(0)
        if client.last_error is not None:
            self.last_error = _reason(client.last_error)
        log.warning("broker connection lost", reason=self.last_error)
        client.drop()
        self._notify(False)

    async def _connect(self, lost: asyncio.Event) -> _Client:
        client = _Client(lost)

        async def on_error(error: Exception) -> None:
            self.last_error = _reason(error)

        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT):
                await client.connect(
                    servers=[self._choose()],
                    name=self._name,
                    allow_reconnect=False,
                    connect_timeout=CONNECT_TIMEOUT,
                    ping_interval=PING_INTERVAL,
                    max_outstanding_pings=1,
                    error_cb=on_error,
                    skip_subject_validation=True,
                    **self._options,
                )
            if not client.is_connected:
                raise nats.errors.Error("nats: the server ended the connection at once")
        except BaseException:
            client.drop()
            raise
        return client

    def _choose(self) -> str:
        """Return a server to connect to: another one than that which was given up."""
        urls = [url for url in self._settings.urls if url != self._given_up]
        self._chosen = random.choice(urls or self._settings.urls)
        return self._chosen

    def _stored(self) -> None:
        self.trouble, self._failing_since, self._given_up = "", None, ""
        self._asked_in_vain.clear()

    def _not_stored(self, reason: str) -> None:
        """Leave a server that is there but stores nothing: it may be cut off from the others."""
        self.trouble = reason
        self._failing_since = self._give_up(self._failing_since, reason)

    def _told(self, subject: str, error: dict[str, Any] | None) -> None:
        """Leave a server that says for long that it is none of a cluster's: it may be cut off.

        Some questions such a server still answers, so each kind counts for itself.
        """
        kind = ".".join(subject.split(".", 2)[:2])
        since = self._asked_in_vain.pop(kind, None)
        if error is not None and error.get("err_code") == UNAVAILABLE:
            since = self._give_up(since, error.get("description", ""))
            if since is not None:
                self._asked_in_vain[kind] = since

    def _give_up(self, since: float | None, reason: str) -> float | None:
        """Try another server if this one has failed for too long; return since when it has."""
        if self._client is None or not self.clustered:
            return None
        now = asyncio.get_running_loop().time()
        if since is None or now - since <= PATIENCE:
            return now if since is None else since
        log.warning("broker given up", server=_server(self._client), reason=reason)
        self._given_up = self._chosen
        self._asked_in_vain.clear()
        self._client.drop()
        return None

    def _notify(self, connected: bool) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(connected)
        except Exception:
            log.exception("listener broke off", connected=connected)

    @property
    def clustered(self) -> bool:
        """Whether several servers are named."""
        return len(self._settings.urls) > 1

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._client is not None

    async def client(self, timeout: float | None = None) -> Client:
        """Return the live client, waiting up to `timeout` seconds for one (None: for ever).

        Raises:
            BrokerUnreachable: none came in time.
        """
        while True:
            client = self._client
            if client is not None:
                return client
            try:
                async with asyncio.timeout(timeout):
                    await self._connected.wait()
            except TimeoutError:
                raise BrokerUnreachable(
                    "The broker is out of reach.", f"NATS: {self.last_error}"
                ) from None

    async def lost(self) -> None:
        """Wait until the present connection is lost; at once where there is none."""
        if self._client is not None:
            await self._lost.wait()

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Msg:
        """Send a request and return the reply.

        Raises:
            BrokerUnreachable: no connection, no answer within `timeout` seconds, or no JetStream.
        """
        client = await self.client(timeout)
        before = _cancellations()
        scope = asyncio.timeout(None)
        self._asking.add(scope)
        try:
            async with scope:
                reply = await client.request(subject, payload, timeout=timeout, headers=headers)
        except (nats.errors.Error, OSError, asyncio.CancelledError) as error:
            if _cancellations() > before:
                raise asyncio.CancelledError from error
            reason = f"NATS: {_reason(error)}"
            if isinstance(error, nats.errors.NoRespondersError):
                reason = f"nothing there answers on {subject!r}"
            raise BrokerUnreachable("The broker is out of reach.", reason) from error
        finally:
            self._asking.discard(scope)
        if _cancellations() > before:
            raise asyncio.CancelledError
        return reply

    async def call(
        self, subject: str, body: object = None, *, timeout: float = REQUEST_TIMEOUT
    ) -> dict[str, Any]:
        """Call JetStream's API and return its answer.

        Raises:
            BrokerRefused: it answered with an error.
            BrokerUnreachable: it did not answer.
        """
        payload = b"" if body is None else msgspec.json.encode(body)
        asked = running()
        reply = await self.request(f"$JS.API.{subject}", payload, timeout=timeout)
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        error = answer.get("error")
        self._told(subject, error)
        if error:
            raise _refusal(error)
        if "ts" in answer:
            self.clock.tell(answer["ts"], asked)
        return answer

    async def append(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        first: bool = False,
        last: int | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> int:
        """Store a message in the stream that holds `subject` and return its sequence.

        Tried again with the same `message_id` until `timeout` seconds are over: a publish that
        timed out may have been stored, and the id keeps it from being stored twice.

        Args:
            first: store it only where the stream holds none on this subject.
            last: store it only where this is the sequence of the newest on this subject.

        Raises:
            BrokerRefused: JetStream would not store it (10071: there is a newer one, perhaps
                this very message, stored by an attempt whose acknowledgement was lost).
            BrokerUnreachable: it could not be stored in time, or may have been and nobody said so.
        """
        headers = {}
        if message_id is not None:
            headers["Nats-Msg-Id"] = message_id
        if first or last is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(last or 0)
        deadline = asyncio.get_running_loop().time() + timeout
        # What one server is told is lost with the connection, or not at all.
        patience = FIRST_ATTEMPT / 2 if self.clustered else timeout
        while True:
            remaining = deadline - asyncio.get_running_loop().time()
            # A broker that is slow for all it has to do is made slower by what it is told twice.
            patience *= 2
            try:
                reply = await self.request(
                    subject,
                    payload,
                    headers=headers or None,
                    timeout=max(0.05, min(remaining, patience)),
                )
            except BrokerUnreachable as error:
                self._not_stored(error.details)
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(0.05)
                continue
            ack = msgspec.json.decode(reply.data, type=_Ack)
            if ack.error:
                raise _refusal(ack.error)
            self._stored()
            return ack.seq

    async def publish(self, subject: str, payload: bytes) -> None:
        """Send a message that nothing acknowledges; dropped while there is no connection."""
        client = self._client
        if client is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.publish(subject, payload)


def _cancellations() -> int:
    """Return how often the current task was asked to end.

    The library's own waiting drops such a wish when it comes together with the answer, and its
    closing cancels futures of which nobody wished an end.
    """
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _refusal(error: dict[str, Any]) -> BrokerRefused:
    number = error.get("err_code", 0)
    kind = WrongLastSequence if number in WRONG_LAST_SEQUENCE else BrokerRefused
    return kind(number, error.get("description", ""))


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _server(client: Client) -> str:
    url = client.connected_url
    return without_password(url.geturl()) if url is not None else "?"
