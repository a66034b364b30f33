"""`towline up` refuses what can't work: in words, before anything of it runs."""

import os
import socket
from pathlib import Path

import pytest

from tests.testing.cluster import NO_ENGINE
from tests.testing.command import CommandLine
from tests.testing.process import TowlineProcess
from tests.testing.up import Up

REFUSED: dict[str, tuple[list[str], dict[str, str], str]] = {
    "an engine URL of an unknown scheme": (["--engine", "ftp://x"], {}, "'ftp://x'"),
    "an engine URL without a scheme": (["--engine", "/run/docker.sock"], {}, "'/run/docker.sock'"),
    "an engine URL without an address": (["--engine", "unix://"], {}, "'unix://'"),
    "an address without a port": (["--listen", "127.0.0.1"], {}, "'127.0.0.1'"),
    "a port that is no number": (["--listen", "127.0.0.1:http"], {}, "'127.0.0.1:http'"),
    "a port past the last": (["--listen", "127.0.0.1:65536"], {}, "'127.0.0.1:65536'"),
    "a port in other digits": (["--listen", "127.0.0.1:8²"], {}, "'127.0.0.1:8²'"),
    "a host that can be none": (["--listen", "a..b:80"], {}, "a..b:80"),
    "another machine's address": (["--listen", "192.0.2.1:80"], {}, "192.0.2.1:80"),
    "a label that is none": (["--label", "web"], {}, "'web'"),
    "a label given twice": (["--label", "a:b", "--label", "a:c"], {}, "'a'"),
    "a hostname that is none": (["--hostname", "web 01"], {}, "'web 01'"),
    "a machine id that is none": (["--machine-id", "a.b"], {}, "'a.b'"),
    "a log level that is none": (["--log-level", "loud"], {}, "'loud'"),
    "a duration that is none": ([], {"TOWLINE_WAIT": "soon"}, "'soon'"),
    "a heartbeat that is none": ([], {"TOWLINE_HEARTBEAT": "often"}, "'often'"),
    "a retention too long": ([], {"TOWLINE_RETENTION": "300d"}, "'300d'"),
    "a retention too small": ([], {"TOWLINE_RETENTION_SIZE": "1MB"}, "'1MB'"),
    "a number that is none": ([], {"TOWLINE_REPLICAS": "two"}, "replicas"),
    "operations that are not there": ([], {"TOWLINE_OPERATIONS": "no.such"}, "'no.such'"),
    "a key file that is not there": ([], {"TOWLINE_TOKEN_KEY": "/no/key"}, "'/no/key'"),
    "a file that is not there": (["--config", "/no/file"], {}, "'/no/file'"),
}


def refused(up: Up) -> str:
    """Run what must be refused, and return what it says: all on standard error, nothing left."""
    with up:
        assert up.wait() == 2
        assert not up.survivors()
    assert up.stdout == ""
    assert up.stderr.startswith("towline: ")
    assert "Traceback" not in up.stderr
    return up.stderr


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_work_is_refused_by_its_name(what: str, tmp_path: Path) -> None:
    arguments, env, named = REFUSED[what]
    with_engine = [] if "--engine" in arguments else ["--engine", NO_ENGINE]
    assert named in refused(Up(tmp_path, *with_engine, *arguments, env=env))


def test_a_port_that_is_taken_is_refused_by_its_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(Up(tmp_path, "--listen", listen, "--engine", NO_ENGINE))
    assert listen in said
    assert "in use" in said


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('lables = ["group:web"]', "'lables'"),
        ("[controller]\nwait = '5s'", "'controller'"),
        ("wait = 5s", "line 1"),
        ("labels = 'group:web'", "labels"),
        ("wait = 30", "wait"),
        ("\udcff", "can't be read"),
    ],
)
def test_a_configuration_file_that_is_not_valid_is_refused_by_what_is_wrong(
    content: str, named: str, tmp_path: Path
) -> None:
    file = tmp_path / "towline.toml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    said = refused(Up(tmp_path, "--config", file, "--engine", NO_ENGINE))
    assert named in said


def test_a_state_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "state", Path("/proc/towline")):
        assert repr(str(path)) in refused(Up(tmp_path, "--engine", NO_ENGINE, state=path))


def test_a_state_directory_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    os.chown(closed, 65534, 65534)
    up = Up(tmp_path, "--engine", NO_ENGINE, state=closed)
    # Root is above permissions by its capabilities.
    up.command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *up.command]
    assert repr(str(closed)) in refused(up)
    assert not list(closed.iterdir())


def test_a_second_one_on_the_same_state_is_refused_and_the_first_goes_on(
    up: Up, tmp_path: Path
) -> None:
    parts = up.parts()
    second = TowlineProcess("up", "--state", up.state, logs=tmp_path, name="second")
    with second:
        assert second.wait() == 2
    assert second.stdout == ""
    assert repr(str(up.state)) in second.stderr
    assert str(up.pid) in second.stderr
    assert up.parts() == parts
    assert CommandLine(up.state)("nodes").status == 0
