"""`towline up` with an engine: pulls on one machine, whatever ends and is started again."""

import os
import re
import shlex
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.testing.cluster import PULL
from tests.testing.command import TOWLINE, CommandLine
from tests.testing.engine import Engine
from tests.testing.ports import free_port
from tests.testing.process import wait_until
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import PushedImage
from tests.testing.terminal import Terminal
from tests.testing.up import ServiceManager, Up, naming


@pytest.fixture
def proxy(engine: Engine) -> Iterator[FaultyProxy]:
    """What stands before the engine."""
    with FaultyProxy.before_engine(engine) as proxy:
        yield proxy


@pytest.fixture
def up(engine: Engine, tmp_path: Path) -> Iterator[Up]:
    """`towline up` that has said "ready"."""
    with Up(tmp_path, "--engine", engine.url) as up:
        up.wait_ready()
        yield up
    assert not naming(tmp_path)


def pull(up: Up, image: PushedImage, prefer: str = "wait=30") -> httpx.Response:
    with up.client() as client:
        body = {"image": image.reference}
        return client.post(f"/node/_any/{PULL}", json=body, headers={"Prefer": prefer})


def pulled(up: Up, image: PushedImage) -> str:
    """Pull an image, which must work, and return the job's id."""
    answer = pull(up, image)
    assert answer.status_code == 202, answer.text
    (result,) = answer.json()["results"]
    assert (result["status"], result["digest"]) == ("ok", image.digest)
    job_id: str = answer.json()["job_id"]
    return job_id


def job_status(up: Up, job_id: str, *, wait: int = 30) -> str:
    with up.client() as client:
        answer = client.get(f"/job/{job_id}", headers={"Prefer": f"wait={wait}"})
    status: str = answer.raise_for_status().json()["status"]
    return status


def last_heartbeat(up: Up) -> str:
    """Return when the last heartbeat of the one node arrived."""
    with up.client() as client:
        (node,) = client.get("/agent").raise_for_status().json()["agents"]
    last: str = node["last_heard"]
    return last


# Starting


def test_ready_is_shown_only_while_a_pull_works(
    proxy: FaultyProxy, image: PushedImage, tmp_path: Path
) -> None:
    proxy.refuse()
    with (
        ServiceManager(str(proxy.socket.parent / "n.sock")) as manager,
        Up(tmp_path, "--engine", proxy.url, env={"NOTIFY_SOCKET": manager.address}) as up,
    ):
        up.wait_for_output("^waiting: cannot connect")
        assert httpx.get(f"{up.url}/health/ready").status_code == 503
        assert "ready" not in up.stdout.splitlines()
        assert manager.count("READY=1") == 0

        proxy.accept()
        up.wait_ready()
        pulled(up, image)
        manager.wait_for("READY=1")

        proxy.refuse()
        wait_until(lambda: up.stdout.count("waiting: cannot connect") == 2)
        wait_until(lambda: "STATUS=waiting: cannot connect" in manager.received[-1].lines[0])
        proxy.accept()
        manager.wait_for("STATUS=ready", times=2)
        assert up.stdout.splitlines()[-1] == "ready"
        assert manager.count("STOPPING=1") == 0

        assert up.stop() == 0
        manager.wait_for("STOPPING=1")
        assert {notification.pid for notification in manager.received} == {up.pid}


def test_beside_it_the_command_line_needs_no_set_up(up: Up, image: PushedImage) -> None:
    towline = CommandLine(up.state)
    done = towline("pull", image.reference, "--on", "_all")
    assert (done.status, done.stderr) == (0, "")
    assert image.digest[:19] in done.stdout
    assert towline("docker", "list", "--on", "_any").status == 0
    assert "Ready" in towline("nodes").stdout
    elsewhere = CommandLine(up.state.parent / "elsewhere")
    assert elsewhere("nodes", "--state", up.state).status == 0
    assert elsewhere("nodes").status == 2


def test_it_asks_its_own_controller_past_any_proxy(engine: Engine, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    env = {"http_proxy": nobody, "no_proxy": None, "NO_PROXY": None}
    with Up(tmp_path, "--engine", engine.url, env=env) as up:
        up.wait_ready()


def test_at_a_terminal_it_says_what_to_type_next_which_works(
    engine: Engine, image: PushedImage, tmp_path: Path
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    towline = CommandLine(tmp_path / "elsewhere")
    up = ("up", "--state", tmp_path / "my state", "--listen", listen, "--engine", engine.url)
    with Terminal([TOWLINE, *up, "--hostname", "web-01"], towline.env) as terminal:
        terminal.wait_for("\nready\n")
        terminal.wait_for("Only this machine reaches it. For others to come in")
        typed = re.findall(rf"^  {TOWLINE} (.*)$", terminal.screen, re.MULTILINE)
        pull, nodes, token = map(shlex.split, typed[:3])
        assert pull[:2] == ["pull", "hello-world"]
        assert towline("pull", image.reference, *pull[2:]).status == 0
        assert "web-01" in towline(*nodes).stdout
        assert towline(*token).status == 0
        assert '{"' not in terminal.screen
        terminal.type("\x03")
        terminal.wait_for("ended")
        assert terminal.wait() == 0
    assert not naming(tmp_path)


# Ending


def test_a_request_that_waits_does_not_hold_up_the_end_and_its_pull_is_taken_up_again(
    proxy: FaultyProxy, image: PushedImage, tmp_path: Path
) -> None:
    with Up(tmp_path, "--engine", proxy.url) as up, ThreadPoolExecutor(1) as caller:
        up.wait_ready()
        proxy.fault = Freeze(match="images/create")
        job_id = pull(up, image, prefer="respond-async").json()["job_id"]
        wait_until(lambda: any("images/create" in line for line in proxy.requests))
        asked = caller.submit(job_status, up, job_id, wait=3000)
        assert up.stop(timeout=30) == 0
        assert not up.survivors()
        assert asked.exception() is not None or asked.result() != "completed"

        proxy.fault = None
        up.start()
        up.wait_ready()
        assert job_status(up, job_id) == "completed"


def test_after_it_was_killed_its_parts_end_and_the_next_one_goes_on(
    up: Up, image: PushedImage
) -> None:
    job_id = pulled(up, image)
    up.kill()
    wait_until(lambda: not up.survivors(), what="the end of all parts")

    up.start()
    up.wait_ready()
    assert len(up.parts()) == 3
    assert job_status(up, job_id) == "completed"
    pulled(up, image)
    assert up.stop() == 0
    assert not up.survivors()


def test_one_started_at_once_after_a_kill_gets_along_with_what_is_left(
    up: Up, image: PushedImage
) -> None:
    job_id = pulled(up, image)
    for _ in range(3):
        up.kill()
        up.start()
    up.wait_ready()
    assert job_status(up, job_id) == "completed"
    pulled(up, image)
    wait_until(lambda: len(up.survivors()) == 4, what="the end of all former parts")


# Keeping


@pytest.mark.parametrize("part", ["controller", "agent", "broker"])
def test_a_part_that_was_killed_is_started_again(up: Up, image: PushedImage, part: str) -> None:
    job_id = pulled(up, image)
    parts = up.parts()
    os.kill(parts[part], signal.SIGKILL)
    wait_until(lambda: up.parts().get(part, parts[part]) != parts[part], what=f"a new {part}")
    up.wait_for_pulls()
    # Until then the node may be here by the last heartbeat of an agent that is dead.
    before = last_heartbeat(up)
    wait_until(lambda: last_heartbeat(up) > before, what="a further heartbeat")
    pulled(up, image)
    assert job_status(up, job_id) == "completed"
    assert {**up.parts(), part: 0} == {**parts, part: 0}


def test_a_broker_that_cannot_be_started_at_once_is_started_as_soon_as_it_can_be(
    up: Up, image: PushedImage
) -> None:
    file = up.state / "broker/nats.conf"
    content = file.read_text()
    file.write_text("none { ")
    os.kill(up.parts()["broker"], signal.SIGKILL)
    up.wait_for(lambda: up.stderr.count("broker not started") >= 2, what="attempts to start it")
    file.write_text(content)
    up.wait_for_pulls()
    pulled(up, image)
