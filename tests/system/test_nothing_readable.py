"""Nothing secret is readable: not between machines, and on disk only in the files that say so."""

import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.testing.command import CommandLine
from tests.testing.namespaces import Cable, PartInside, inside
from tests.testing.process import wait_until
from tests.testing.secrets import forms
from towline.controller.token_keys import load_keys
from towline.trust.keys import CA, create

NODE = "kept-to-itself"
REGISTRY = "registry.kept.internal:5000"
IMAGE = f"{REGISTRY}/kept/image:9.9"
PASSWORD = "kept-p4ssw0rd-of-the-registry"
MARK = b"what is not encrypted is seen"
DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"


@dataclass(frozen=True)
class Pulled:
    """A pull that was carried out on another machine, and what of it may be seen nowhere."""

    cable: Cable
    directory: Path
    job: str
    token: str
    login: str


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulled]:
    """A broker and a controller on one machine, an agent on another, and a pull there.

    The node's engine doesn't answer: what passes between the machines is the same.
    """
    directory = tmp_path_factory.mktemp("machines")
    middle, node = directory / "middle", directory / "node"
    for each in (middle, node):
        each.mkdir(mode=0o700)
    trust = create(middle)
    login = trust.node_login(NODE)
    for name, text in (("node.creds", login), ("ca.pem", trust.path(CA).read_text())):
        (node / name).touch(0o600)
        (node / name).write_text(text)
    with Cable() as cable:
        broker = PartInside(
            *(cable.left, "broker", "--state", middle, "--listen", f"{cable.left_address}:4222"),
            logs=directory,
            name="broker",
        )
        url = f"tls://{cable.left_address}:4222"
        controller = PartInside(
            *(cable.left, "controller", "--state", middle, "--nats", url),
            *("--listen", "127.0.0.1:8080"),
            logs=directory,
            name="controller",
        )
        agent = PartInside(
            *(cable.right, "agent", "--state", node, "--nats", url),
            *("--nats-ca", node / "ca.pem", "--nats-credentials", node / "node.creds"),
            *("--hostname", NODE, "--engine", "tcp://127.0.0.1:1", "--docker-config", "none"),
            logs=directory,
            name="agent",
        )
        with broker, controller:
            broker.wait_for_output("answers at tls://")
            controller.wait_for_output("answers at")
            (node / "jobs.pub").write_bytes((middle / "jobs.pub").read_bytes())
            with agent:
                token = load_keys(middle / "token.key", create=False).create(
                    subject="tests", roles=["admin"], lifetime=3600
                )
                where = {"TOWLINE_URL": "http://127.0.0.1:8080", "TOWLINE_TOKEN": token}
                towline = CommandLine(middle, where, inside(cable.left))
                kept = towline("registry", "set", REGISTRY, "-u", "puller", stdin=PASSWORD)
                assert kept.status == 0, kept
                wait_until(
                    lambda: any(len(each) > 5000 for each in cable.streams()),
                    what="a registration to pass",
                )
                agent.wait_for(lambda: NODE in towline("nodes").stdout, what="the node to be here")
                done = towline("pull", IMAGE, "--on", NODE, "--retries", "0", "-o", "json")
                assert "Docker Engine" in done.stdout, done
                job = re.search(r'"job_id": ?"([0-9a-f-]{36})"', done.stdout)
                assert job is not None, done
                say_in_the_clear(cable)
                yield Pulled(cable, directory, job[1], token, login)


def say_in_the_clear(cable: Cable) -> None:
    """Send what is not encrypted over the cable: it must be found there."""
    said = (
        "import socket; s = socket.create_server(('192.0.2.1', 4000)); print(flush=True);"
        "s.accept()[0].recv(100)"
    )
    sends = f"import socket; socket.create_connection(('192.0.2.1', 4000)).sendall({MARK!r})"
    command = [*inside(cable.left), sys.executable, "-c", said]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as receives:
        assert receives.stdout is not None
        receives.stdout.readline()
        subprocess.run([*inside(cable.right), sys.executable, "-c", sends], check=True)


def test_nothing_of_a_pull_can_be_read_on_the_way_to_its_node(pulled: Pulled) -> None:
    streams = pulled.cable.streams()
    assert any(MARK in stream for stream in streams), "nothing was captured"
    assert sum(len(stream) for stream in streams) > 5000
    jwt = re.search(r"eyJ[\w.-]+", pulled.login)
    seed = re.search(r"SU[A-Z2-7]{56}", pulled.login)
    assert jwt is not None
    assert seed is not None
    for secret in (
        *(pulled.token, PASSWORD, pulled.job, IMAGE, REGISTRY, "kept/image", NODE, "docker.pull"),
        *(jwt[0], seed[0], pulled.login.split(".")[1][:60], f"beat.{NODE}", "PUB ", "HMSG "),
    ):
        assert not any(secret.encode() in stream for stream in streams), secret


def named_files() -> set[str]:
    """Return the files that docs/security.md names, as its tables write them."""
    rows = re.findall(r"(?m)^\| ([^|]*`[^|]*) \|", DOCUMENT.read_text())
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bS[OAUNCX][OAU]?[A-Z2-7]{55,56}\b")


def test_what_is_secret_stands_in_files_that_the_documentation_names_for_their_owner_alone(
    pulled: Pulled,
) -> None:
    named = named_files()
    assert {"token.key", "ca.key", ".creds"} <= named
    files = {
        path: path.read_bytes() for path in pulled.directory.rglob("*") if stat_of(path) is not None
    }
    keys = {
        path: path.read_text().split()[0]
        for path in files
        if path.name in ("token.key", "credentials.key", "jobs.key", "node.key")
    }
    assert len(keys) == 4
    secret = {path for path, data in files.items() if PRIVATE.search(data)} | keys.keys()
    assert len(secret) > 10
    for path in secret:
        relative = path.relative_to(pulled.directory)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, relative
        assert any(str(path).endswith(name) for name in named if len(name) > 4), relative
    for path, data in files.items():
        text = data.decode(errors="replace")
        for owner, key in keys.items():
            assert path == owner or not any(form in text for form in forms(key.encode())), path
        for each in (PASSWORD, pulled.token, pulled.token.rpartition(".")[2]):
            assert each not in text, path


def stat_of(path: Path) -> int | None:
    """Return the mode of a file; None for what is none."""
    mode = path.lstat().st_mode
    return mode if stat.S_ISREG(mode) else None


def test_nobody_else_can_look_into_the_state_directories(pulled: Pulled) -> None:
    for part in ("middle", "node"):
        for path in (pulled.directory / part).rglob("*"):
            if path.name == "jobs.pub" or (mode := stat_of(path)) is None:
                continue
            assert mode & 0o077 == 0 or path.suffix in (".pem", ".pub", ".jwt"), path
