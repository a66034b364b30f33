"""A machine that comes in, as a test has it: its keys, its requests, and what it can alter."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import httpx
from nacl.public import PublicKey

from tests.testing.broker import Broker
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.controller.fleet import Fleet
from towline.controller.joining import Joining
from towline.controller.members import Members
from towline.trust.identity import Keys
from towline.trust.joining import fingerprint_of, machine_of, open_answer, seal_request
from towline.wire.joining import JoinAnswer, JoinRequest, RenewalRequest, Sealed, Statement
from towline.wire.member import PENDING, MemberRecord


def enrolment_key(joining: Joining) -> PublicKey:
    """Return the key to which machines send that come in."""
    statement = Statement(**json.loads(joining.bundle.statement))
    return PublicKey(bytes.fromhex(statement.enrolment))


class Machine:
    """A machine with keys of its own.

    Parameters: `name` is what it calls itself.
    """

    def __init__(self, name: str = "web-01") -> None:
        self.name = name
        self.keys = Keys()

    @property
    def machine(self) -> str:
        """Its machine id, if it is let in."""
        return machine_of(self.keys.nkey)

    def request(
        self,
        token: str,
        to: PublicKey,
        *,
        hostname: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Sealed:
        """Return its request to come in by an invite; "" for none."""
        _, id, secret, _ = token.split(".") if token else ("", "", "", "")
        request = JoinRequest(self.keys.nkey, id, secret, hostname, self.name, dict(labels or {}))
        return seal_request(request, self.keys.seed, self.keys.private, to)

    def renewal(self, to: PublicKey, *, age: float = 0.0, machine: str = "") -> Sealed:
        """Return its request for a new login, as old as that; `machine` is whose, if not its."""
        request = RenewalRequest(self.keys.nkey, machine or self.machine, time.time() - age)
        return seal_request(request, self.keys.seed, self.keys.private, to)

    def read(self, answer: Sealed, request: Sealed, sender: PublicKey) -> JoinAnswer:
        """Return what it was answered."""
        return open_answer(answer, request, self.keys.private, sender)


def put_pending(broker: Broker, hostname: str) -> str:
    """Have a machine wait to be let in, as a controller stores it; return its fingerprint."""
    machine, now = Machine(hostname), time.time()
    record = MemberRecord(
        *(machine.machine, machine.keys.nkey, machine.keys.public_key, hostname, PENDING),
        *("0123456789abcdef", now, "ann", now),
    )

    async def put() -> None:
        async with Connection(Settings([broker.url], broker.credentials), "tests") as connection:
            await Members(JetStream(connection), Fleet()).add(record)

    asyncio.run(put())
    return fingerprint_of(record)


class Between:
    """Whoever stands between a machine and a controller: passes on what they send, or alters it.

    `url` is where the machine takes it for the controller; `received` are the requests' methods
    and bodies. `request` and `answer` alter what is passed on, given method and body.
    """

    def __init__(self, controller: str) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.request: Callable[[str, bytes], bytes] = lambda method, body: body
        self.answer: Callable[[str, bytes], bytes] = lambda method, body: body
        between = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._pass()

            def do_POST(self) -> None:
                self._pass()

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                between.received.append((self.command, body))
                found = httpx.request(
                    self.command,
                    controller + self.path,
                    content=between.request(self.command, body),
                    headers={"Content-Type": "application/json"},
                    timeout=30,
                )
                content = between.answer(self.command, found.content)
                self.send_response(found.status_code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
