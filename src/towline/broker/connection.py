"""NATS: a connection that comes back by itself, and requests with honest errors."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from typing import Self

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from towline.broker.client import ServerClient
from towline.broker.settings import Settings, UnreadableCA, login, without_password
from towline.errors import BrokerUnreachable, InvalidConfiguration, sentence
from towline.runtime.pauses import Pauses, within

log = structlog.get_logger()


PING_INTERVAL = 5.0
"""Seconds between pings, unless whoever holds the connection checks it. A dead server that sends no
reset is noticed after two that go unanswered: some 10 s. The library's own default takes six
minutes."""
CONNECT_TIMEOUT = 5.0
"""Seconds that each step of connecting may take, and half of what all may take together."""
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds between attempts to connect, at most; each pause is drawn at random below a bound that
doubles, so that a fleet does not come back in step."""
PATIENCE = 8.0
"""Seconds for which one of several servers may store nothing before another one is tried: more than
an election takes."""
REQUEST_TIMEOUT = 5.0


class Connection:
    """A connection to NATS that is made anew whenever it is lost, for as long as it is open.

    The library's own reconnecting is off: it has no jitter, gives up, and ends for good on a
    protocol error or when a callback raises. Here one path covers every way of losing a
    connection: a new client.

    Attributes:
        last_error: why there is no connection, or why the last one was lost.

    Args:
        settings: where to connect.
        name: shown in the server's list of connections.
        inbox: what the subjects begin with on which it is answered, without the last dot.
        on_change: called with True when connected and with False when lost.
        on_refused: called when the server has refused the login, or its certificate is signed by
            none that is known, or what is known can't be read.
        ping_interval, connect_timeout, longest_pause, patience: seconds; see the constants.

    Raises:
        InvalidConfiguration: the certificates or the credentials can't be read.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        on_change: Callable[[bool], None] | None = None,
        *,
        inbox: str = "_INBOX",
        on_refused: Callable[[], None] = lambda: None,
        ping_interval: float = PING_INTERVAL,
        connect_timeout: float = CONNECT_TIMEOUT,
        longest_pause: float = LONGEST_PAUSE,
        patience: float = PATIENCE,
    ) -> None:
        self._settings = settings
        self._name = name
        self._on_change = on_change
        self._inbox = inbox
        self._on_refused = on_refused
        self._ping_interval = ping_interval
        self._connect_timeout = connect_timeout
        self._longest_pause = longest_pause
        self._patience = patience
        login(settings)  # whoever has named what can't be read is told at once
        self._client: ServerClient | None = None
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._server = self._avoided = self._wanted = ""
        """The URLs of the server that is connected to, of the one that was left last, and of the
        one that is tried next, without a password."""
        self._failing: dict[str, float] = {}
        """Since when each kind of request fails, by the event loop's clock."""
        self.last_error = "not connected yet"

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep(), name="broker-connection")
        return self

    async def __aexit__(self, *_: object) -> None:
        # Again and again: the library waits with wait_for, which in Python 3.11 drops a
        # cancellation that comes together with what is waited for.
        while self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait([self._keeper], timeout=0.1)
        if self._client is not None:
            client, self._client = self._client, None
            self._connected.clear()
            with contextlib.suppress(nats.errors.Error, OSError):
                await within(2, client.close())
            client.drop()

    # Connecting

    async def _keep(self) -> None:
        pauses = Pauses(SHORTEST_PAUSE, self._longest_pause)
        loop = asyncio.get_running_loop()
        servers = [without_password(url) for url in self._settings.urls]
        while True:
            lost = asyncio.Event()
            try:
                client = await self._connect(lost)
            except (OSError, nats.errors.Error, InvalidConfiguration) as error:
                self.last_error = _reason(error)
                log.warning(
                    "broker not reachable",
                    connection=self._name,
                    servers=servers,
                    reason=self.last_error,
                )
                if _refused(error):
                    self._on_refused()
            except Exception as error:
                self.last_error = _reason(error)
                log.exception("broker not understood", connection=self._name, servers=servers)
            else:
                since = loop.time()
                await self._until_lost(client, lost)
                if loop.time() - since > self._longest_pause:
                    pauses.reset()
            await pauses.wait()

    async def _until_lost(self, client: ServerClient, lost: asyncio.Event) -> None:
        self._client, self._lost = client, lost
        self._connected.set()
        log.info("broker connected", connection=self._name, server=_server(client))
        self._notify(True)
        await lost.wait()
        self._client = None
        self._connected.clear()
        if client.last_error is not None:
            self.last_error = _reason(client.last_error)
        log.warning("broker connection lost", connection=self._name, reason=self.last_error)
        client.drop()
        self._notify(False)

    async def _connect(self, lost: asyncio.Event) -> ServerClient:
        client = ServerClient(lost)
        # Read each time: login and certificates may have been replaced.
        options = login(self._settings)

        async def on_error(error: Exception) -> None:
            self.last_error = _reason(error)

        urls = [url for url in self._settings.urls if url != self._avoided]
        wanted = [url for url in urls if without_password(url) == self._wanted]
        self._wanted = ""
        self._server = random.choice(wanted or urls or self._settings.urls)
        try:
            async with asyncio.timeout(2 * self._connect_timeout):
                await client.connect(
                    servers=[self._server],
                    name=self._name,
                    inbox_prefix=self._inbox,
                    allow_reconnect=False,
                    connect_timeout=self._connect_timeout,  # type: ignore[arg-type]
                    ping_interval=self._ping_interval,  # type: ignore[arg-type]
                    max_outstanding_pings=1,
                    error_cb=on_error,
                    skip_subject_validation=True,
                    **options,
                )
            if not client.is_connected:
                raise nats.errors.Error("nats: the server ended the connection at once")
        except BaseException:
            client.drop()
            raise
        return client

    def _notify(self, connected: bool) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(connected)
        except Exception:
            log.exception("listener broke off", connected=connected)

    # A server that is there and doesn't do its work

    def failed(self, kind: str, reason: str) -> None:
        """Leave a server of a cluster at which a kind of request has failed for too long.

        It may be cut off from the others. Such a server still answers some requests, so each kind
        counts for itself.

        Args:
            kind: of the request that failed, in a word of the caller's.
            reason: why it failed, for the log.
        """
        if self._client is None or not self.clustered:
            self._failing.pop(kind, None)
            return
        now = asyncio.get_running_loop().time()
        if now - self._failing.setdefault(kind, now) <= self._patience:
            return
        log.warning("broker left for another one", server=_server(self._client), reason=reason)
        self._avoided = self._server
        self._failing.clear()
        self._client.drop()

    def succeeded(self, kind: str | None = None) -> None:
        """Take it that a kind of request does not fail, or none does.

        Args:
            kind: as for `failed`; None for all, after a request that a server which is cut off
                can't have answered.
        """
        if kind is not None:
            self._failing.pop(kind, None)
            return
        self._failing.clear()
        self._avoided = ""

    def move(self, server: str) -> None:
        """Go over to another server, which is tried once.

        Args:
            server: as `server` of another connection gives it.
        """
        if self._client is not None and server != self.server:
            self._wanted = server
            self._client.drop()

    def renew(self) -> None:
        """Connect anew, with the login that the file has by now.

        The server has read all by then that it was sent before.
        """
        if self._client is not None:
            self._renewing = asyncio.create_task(self._leave(self._client))

    async def _leave(self, client: ServerClient) -> None:
        with contextlib.suppress(nats.errors.Error, OSError):
            await client.flush()
        if client is self._client:
            self.last_error = "there is another login"
            client.drop()

    # Being connected

    @property
    def server(self) -> str:
        """The URL of the server that is, or was last, connected to, without a password."""
        return without_password(self._server)

    @property
    def version(self) -> str:
        """The version of the server that is connected to, or "" where none is."""
        return "" if self._client is None else self._client.version

    @property
    def clustered(self) -> bool:
        """Whether several servers are named."""
        return len(self._settings.urls) > 1

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._client is not None

    async def client(self, timeout: float | None = None) -> ServerClient:
        """Return the live client, waiting up to `timeout` seconds for one (None: for ever).

        Raises:
            BrokerUnreachable: none came in time.
        """
        while True:
            client = self._client
            if client is not None:
                return client
            if not await within(timeout, self._connected.wait()):
                raise unreachable(f"NATS: {self.last_error}")

    async def check(self, again: float = 0.0) -> None:
        """Ask the server whether it is there, and give the connection up where it doesn't answer.

        The ping is sent together with what was just published: of thousands of connections that
        costs the server half as much.

        Args:
            again: seconds until it is asked again. Over this connection no other ping is sent
                before that.
        """
        client = self._client
        if client is None:
            return
        try:
            await client.flush()
        except (nats.errors.Error, OSError) as error:
            if client is self._client:
                self.last_error = _reason(error)
                client.drop()
        else:
            client.options["ping_interval"] = max(self._ping_interval, again)

    async def lost(self) -> None:
        """Wait until the present connection is lost; return at once where there is none."""
        if self._client is not None:
            await self._lost.wait()

    # Sending

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
            BrokerUnreachable: no connection, no answer within `timeout` seconds, or nobody there.
        """
        client = await self.client(timeout)
        try:
            return await client.request(subject, payload, timeout=timeout, headers=headers)
        except nats.errors.NoRespondersError as error:
            raise unreachable(f"nothing there answers on {subject!r}") from error
        except (nats.errors.Error, OSError) as error:
            raise unreachable(f"NATS: {_reason(error)}") from error

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message that nothing acknowledges; it is dropped while there is no connection.

        Args:
            reply: the subject on which it may be answered; "" for none.
        """
        client = self._client
        if client is None:
            return
        # A server that is slow to read holds up who publishes, until the connection is dropped.
        with contextlib.suppress(nats.errors.Error, OSError):
            await client.publish(subject, payload, reply)
            await client.room()


def unreachable(reason: str) -> BrokerUnreachable:
    """Return the error for a broker that gave no answer."""
    return BrokerUnreachable(sentence("The broker is out of reach", reason), reason)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _refused(error: BaseException) -> bool:
    """Return whether a server has refused the login, or its certificate is none that is known."""
    if isinstance(error, ssl.SSLCertVerificationError | UnreadableCA):
        return True
    # As the server says it: "Authorization Violation", "User Authentication Expired".
    return isinstance(error, nats.errors.Error) and "auth" in str(error).lower()


def _server(client: Client) -> str:
    url = client.connected_url
    return without_password(url.geturl()) if url is not None else "?"
