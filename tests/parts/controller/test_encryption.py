"""The API encrypted: its limits hold before, in and after handshakes, and certificates change."""

import asyncio
import contextlib
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from towline.controller.http.app import Paths, application
from towline.controller.http.encryption import Certificate, Files
from towline.controller.http.limits import Limits
from towline.controller.http.server import Server, bind
from towline.errors import InvalidConfiguration
from towline.trust.certificates import Authority, Pair, Renewed, make_authority

LARGE = b"x" * 8 * 1024**2
CONNECTIONS, LINGERING = 4, 2
LIMITS = Limits(
    connections_of_address=CONNECTIONS,
    refused=LINGERING,
    head_within=0.5,
    stuck=0.3,
    lingering=1.0,
    look_every=0.05,
)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of a CA, whose key is `ca.key` beside it."""
    directory, made = tmp_path_factory.mktemp("ca"), make_authority()
    (directory / "ca.key").touch(0o600)
    (directory / "ca.key").write_text(made.key)
    (directory / "ca.pem").write_text(made.certificate)
    return directory / "ca.pem"


def authority(ca: Path) -> Authority:
    return Authority(ca, ca.with_name("ca.key"))


class Serving:
    """A server, and connections to it."""

    def __init__(self, ca: Path, source: Callable[[], Pair], limits: Limits = LIMITS) -> None:
        self._listener = bind("127.0.0.1", 0)
        self._context = ssl.create_default_context(cafile=ca)
        self.port: int = self._listener.getsockname()[1]
        certificate = Certificate(source, look_every=0.02)
        paths: Paths = {"/large": {"GET": _large}, "/small": {"GET": _small}}
        self._server = Server(
            *(application(paths), self._listener, lambda: None, limits, certificate),
            stop_within=1,
        )
        assert self._server.url == f"https://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "Serving":
        self._task = asyncio.create_task(self._server.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def open(
        self, *, encrypted: bool = True, address: str = "127.0.0.1"
    ) -> tuple[StreamReader, StreamWriter]:
        """Return a connection."""
        return await asyncio.open_connection(
            *("127.0.0.1", self.port),
            ssl=self._context if encrypted else None,
            local_addr=(address, 0),
        )

    async def ask(self, request: bytes, *, address: str = "127.0.0.1") -> bytes:
        """Return all that is answered on a connection of its own."""
        reader, writer = await self.open(address=address)
        writer.write(request)
        with contextlib.closing(writer):
            return await everything(reader)


async def _large(request: Request) -> Response:
    return Response(LARGE)


async def _small(request: Request) -> Response:
    return Response("small")


def asked(path: str, *more: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *more, "", ""]).encode()


ASKED = asked("/small", "Connection: close")


async def everything(reader: StreamReader) -> bytes:
    """Return what is received before the connection ends, in whatever way."""
    received = b""
    with contextlib.suppress(OSError):
        while piece := await reader.read(2**16):
            received += piece
    return received


@pytest.fixture
async def serving(ca: Path) -> AsyncIterator[Serving]:
    source = Renewed(lambda: authority(ca), lambda: ["127.0.0.1"])
    async with Serving(ca, source) as serving, asyncio.timeout(30):
        yield serving


async def test_it_answers_whoever_verifies_it_by_its_ca(serving: Serving) -> None:
    assert (await serving.ask(ASKED)).endswith(b"small")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a beginning"])
async def test_who_never_ends_a_handshake_is_closed_and_others_are_answered(
    serving: Serving, sent: bytes
) -> None:
    with capture_logs() as logs:
        reader, writer = await serving.open(encrypted=False)
        writer.write(sent)
        ending = asyncio.create_task(everything(reader))
        while not ending.done():
            assert (await serving.ask(ASKED)).endswith(b"small")
        assert await ending == b""
    assert any("handshake has not ended" in str(each.get("reason")) for each in logs)


async def test_what_is_no_tls_is_closed_and_counts_no_more(serving: Serving) -> None:
    for _ in range(2 * CONNECTIONS):
        reader, writer = await serving.open(encrypted=False)
        writer.write(ASKED)
        assert b"HTTP" not in await everything(reader)
        writer.close()
    assert (await serving.ask(ASKED)).endswith(b"small")


async def test_connections_count_before_their_handshake_and_a_refusal_says_why(
    serving: Serving,
) -> None:
    idle = [await serving.open(encrypted=False) for _ in range(CONNECTIONS)]
    answer = await serving.ask(ASKED)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"has 4 connections" in answer
    assert (await serving.ask(ASKED, address="127.0.0.2")).endswith(b"small")
    for _, writer in idle:
        writer.close()
    while b" 429 " in (await serving.ask(ASKED)):
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("told", [0.0, 5.0])
async def test_an_address_begins_so_many_handshakes_and_few_that_are_refused_are_told_why(
    ca: Path, told: float
) -> None:
    limits = Limits(connections_of_address=2, handshakes=0.0, handshakes_at_once=3, told=told)
    source = Renewed(lambda: authority(ca), lambda: ["127.0.0.1"])
    async with Serving(ca, source, limits) as serving, asyncio.timeout(30):
        for _ in range(3):
            assert (await serving.ask(ASKED)).endswith(b"small")
        if told:
            answer = await serving.ask(ASKED)
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"encrypted connections a second" in answer
            assert b"\r\nretry-after: 1\r\n" in answer
        else:
            # Before its handshake: that is what it costs.
            with pytest.raises(OSError, match=r"reset|EOF|SSL|closed"):
                await serving.ask(ASKED)
        assert (await serving.ask(ASKED, address="127.0.0.2")).endswith(b"small")


async def test_of_refused_connections_so_many_have_their_handshake_and_no_more(
    serving: Serving,
) -> None:
    async with contextlib.AsyncExitStack() as opened:
        readers = []
        for _ in range(CONNECTIONS + LINGERING + 1):
            reader, writer = await serving.open(encrypted=False)
            opened.callback(writer.close)
            readers.append(reader)
        # It is closed at once, while those that came before it may still take their time.
        assert await everything(readers.pop()) == b""
        assert not any(each.at_eof() for each in readers)


async def test_a_head_that_trickles_is_ended_and_says_why(serving: Serving) -> None:
    reader, writer = await serving.open()
    writer.write(b"GET /small HTTP/1.1\r\n")
    answer = await everything(reader)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"head has not ended" in answer


async def test_who_sends_too_large_a_head_is_told_so_though_it_sends_on(serving: Serving) -> None:
    reader, writer = await serving.open()
    writer.write(b"GET /small HTTP/1.1\r\nHost: x\r\nX-Large: ")
    with contextlib.suppress(OSError):
        for _ in range(64):
            writer.write(b"x" * 65536)
            await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    assert head.startswith(b"HTTP/1.1 431 ")


async def test_who_takes_nothing_of_an_answer_is_given_up(serving: Serving) -> None:
    held = [await serving.open() for _ in range(CONNECTIONS)]
    for reader, writer in held:
        writer.write(asked("/large"))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    while not (await serving.ask(ASKED)).endswith(b"small"):
        await asyncio.sleep(0.05)
    for _, writer in held:
        writer.transport.abort()


async def test_who_connects_anew_is_shown_a_renewed_certificate_and_no_request_fails(
    ca: Path,
) -> None:
    now = 1.7e9
    source = Renewed(lambda: authority(ca), lambda: ["127.0.0.1"], clock=lambda: now)
    async with Serving(ca, source) as serving, asyncio.timeout(30):
        reader, writer = await serving.open()
        seen: set[bytes] = set()
        # Time passes, or the clock is set: it may have been wrong when the controller started.
        for step in (0.0, 4 * 86400.0, -1e8):
            now += step
            while (shown := await _shown(serving)) in seen:
                writer.write(asked("/small"))
                assert b" 200 " in await reader.readuntil(b"small")
            seen.add(shown)
        writer.close()


async def _shown(serving: Serving) -> bytes:
    reader, writer = await serving.open()
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.write(ASKED)
    assert (await everything(reader)).endswith(b"small")
    writer.close()
    return found


async def test_a_certificate_of_one_s_own_is_read_again_once_both_files_have_changed(
    ca: Path, tmp_path: Path
) -> None:
    first, second = (authority(ca).issue(["127.0.0.1"]) for _ in range(2))
    files = Files(tmp_path / "cert.pem", tmp_path / "key.pem")
    (tmp_path / "key.pem").touch(0o600)
    (tmp_path / "cert.pem").write_text(first.certificate)
    (tmp_path / "key.pem").write_text(first.key)
    async with Serving(ca, files) as serving, asyncio.timeout(30):
        before = await _shown(serving)
        with capture_logs() as logs:
            (tmp_path / "cert.pem").write_text(second.certificate)
            while not any(each["event"] == "certificate not renewed yet" for each in logs):
                assert await _shown(serving) == before
            (tmp_path / "cert.pem").unlink()
            logs.clear()
            while not any("can't be read" in str(each.get("reason")) for each in logs):
                assert await _shown(serving) == before
        (tmp_path / "cert.pem").write_text(second.certificate)
        (tmp_path / "key.pem").write_text(second.key)
        while await _shown(serving) == before:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("damage", ["no key", "another's key", "no PEM", "not there"])
def test_a_certificate_that_can_not_be_used_is_refused(
    ca: Path, tmp_path: Path, damage: str
) -> None:
    pair, other = (authority(ca).issue(["127.0.0.1"]) for _ in range(2))
    (tmp_path / "key.pem").touch(0o600)
    (tmp_path / "key.pem").write_text(
        {"no key": "", "another's key": other.key, "no PEM": "x"}.get(damage, pair.key)
    )
    if damage != "not there":
        (tmp_path / "cert.pem").write_text(pair.certificate)
    with pytest.raises(InvalidConfiguration, match="certificate"):
        Certificate(Files(tmp_path / "cert.pem", tmp_path / "key.pem"))


def test_of_a_key_that_is_open_to_others_is_warned_once(
    ca: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority(ca).issue(["127.0.0.1"])
    (tmp_path / "cert.pem").write_text(pair.certificate)
    (tmp_path / "key.pem").write_text(pair.key)
    (tmp_path / "key.pem").chmod(0o644)
    files = Files(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert files() == files() == pair
    assert [each.levelname for each in caplog.records] == ["WARNING"]
