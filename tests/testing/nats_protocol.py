"""NATS's protocol, written by hand: whatever a client library would refuse to send."""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import nkeys  # type: ignore[import-untyped]

from towline.trust.claims import token_in

_SEED = re.compile(r"^SU[A-Z2-7]{56}$", re.MULTILINE)


def signature(credentials: str, nonce: str) -> str:
    """Return the signature that proves that the JWT in the text of a `.creds` file is ours."""
    seed = _SEED.search(credentials)
    assert seed is not None
    signed = nkeys.from_seed(bytearray(seed[0].encode())).sign(nonce.encode())
    return base64.urlsafe_b64encode(signed).decode().rstrip("=")


class Raw:
    """A connection of which every byte is ours.

    `lines` are all that the server has sent, without its pings; a message's body is a line, too.

    Parameters: `port` is the server's on loopback; `credentials` is the text of a `.creds` file;
    `ca` the certificates to encrypt by, None for not at all; `jwt` another token than that in
    `credentials`.
    """

    def __init__(
        self, port: int, credentials: str, ca: str | None = None, *, jwt: str | None = None
    ) -> None:
        self._port = port
        self._credentials = credentials
        self._ca = ca
        self._jwt = jwt or token_in(credentials)
        self.lines: list[str] = []

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        information = json.loads((await self._reader.readline()).removeprefix(b"INFO "))
        if self._ca is not None:
            await self._writer.start_tls(ssl.create_default_context(cafile=self._ca))
        login = {
            "jwt": self._jwt,
            "sig": signature(self._credentials, information["nonce"]),
            **{"verbose": False, "pedantic": False, "headers": True, "no_responders": True},
            **{"lang": "hand", "version": "0", "protocol": 1},
        }
        self.send(f"CONNECT {json.dumps(login)}")
        await self.settle()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def send(self, *lines: str | bytes) -> None:
        """Send lines as they are."""
        for line in lines:
            self._writer.write((line if isinstance(line, bytes) else line.encode()) + b"\r\n")

    def publish(self, subject: str, body: bytes = b"", reply: str = "") -> None:
        """Publish, on whatever is given as a subject."""
        self.send(" ".join(filter(None, ["PUB", subject, reply, str(len(body))])), body)

    def publish_with(self, headers: Sequence[str], subject: str, reply: str = "") -> None:
        """Publish with headers."""
        head = "\r\n".join(["NATS/1.0", *headers, "", ""]).encode()
        sizes = f"{len(head)} {len(head)}"
        self.send(" ".join(filter(None, ["HPUB", subject, reply, sizes])), head)

    async def settle(self) -> list[str]:
        """Return what the server has sent since the last time, once it has done all it was sent.

        What it says of a connection that it ends is the last of it.
        """
        self.send("PING")
        return await self._read("PONG")

    async def until_ended(self) -> list[str]:
        """Return what the server sends until it ends the connection."""
        return await self._read(None)

    async def _read(self, last: str | None) -> list[str]:
        begun = len(self.lines)
        async with asyncio.timeout(30):
            while line := await self._next():
                text = line.decode(errors="replace").rstrip("\r\n")
                if text == last:
                    break
                if text == "PING":
                    self.send("PONG")
                elif not text.startswith("INFO "):
                    self.lines.append(text)
        return self.lines[begun:]

    async def _next(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""


def refusals(lines: Sequence[Any]) -> list[str]:
    """Return those of some lines with which a server refuses what it was sent."""
    return [line for line in lines if line.startswith("-ERR 'Permissions Violation")]
