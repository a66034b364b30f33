"""What commands write where it can't be written, or not as it is: never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.stub import Answer, StubController

TOWLINE = Path(sys.executable).with_name("towline")
TOKEN = "a.b.c"
MADE = {
    **{"token": TOKEN, "id": "0123456789abcdef", "subject": "alice"},
    "expires_at": "2030-01-31T12:00:00Z",
}
WORDS = "größe 中 \U0001f40b"
KEPT = {
    **{"registry": "a", "type": "password", "username": WORDS, "readable": True},
    **{"updated_at": "2030-01-31T12:00:00Z", "updated_by": "alice"},
}
CREATE = ("token", "create", "--subject", "alice", "--role", "read")


@pytest.fixture
def controller() -> Iterator[StubController]:
    with StubController() as stub:
        stub.answers["POST /token"] = Answer(MADE, 201)
        stub.default = Answer({"error": WORDS, "details": "", "code": 409}, 409)
        yield stub


def run(
    controller: StubController, *arguments: str | bytes, closed: str = "", **how: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a command; `closed` are the numbers of the streams that it starts without."""
    env = {
        **os.environ,
        **{"TOWLINE_URL": controller.url, "TOWLINE_TOKEN": TOKEN, "TOWLINE_CONFIG": "/dev/null"},
        **how.pop("env", {}),
    }
    closing = " ".join(f"{number}>&-" for number in closed)
    command = ["/bin/sh", "-c", f'exec "$@" {closing}', "sh", TOWLINE, *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.run(command, env=env, check=False, timeout=60, **streams)


def test_a_token_that_no_disk_takes_is_named_so_that_it_can_be_revoked(
    controller: StubController,
) -> None:
    with open("/dev/full", "wb") as full:
        done = run(controller, *CREATE, stdout=full)
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert said.startswith("towline: Standard output can't be written: No space left on device.")
    assert f"towline token revoke {MADE['id']}" in said
    assert TOKEN not in said
    assert done.returncode == 2


@pytest.mark.parametrize("arguments", [("--help",), CREATE], ids=["--help", "token create"])
def test_with_standard_output_closed_a_command_says_that_nothing_was_printed(
    controller: StubController, arguments: tuple[str, ...]
) -> None:
    done = run(controller, *arguments, closed="1")
    assert done.stderr.startswith(b"towline: Standard output can't be written: it is closed.")
    assert done.returncode == 2


def test_with_standard_error_closed_errors_do_not_turn_up_elsewhere(
    controller: StubController,
) -> None:
    done = run(controller, "cancel", "--all", closed="2")
    assert (done.returncode, done.stdout) == (2, b"")
    done = run(controller, *CREATE, closed="02")
    assert (done.returncode, done.stdout.decode()) == (0, f"{TOKEN}\n")


def test_errors_that_no_disk_takes_are_lost_and_the_status_is_the_same(
    controller: StubController,
) -> None:
    with open("/dev/full", "wb") as full:
        assert run(controller, "health", stderr=full).returncode in (1, 2)


def test_where_nobody_reads_on_a_command_ends_without_a_word_and_as_shells_have_it(
    controller: StubController,
) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = run(controller, "--help", stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("encoding", ["ascii:strict", "iso-8859-1:strict"])
def test_what_an_encoding_has_no_sign_for_is_escaped(
    controller: StubController, encoding: str
) -> None:
    controller.answers["GET /registry"] = Answer({"registries": [KEPT], "total": 1})
    env = {"PYTHONIOENCODING": encoding}
    listed = run(controller, "registry", "list", env=env)
    refused = run(controller, "token", "list", env=env)
    assert (listed.returncode, listed.stderr, refused.stdout) == (0, b"", b"")
    for said in (listed.stdout.decode("iso-8859-1"), refused.stderr.decode("iso-8859-1")):
        assert r"\u4e2d \U0001f40b" in said
        assert ("größe" if "iso" in encoding else r"gr\xf6\xdfe") in said


def test_json_means_the_same_in_any_encoding(controller: StubController) -> None:
    controller.answers["GET /registry"] = Answer({"registries": [KEPT], "total": 1})
    for encoding in ("utf-8", "iso-8859-1:strict"):
        env = {"PYTHONIOENCODING": encoding}
        done = run(controller, "registry", "list", "-o", "json", env=env)
        assert WORDS in str(json.loads(done.stdout)), done


@pytest.mark.parametrize(
    "arguments",
    [("job", "list", "--caller"), ("pull", "nginx", "--on"), ("node", "list", "--url")],
    ids=" ".join,
)
def test_bytes_that_are_no_text_are_refused_by_the_argument(
    controller: StubController, arguments: tuple[str, ...]
) -> None:
    done = run(controller, *arguments, b"caf\xe9")
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert arguments[-1] in said
    assert r"caf\udce9" in said
    assert done.returncode == 2
    assert not controller.asked


def test_a_file_may_be_called_by_any_bytes(controller: StubController, tmp_path: Path) -> None:
    named = os.fsencode(tmp_path) + b"/caf\xe9.toml"
    Path(os.fsdecode(named)).write_text("url = 'nowhere'")
    done = run(controller, "node", "list", "--config", named, env={"TOWLINE_URL": ""})
    assert b"URL is not valid" in done.stderr
