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
from tests.testing.signing import write_keys
from towline.runtime.nats_server import server_program

JOURNAL_USER, _PASSWORD = "tests", "broker-secret"
NODES_USER, NODES_PASSWORD = "controllers", "nodes-secret"
AGENTS_USER, AGENTS_PASSWORD = "agents", "agents-secret"

ACCOUNTS = f"""\
accounts {{
  JOURNAL: {{ jetstream: enabled, users: [{{ user: {JOURNAL_USER}, password: "{_PASSWORD}" }}] }}
  NODES: {{ limits: {{ max_payload: 2097152 }}, users: [
    {{ user: {NODES_USER}, password: "{NODES_PASSWORD}" }}
    {{ user: {AGENTS_USER}, password: "{AGENTS_PASSWORD}", permissions: {{
      publish: {{ allow: [
        "report.*", "report.*.again", "beat.*", "progress.*.*", "inventory.*", "ask.*.*",
        "answer.*.*"
      ] }}
      subscribe: {{ allow: ["task.*.*", "task._all", "_INBOX.>"] }}
    }} }}
  ] }}
}}
authorization {{ timeout: 10 }}
"""
"""The accounts of the journal and of the nodes, in a server's configuration."""


class Logins:
    """The files with what each part logs in with.

    `credentials` is for the journal, `nodes` for controllers and `agents` for agents among the
    nodes.

    Parameters: `directory` is where they are written.
    """

    def __init__(self, directory: Path) -> None:
        self.credentials = self._write(directory / "credentials", JOURNAL_USER, _PASSWORD)
        self.nodes = self._write(directory / "nodes-credentials", NODES_USER, NODES_PASSWORD)
        self.agents = self._write(directory / "agent-credentials", AGENTS_USER, AGENTS_PASSWORD)

    def _write(self, path: Path, user: str, password: str) -> Path:
        path.write_text(f"{user}:{password}")
        path.chmod(0o600)
        return path


class Broker(Assembly):
    """A nats-server with JetStream that wants credentials.

    `stop`, `kill` and `start` take it away and bring it back, on the same port with its data.

    Parameters: `directory` holds its data, configuration, credentials and log; `storage` is how
    much it may store, in its configuration's words.
    """

    def __init__(self, directory: Path, *, storage: str | None = None) -> None:
        super().__init__()
        self.port = free_port()
        self.logins = Logins(directory)
        self.job_key, self.job_keys = write_keys(directory)
        configuration = directory / "nats.conf"
        limit = f", max_file_store: {storage}" if storage else ""
        configuration.write_text(
            f"""\
listen: "127.0.0.1:{self.port}"
max_payload: 8388608
ping_interval: "20s"
{ACCOUNTS}
jetstream {{ store_dir: {json.dumps(str(directory / "data"))}, sync_interval: always{limit} }}
"""
        )
        self.process = Process(
            "nats-server", [server_program(), "-c", configuration], logs=directory
        )

    def _start(self) -> None:
        self._parts.callback(self.process.close)
        self.start()

    def prepare(self, state: Path) -> None:
        """Put into a controller's state directory what it needs to reach it."""

    @property
    def credentials(self) -> Path:
        """The login of the journal's account."""
        return self.logins.credentials

    @property
    def journal_login(self) -> list[str]:
        """What a controller is given to reach it."""
        nodes = ["--nodes-credentials", str(self.logins.nodes)]
        keys = ["--job-key", str(self.job_key)]
        return ["--nats", self.url, "--nats-credentials", str(self.credentials), *nodes, *keys]

    @property
    def agent_login(self) -> list[str]:
        """What an agent is given to reach it."""
        keys = ["--job-keys", str(self.job_keys)]
        return ["--nats", self.url, "--nats-credentials", str(self.logins.agents), *keys]

    def login_of(self, hostname: str) -> list[str]:
        """Return what the agent of one node is given."""
        return self.agent_login

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

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

    def kill(self) -> None:
        """End it as the kernel would."""
        self.process.kill()

    @property
    def log(self) -> str:
        """All that the server has said, over all its starts."""
        return self.process.stderr

    def last_sequence(self, stream: str) -> int:
        """Return how many messages a stream has ever been given."""
        return self._state(stream).last_seq

    def subjects(self, stream: str, wanted: str = ">") -> set[str]:
        """Return the subjects on which a stream holds messages, of those that are wanted."""
        return set(self._state(stream, wanted).subjects or {})

    def messages(self, stream: str) -> list[tuple[str, bytes]]:
        """Return subject and body of all messages that a stream holds."""

        async def ask() -> list[tuple[str, bytes]]:
            client = await nats.connect(self.url, user=JOURNAL_USER, password=_PASSWORD)
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
        """Return whether anybody listens among the nodes; they get a message that holds nothing."""

        async def ask() -> bool:
            client = await nats.connect(self.url, user=NODES_USER, password=NODES_PASSWORD)
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
            client = await nats.connect(self.url, user=JOURNAL_USER, password=_PASSWORD)
            try:
                await client.jetstream().publish(subject, body)
            finally:
                await client.close()

        asyncio.run(send())

    def streams(self) -> list[str]:
        """Return the names of all streams, those of key-value buckets among them."""

        async def ask() -> list[str]:
            client = await nats.connect(self.url, user=JOURNAL_USER, password=_PASSWORD)
            try:
                return [info.config.name or "" for info in await client.jetstream().streams_info()]
            finally:
                await client.close()

        return asyncio.run(ask())

    def _state(self, stream: str, subjects: str | None = None) -> StreamState:
        async def ask() -> StreamState:
            client = await nats.connect(self.url, user=JOURNAL_USER, password=_PASSWORD)
            try:
                return (await client.jetstream().stream_info(stream, subjects)).state
            finally:
                await client.close()

        return asyncio.run(ask())
