"""A real NATS server on loopback, and a look at what it holds."""

import asyncio
import contextlib
import json
from pathlib import Path

import nats
import nats.errors
from nats.js.api import StreamState
from nats.js.errors import NotFoundError

from tests.testing.assembly import Assembly
from tests.testing.ports import free_port, listening
from tests.testing.process import Process
from towline.runtime.embedded_broker import server_program

_USER, _PASSWORD = "tests", "broker-secret"


class Broker(Assembly):
    """A nats-server with JetStream that wants credentials.

    `stop`, `kill` and `start` take it away and bring it back, on the same port with its data.

    Parameters: `directory` holds its data, configuration, credentials and log; `storage` is how
    much it may store, in its configuration's words.
    """

    def __init__(self, directory: Path, *, storage: str | None = None) -> None:
        super().__init__()
        self.port = free_port()
        self.credentials = directory / "credentials"
        self.credentials.write_text(f"{_USER}:{_PASSWORD}")
        self.credentials.chmod(0o600)
        configuration = directory / "nats.conf"
        limit = f", max_file_store: {storage}" if storage else ""
        configuration.write_text(
            f"""\
listen: "127.0.0.1:{self.port}"
max_payload: 8388608
authorization {{ user: {json.dumps(_USER)}, password: {json.dumps(_PASSWORD)}, timeout: 10 }}
ping_interval: "20s"
jetstream {{ store_dir: {json.dumps(str(directory / "data"))}, sync_interval: always{limit} }}
"""
        )
        self.process = Process(
            "nats-server", [server_program(), "-c", configuration], logs=directory
        )

    def _start(self) -> None:
        self._parts.callback(self.process.close)
        self.start()

    @property
    def url(self) -> str:
        """Where it listens, without credentials."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """What must stand in no log."""
        return _PASSWORD

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self.process.start()
        self.process.wait_for(lambda: listening(self.port), what=f"port {self.port} open")

    def stop(self) -> None:
        """Stop it as a service manager would."""
        self.process.stop()

    def last_sequence(self, stream: str) -> int:
        """Return how many messages a stream has ever been given."""
        return self._state(stream).last_seq

    def subjects(self, stream: str, wanted: str = ">") -> set[str]:
        """Return the subjects on which a stream holds messages, of those that are wanted."""
        return set(self._state(stream, wanted).subjects or {})

    def messages(self, stream: str) -> list[tuple[str, bytes]]:
        """Return subject and body of all messages that a stream holds."""

        async def ask() -> list[tuple[str, bytes]]:
            client = await nats.connect(self.url, user=_USER, password=_PASSWORD)
            try:
                known = client.jetstream()
                state = (await known.stream_info(stream)).state
                found = []
                for sequence in range(max(1, state.first_seq), state.last_seq + 1):
                    with contextlib.suppress(NotFoundError):
                        message = await known.get_msg(stream, sequence)
                        found.append((message.subject or "", message.data or b""))
                return found
            finally:
                await client.close()

        return asyncio.run(ask())

    def has_subscribers(self, subject: str) -> bool:
        """Return whether anybody listens to a subject; they get a message that holds nothing."""

        async def ask() -> bool:
            client = await nats.connect(self.url, user=_USER, password=_PASSWORD)
            try:
                await client.request(subject, b"", timeout=0.2)
            except nats.errors.NoRespondersError:
                return False
            except TimeoutError:
                return True
            finally:
                await client.close()
            return True

        return asyncio.run(ask())

    def publish(self, subject: str, body: bytes) -> None:
        """Store a message in the stream that holds a subject."""

        async def send() -> None:
            client = await nats.connect(self.url, user=_USER, password=_PASSWORD)
            try:
                await client.jetstream().publish(subject, body)
            finally:
                await client.close()

        asyncio.run(send())

    def streams(self) -> list[str]:
        """Return the names of all streams, those of key-value buckets among them."""

        async def ask() -> list[str]:
            client = await nats.connect(self.url, user=_USER, password=_PASSWORD)
            try:
                return [info.config.name or "" for info in await client.jetstream().streams_info()]
            finally:
                await client.close()

        return asyncio.run(ask())

    def _state(self, stream: str, subjects: str | None = None) -> StreamState:
        async def ask() -> StreamState:
            client = await nats.connect(self.url, user=_USER, password=_PASSWORD)
            try:
                return (await client.jetstream().stream_info(stream, subjects)).state
            finally:
                await client.close()

        return asyncio.run(ask())
