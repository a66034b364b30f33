"""The embedded broker, on a real nats-server."""

import os
import socket
import sys
from pathlib import Path

import nats
import pytest

from tests.testing.disk import Disk
from tests.testing.up import naming
from towline.errors import InvalidConfiguration
from towline.runtime.embedded_broker import EmbeddedBroker
from towline.trust.keys import Trust


async def answers(broker: EmbeddedBroker) -> bool:
    """Return whether it accepts its own credentials and has JetStream."""
    login = str(broker.settings.credentials)
    client = await nats.connect(broker.settings.urls[0], user_credentials=login)
    try:
        await client.jetstream().account_info()
    finally:
        await client.close()
    return True


async def test_after_a_restart_it_is_where_it_was(tmp_path: Path, trust: Trust) -> None:
    async with EmbeddedBroker(tmp_path, trust, "m") as broker:
        assert await answers(broker)
        first = broker.settings
    async with EmbeddedBroker(tmp_path, trust, "m") as broker:
        assert await answers(broker)
        assert broker.settings == first


@pytest.mark.parametrize(
    "name",
    [b"st\xc3\xa4te dir", b"caf\xe9\xff", b"'a' \"b\" %h $HOME \\c {x} # ;", b"a\nb\tc\x07\x7f"],
    ids=["umlauts", "no UTF-8", "punctuation", "no signs"],
)
async def test_its_directory_may_be_called_anything(
    tmp_path: Path, trust: Trust, name: bytes
) -> None:
    directory = tmp_path / os.fsdecode(name)
    async with EmbeddedBroker(directory, trust, "m") as broker:
        assert await answers(broker)
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    assert {"accounts", "data"} <= {*os.listdir(directory)}


async def test_where_its_port_is_taken_it_takes_another_for_good(
    tmp_path: Path, trust: Trust
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "port").write_text(f"{taken.getsockname()[1]}\n")
        async with EmbeddedBroker(tmp_path, trust, "m") as broker:
            assert await answers(broker)
            moved = broker.settings.urls
    async with EmbeddedBroker(tmp_path, trust, "m") as broker:
        assert broker.settings.urls == moved


@pytest.mark.parametrize("name", ["port", "agent.creds", "nats.conf"])
@pytest.mark.parametrize("content", [b"", b"\n", b"0", b"-1", b"99999", b"\xff"])
async def test_what_it_cannot_read_of_its_own_it_makes_anew(
    tmp_path: Path, trust: Trust, name: str, content: bytes
) -> None:
    """An earlier version could leave an empty file when the power was cut."""
    (tmp_path / name).write_bytes(content)
    async with EmbeddedBroker(tmp_path, trust, "m") as broker:
        assert await answers(broker)


async def test_its_files_outlast_a_power_cut(
    tmp_path: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    monkeypatch.setattr(os, "fsync", disk.sync)
    async with EmbeddedBroker(tmp_path / "state" / "broker", trust, "m"):
        kept = disk.after_a_power_cut()
    for name in ("port", "agent.creds", "nats.conf"):
        path = f"state/broker/{name}"
        assert kept[path] == (tmp_path / path).read_text() != ""


@pytest.mark.parametrize("account", ["$G", "JOURNAL"])
async def test_the_journal_of_an_earlier_version_is_refused_and_left_alone(
    tmp_path: Path, trust: Trust, account: str
) -> None:
    stream = tmp_path / "data" / "jetstream" / account / "streams" / "JOBS"
    stream.mkdir(parents=True)
    with pytest.raises(InvalidConfiguration, match="earlier version") as refused:
        async with EmbeddedBroker(tmp_path, trust, "m"):
            pass
    assert "--state" in refused.value.details
    assert stream.exists()
    assert not (tmp_path / "nats.conf").exists()


async def test_a_server_that_does_not_start_is_refused_with_its_last_words(
    tmp_path: Path, trust: Trust
) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(InvalidConfiguration, match="did not start") as refused:
        async with EmbeddedBroker(tmp_path, trust, "m"):
            pass
    assert "storage directory is not a directory" in refused.value.details


async def test_a_server_that_is_not_there_is_refused_by_its_path(
    tmp_path: Path, trust: Trust
) -> None:
    with pytest.raises(InvalidConfiguration, match="did not start") as refused:
        async with EmbeddedBroker(tmp_path, trust, "m", program="/bin/absent"):
            pass
    assert refused.value.details == "/bin/absent: No such file or directory\n"


SILENT = "#!/bin/sh\nwhile :; do sleep 0.1; done\n"
STUBBORN = f"""\
#!{sys.executable}
import re, signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
port = int(re.search(r'127.0.0.1:(\\d+)', open(sys.argv[2]).read())[1])
listener = socket.create_server(("127.0.0.1", port))
time.sleep(600)
"""


def program(directory: Path, text: str) -> str:
    """Write a program, and return its path."""
    path = directory / "program"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


async def test_a_server_that_does_not_answer_in_time_is_refused_and_ended(
    tmp_path: Path, trust: Trust
) -> None:
    server = program(tmp_path, SILENT)
    with pytest.raises(InvalidConfiguration, match="did not start"):
        async with EmbeddedBroker(tmp_path, trust, "m", program=server, start_within=0.2):
            pass
    assert not naming(tmp_path)


async def test_a_server_that_does_not_end_in_time_is_killed(tmp_path: Path, trust: Trust) -> None:
    server = program(tmp_path, STUBBORN)
    async with EmbeddedBroker(tmp_path, trust, "m", program=server, stop_within=0.1) as broker:
        assert naming(tmp_path) == [broker.pid]
    assert not naming(tmp_path)
