"""`towline up`: everything on one machine, kept running, and ended without a trace."""

import os
import shlex
import signal
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.testing.cluster import NO_ENGINE, PULL
from tests.testing.command import CommandLine
from tests.testing.engine import Engine, EngineKind, running_engines
from tests.testing.ports import free_port
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import PushedImage
from tests.testing.up import ServiceManager, Up, naming


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One engine of one kind: the kinds differ in the pull, which is tested elsewhere."""
    with running_engines(EngineKind.CLASSIC, 1) as (engine,):
        yield engine


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


def heard(up: Up) -> str:
    """Return when the one node was heard last."""
    with up.client() as client:
        (node,) = client.get("/agent").raise_for_status().json()["agents"]
    assert node["status"] == "Ready"
    last: str = node["last_heard"]
    return last


# Starting


def test_ready_is_said_only_while_a_pull_works(
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
        wait_until(lambda: "STATUS=waiting: cannot connect" in manager.told[-1].lines[0])
        proxy.accept()
        manager.wait_for("STATUS=ready", times=2)
        assert up.stdout.splitlines()[-1] == "ready"
        assert manager.count("STOPPING=1") == 0

        assert up.stop() == 0
        manager.wait_for("STOPPING=1")
        assert {notification.pid for notification in manager.told} == {up.pid}


def test_it_prints_where_it_answers_and_a_command_that_makes_a_token(
    engine: Engine, tmp_path: Path
) -> None:
    with Up(tmp_path, "--engine", engine.url, state="a b/state", cwd=tmp_path) as up:
        up.wait_ready()
        answers, token, *rest = up.stdout.splitlines()
        assert answers == f"Towline answers at {up.url}"
        assert rest[-1] == "ready"
        assert all(line.startswith("waiting: ") for line in rest[:-1])

        command = shlex.split(token.removeprefix("A token: "))
        made = CommandLine(tmp_path)(*("alice" if word == "NAME" else word for word in command[1:]))
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        (node,) = httpx.get(f"{up.url}/agent", headers=headers).raise_for_status().json()["agents"]
        assert node["hostname"] == socket.gethostname()


def test_beside_it_the_command_line_needs_no_set_up(up: Up, image: PushedImage) -> None:
    towline = CommandLine(up.state)
    done = towline("pull", image.reference, "--on", "_all")
    assert (done.status, done.stderr) == (0, "")
    assert image.digest in done.stdout
    assert towline("docker", "list", "--on", "_any").status == 0
    assert "Ready" in towline("nodes").stdout
    elsewhere = CommandLine(up.state.parent / "elsewhere")
    assert elsewhere("nodes", "--state", up.state).status == 0
    assert elsewhere("nodes").status == 1


def test_settings_reach_the_parts(tmp_path: Path) -> None:
    tmp_path.joinpath("towline.toml").write_text(
        'labels = ["rack:r12"]\n[roles]\nguard = ["agent:read"]'
    )
    file = str(tmp_path / "towline.toml")
    with Up(tmp_path, "--config", file, "--hostname", "web-01", "--engine", NO_ENGINE) as up:
        up.wait_for_output("^waiting: no reachable node has a Docker Engine")
        towline = CommandLine(up.state, env={"TOWLINE_CONFIG": file})
        token = towline("token", "create", "--subject", "bob", "--role", "guard").stdout.strip()
        headers = {"Authorization": f"Bearer {token}"}
        (node,) = httpx.get(f"{up.url}/agent", headers=headers).raise_for_status().json()["agents"]
        assert (node["hostname"], node["labels"]) == ("web-01", {"rack": "r12"})


def test_it_asks_its_own_controller_past_any_proxy(engine: Engine, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    env = {"http_proxy": nobody, "no_proxy": None, "NO_PROXY": None}
    with Up(tmp_path, "--engine", engine.url, env=env) as up:
        up.wait_ready()


def test_what_is_secret_is_for_its_owner_alone_whatever_the_umask(
    engine: Engine, tmp_path: Path
) -> None:
    up = Up(tmp_path, "--engine", engine.url)
    up.command = ["/bin/sh", "-c", 'umask 000; exec "$@"', "sh", *up.command]
    with up:
        up.wait_ready()
        paths = [up.state, *up.state.rglob("*")]
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
        for name in (
            "token.key",
            "credentials.key",
            "node.key",
            "broker/credentials",
            "broker/nats.conf",
            "controller.url",
        ):
            assert modes[up.state / name] == 0o600
        assert modes[up.state] == modes[up.state / "broker"] == 0o700


# Refusing


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
        assert up.wait() == 1
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
    up: Up, image: PushedImage, tmp_path: Path
) -> None:
    parts = up.parts()
    second = TowlineProcess("up", "--state", up.state, logs=tmp_path, name="second")
    with second:
        assert second.wait() == 1
    assert second.stdout == ""
    assert repr(str(up.state)) in second.stderr
    assert str(up.pid) in second.stderr
    assert up.parts() == parts
    assert CommandLine(up.state)("nodes").status == 0
    pulled(up, image)


# Ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_parts_with_status_0(up: Up, number: signal.Signals) -> None:
    assert up.parts().keys() == {"broker", "controller", "agent"}
    up.signal(number)
    assert up.wait() == 0
    assert not up.survivors()
    assert not naming(up.state)
    assert not (up.state / "controller.url").exists()
    assert "Traceback" not in up.stderr


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_signal_while_it_starts_leaves_nothing(parts: int, tmp_path: Path) -> None:
    with Up(tmp_path, "--engine", NO_ENGINE) as up:
        wait_until(lambda: len(up.parts()) >= parts)
        up.signal(signal.SIGTERM)
        assert up.wait() == 0
        assert not up.survivors()
    assert "Traceback" not in up.stderr


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
    broker = up.parts()["broker"]
    up.kill()
    wait_until(lambda: up.survivors() == [broker], what="the end of controller and agent")

    up.start()
    up.wait_ready()
    assert broker not in up.survivors()
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


@pytest.mark.parametrize("other", ["{}/state", "link/state"])
def test_an_orphaned_broker_is_found_however_the_directory_is_written(
    other: str, engine: Engine, image: PushedImage, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with Up(tmp_path, "--engine", engine.url, state="state", cwd=tmp_path) as first:
        first.wait_ready()
        job_id = pulled(first, image)
        orphan = first.parts()["broker"]
        first.kill()
        state = other.format(tmp_path)
        with Up(tmp_path, "--engine", engine.url, state=state, cwd=tmp_path) as second:
            second.wait_ready()
            assert second.parts()["broker"] != orphan
            assert not first.survivors()
            assert job_status(second, job_id) == "completed"


# Keeping


@pytest.mark.parametrize("part", ["controller", "agent", "broker"])
def test_a_part_that_was_killed_is_started_again(up: Up, image: PushedImage, part: str) -> None:
    job_id = pulled(up, image)
    before = up.parts()
    os.kill(before[part], signal.SIGKILL)
    wait_until(lambda: up.parts().get(part, before[part]) != before[part], what=f"a new {part}")
    up.wait_for_pulls()
    pulled(up, image)
    assert job_status(up, job_id) == "completed"
    assert {**up.parts(), part: 0} == {**before, part: 0}
    last_heard = heard(up)
    wait_until(lambda: heard(up) > last_heard, what="a further heartbeat")


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
