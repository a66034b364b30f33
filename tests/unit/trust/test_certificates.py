"""Certificates, as TLS libraries take them: OpenSSL here, Go's in the tests of the broker."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from towline.errors import InvalidConfiguration
from towline.trust.certificates import Authority, Pair, make_authority, names_of_machine


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return written(tmp_path, make_authority())


def written(directory: Path, pair: Pair) -> Authority:
    (directory / "ca.pem").write_text(pair.certificate)
    (directory / "ca.key").write_text(pair.key)
    (directory / "ca.key").chmod(0o600)
    return Authority(directory / "ca.pem", directory / "ca.key")


async def answer(directory: Path, pair: Pair, ca: Path, name: str) -> str:
    """Return what a client receives from a server with a certificate, whom it calls by a name."""
    (directory / "cert.pem").write_text(pair.certificate + pair.key)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(directory / "cert.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()

    client_side = ssl.create_default_context(cafile=ca)
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side) as server:
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(verify=client_side, trust_env=False) as client:
            return (
                await client.get(f"https://127.0.0.1:{port}/", extensions={"sni_hostname": name})
            ).text


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "broker.example", "localhost"])
async def test_a_server_is_known_by_each_of_its_names(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    pair = authority.issue(["127.0.0.1", "::1", "broker.example", "localhost"])
    assert await answer(tmp_path, pair, tmp_path / "ca.pem", name) == "hello"


async def test_a_server_is_known_by_no_other_name(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue(["127.0.0.1", "broker.example"])
    for name in ("127.0.0.2", "example", "other.example", "a.broker.example"):
        with pytest.raises(httpx.ConnectError, match=r"(?i)mismatch"):
            await answer(tmp_path, pair, tmp_path / "ca.pem", name)


async def test_a_server_of_another_authority_is_not_known(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", make_authority())
    with pytest.raises(httpx.ConnectError, match=r"(?i)verify failed"):
        await answer(tmp_path, other.issue(["127.0.0.1"]), tmp_path / "ca.pem", "127.0.0.1")


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64])
def test_what_is_no_name_is_refused(authority: Authority, name: str) -> None:
    with pytest.raises(InvalidConfiguration, match="name"):
        authority.issue([name])


def test_a_machine_has_names_that_certificates_take(authority: Authority) -> None:
    names = names_of_machine()
    assert {"localhost", "127.0.0.1"} <= set(names)
    assert authority.issue(names).certificate


@pytest.mark.parametrize("damage", ["none", "another's", "of another kind", "open to others"])
def test_a_key_that_is_not_the_authority_s_own_is_refused(tmp_path: Path, damage: str) -> None:
    written(tmp_path, make_authority())
    key = tmp_path / "ca.key"
    if damage == "none":
        key.write_text("x")
    elif damage == "another's":
        key.write_text(make_authority().key)
    elif damage == "of another kind":
        key.write_text((tmp_path / "ca.pem").read_text())
    else:
        key.chmod(0o644)
    with pytest.raises(InvalidConfiguration):
        Authority(tmp_path / "ca.pem", key)
