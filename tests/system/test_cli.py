"""The command line: what it prints and where, and its exit status."""

import getpass
import json
import os
import re
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import httpx
import jwt
import pytest

from tests.testing.cluster import DB_1, NO_ENGINE, PULL, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.command import CommandLine, Finished
from tests.testing.engine import Engine, EngineKind, running_engines
from tests.testing.ports import free_port
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.proxy import Answer, FaultyProxy, Freeze
from tests.testing.registry import PushedImage
from towline.cli.commands import cli

NOWHERE = "550e8400-e29b-41d4-a716-446655440000"
AS_NOBODY_SPECIAL = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Root without the capabilities that put it above permissions."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running_engines(EngineKind.CLASSIC, 1) as (engine,):
        yield engine


@pytest.fixture(scope="module")
def _gate(engine: Engine) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_engine(engine) as proxy:
        yield proxy


@pytest.fixture
def proxy(_gate: FaultyProxy) -> Iterator[FaultyProxy]:
    """What stands between the node `web-01` and its engine."""
    yield _gate
    _gate.fault = None


@pytest.fixture(scope="module")
def mixed(_gate: FaultyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes: with an engine, with one that is down, and with none."""
    plans = [
        NodePlan(WEB_1, _gate.url, ("group:web.dev",)),
        NodePlan(WEB_2, "unix:///nowhere.sock", ("group:web.prod",)),
        NodePlan(DB_1, NO_ENGINE, ("group:db",)),
    ]
    with Cluster(tmp_path_factory.mktemp("mixed"), plans) as cluster:
        yield cluster


@pytest.fixture
def towline(mixed: Cluster, tmp_path: Path) -> CommandLine:
    """Commands that know the cluster and have a token that may pull."""
    env = {"TOWLINE_URL": mixed.url, "TOWLINE_TOKEN": mixed.token("write")}
    return CommandLine(tmp_path, env)


def rows(table: str) -> list[dict[str, str]]:
    """Read a table that has been printed; its columns are two blanks apart."""
    head, *lines = table.splitlines()
    starts = [match.start() for match in re.finditer(r"(?:^|(?<=  ))\S", head)]
    ends = [*starts[1:], None]

    def cells(line: str) -> list[str]:
        return [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]

    return [dict(zip(cells(head), cells(line), strict=True)) for line in lines]


def failed(done: Finished, status: int = 1) -> str:
    """Check that nothing but an error was written, and return it."""
    assert (done.status, done.stdout) == (status, "")
    assert done.stderr
    return done.stderr


# Results


@pytest.mark.parametrize(
    ("target", "statuses", "status"),
    [
        (WEB_1, {WEB_1: "ok"}, 0),
        ("_any", {WEB_1: "ok"}, 0),
        ("group:web.dev", {WEB_1: "ok"}, 0),
        (WEB_2, {WEB_2: "failed"}, 1),
        (DB_1, {DB_1: "skipped"}, 1),
        ("group:web", {WEB_1: "ok", WEB_2: "failed"}, 1),
        ("_all", {WEB_1: "ok", WEB_2: "failed", DB_1: "skipped"}, 1),
    ],
)
def test_the_status_of_a_pull_is_0_only_if_every_node_succeeded(
    towline: CommandLine, image: PushedImage, target: str, statuses: dict[str, str], status: int
) -> None:
    done = towline("pull", image.reference, "--on", target, "--retries", "0")
    assert {row["HOSTNAME"]: row["STATUS"] for row in rows(done.stdout)} == statuses
    assert done.status == status
    assert done.stderr == ""


def test_a_pull_prints_what_each_node_has(
    towline: CommandLine, engine: Engine, image: PushedImage
) -> None:
    done = towline("docker", "pull", image.reference, "--on", "group:web", "--retries", "0")
    good, bad = rows(done.stdout)
    found = engine.image(image.reference)
    assert found is not None
    assert good == {
        "HOSTNAME": WEB_1,
        "STATUS": "ok",
        "IMAGE ID": found["Id"],
        "SIZE": str(found["Size"]),
        "CHANGED": "yes",
        "TAG": "1.0",
        "DIGEST": image.digest,
        "ERROR": "-",
    }
    assert bad["HOSTNAME"] == WEB_2
    assert "cannot connect" in bad["ERROR"]
    (again,) = rows(towline("pull", image.reference, "--on", WEB_1).stdout)
    assert again["CHANGED"] == "no"


def test_json_is_what_the_api_answers_and_nothing_else(
    mixed: Cluster, towline: CommandLine, image: PushedImage
) -> None:
    done = towline("pull", image.reference, "--on", "_all", "-o", "json", "--retries", "0")
    assert (done.status, done.stderr) == (1, "")
    said = json.loads(done.stdout)
    job = mixed.job(said["job_id"])
    assert said.keys() == {"job_id", "results"}
    by_name = {result["hostname"]: result for result in said["results"]}
    assert by_name == {result["hostname"]: result for result in job["results"]}

    assert json.loads(towline("job", job["id"], "-o", "json").stdout) == job
    nodes = json.loads(towline("nodes", "--output", "json").stdout)
    assert {node["hostname"]: node["machine_id"] for node in nodes} == {
        name: (mixed.node(name) or {})["machine_id"] for name in (WEB_1, WEB_2, DB_1)
    }
    asked = ("pull", image.reference, "--on", WEB_2, "-o", "json", "--retries", "0")
    single = json.loads(towline(*asked).stdout)
    assert mixed.job(single["job_id"])["results"] == single["results"]


def test_reads_print_what_each_node_says(towline: CommandLine) -> None:
    done = towline("node", "load", "--on", "_all")
    assert (done.status, done.stderr) == (0, "")
    assert {row["HOSTNAME"] for row in rows(done.stdout)} == {WEB_1, WEB_2, DB_1}
    assert all("1min" in json.loads(row["LOAD AVERAGE"]) for row in rows(done.stdout))

    done = towline("docker", "list", "--on", WEB_1, "--state", "running", "--limit", "5")
    assert (done.status, done.stderr) == (0, "")
    assert [row["CONTAINERS"] for row in rows(done.stdout)] == ["[]"]


def test_nodes_shows_who_is_there_and_what_does_not_work(towline: CommandLine) -> None:
    done = towline("nodes")
    assert (done.status, done.stderr) == (0, "")
    found = {row["HOSTNAME"]: row for row in rows(done.stdout)}
    assert found[WEB_1]["STATE"] == found[DB_1]["STATE"] == "Ready"
    assert found[WEB_1]["LABELS"] == "group:web.dev"
    assert found[WEB_2]["STATE"].startswith("Ready; docker: cannot connect")


def test_a_job_is_shown_node_by_node_and_moment_by_moment(
    mixed: Cluster, towline: CommandLine, image: PushedImage
) -> None:
    answer = mixed.pull("_all", image.reference, retries=0)
    done = towline("job", answer.json()["job_id"])
    assert (done.status, done.stderr) == (0, "")
    head, results, moments = done.stdout.split("\n\n")
    assert f"job        {answer.json()['job_id']}" in head
    assert "status     partial_failure" in head
    assert image.reference in head
    assert {row["STATUS"] for row in rows(results)} == {"ok", "failed", "skipped"}
    assert [row["EVENT"] for row in rows(moments) if row["NODE"] == WEB_1] == [
        "started",
        "completed",
    ]


def test_of_a_node_that_is_away_it_says_since_when_and_how_to_learn_the_rest(
    mixed: Cluster, towline: CommandLine, image: PushedImage
) -> None:
    agent = mixed.agents[DB_1]
    assert agent.stop() == 0
    mixed.wait_away(DB_1)
    try:
        done = towline("pull", image.reference, "--on", "_all", "--retries", "0")
        away = {row["HOSTNAME"]: row for row in rows(done.stdout)}[DB_1]
        assert (done.status, away["STATUS"]) == (1, "pending")
        assert "not reachable since" in away["ERROR"]
        said = re.fullmatch(r"not done yet: towline job (\S+) tells the rest\n", done.stderr)
        assert said is not None
        assert DB_1 in towline("job", said[1]).stdout

        done = towline("node", "load", "--on", "_all")
        assert done.status == 1
        assert {row["STATUS"] for row in rows(done.stdout)} == {"ok", "failed"}
        assert "not reachable since" in failed(towline("node", "load", "--on", DB_1))
        state = {row["HOSTNAME"]: row["STATE"] for row in rows(towline("nodes").stdout)}
        assert state[DB_1] == "NotReady"
    finally:
        agent.start()
        mixed.wait_here(DB_1)


@pytest.mark.parametrize("wait", ["0", "1s"])
def test_a_wait_that_runs_out_says_that_the_job_goes_on(
    mixed: Cluster, towline: CommandLine, proxy: FaultyProxy, image: PushedImage, wait: str
) -> None:
    proxy.fault = Freeze(match="images/create")
    done = towline("pull", image.reference, "--on", WEB_1, "--wait", wait)
    assert done.status == 1
    assert [row["STATUS"] in ("pending", "running") for row in rows(done.stdout)] == [True]
    said = re.fullmatch(r"not done yet: towline job (\S+) tells the rest\n", done.stderr)
    assert said is not None
    proxy.fault = None
    assert mixed.ended(said[1])["status"] == "completed"
    assert "status     completed" in towline("job", said[1]).stdout


def test_an_interrupt_ends_the_command_and_not_the_job(
    mixed: Cluster, proxy: FaultyProxy, image: PushedImage, tmp_path: Path
) -> None:
    def ended() -> int:
        return mixed.agents[WEB_1].stderr.count('"task ended"')

    asked_before, ended_before = len(proxy.requests), ended()
    proxy.fault = Freeze(match="images/create")
    command = TowlineProcess(
        *("pull", image.reference, "--on", WEB_1, "--url", mixed.url, "--state", tmp_path),
        logs=tmp_path,
        env={"TOWLINE_TOKEN": mixed.token("write")},
    )
    with command:
        wait_until(lambda: "images/create" in str(proxy.requests[asked_before:]))
        command.signal(signal.SIGINT)
        assert command.wait() == 1
    assert "Traceback" not in command.stderr
    assert ended() == ended_before
    proxy.fault = None
    wait_until(lambda: ended() > ended_before, what="the end of the pull")


def test_a_token_that_may_only_pull_is_enough_to_pull(
    mixed: Cluster, proxy: FaultyProxy, image: PushedImage, tmp_path: Path
) -> None:
    token = mixed.token(permissions=["docker:write"])
    towline = CommandLine(tmp_path, {"TOWLINE_URL": mixed.url, "TOWLINE_TOKEN": token})
    assert towline("pull", image.reference, "--on", WEB_1).status == 0
    assert "cannot connect" in failed(towline("pull", "nginx", "--on", WEB_2, "--retries", "0"))

    proxy.fault = Freeze(match="images/create")
    done = towline("pull", f"{image.reference}", "--on", WEB_1, "--wait", "2s")
    assert done.status == 1
    said = re.search(r"lacks job:read\nnot done yet: towline job (\S+) tells", done.stderr)
    assert said is not None
    proxy.fault = None
    assert mixed.ended(said[1])["status"] == "completed"


def test_what_came_from_others_steers_no_terminal(
    mixed: Cluster, towline: CommandLine, proxy: FaultyProxy
) -> None:
    claims = {"sub": "al\x1b[2Jice", "roles": ["admin"], "exp": time.time() + 3600}
    client = mixed.client(jwt.encode(claims, mixed.key, algorithm="HS256"))
    words = json.dumps({"message": "bo\x1b[2Jom"}).encode()
    proxy.fault = Answer(match="images/create", body=words)
    body = {"image": "localhost:1/steering", "retries": 0, "resolve": "each"}
    answer = client.post(f"/node/_all/{PULL}", json=body)

    printed = towline("job", answer.json()["job_id"]).stdout
    assert "al\\x1b[2Jice" in printed
    assert printed.count("bo\\x1b[2Jom") == 3
    assert all(character.isprintable() for character in printed.replace("\n", ""))


# Errors


REFUSALS: dict[str, tuple[list[str], Callable[[Cluster], httpx.Response]]] = {
    "an unknown node": (
        ["pull", "nginx", "--on", "nobody"],
        lambda cluster: cluster.pull("nobody", "nginx"),
    ),
    "an unknown label": (
        ["node", "load", "--on", "group:nobody"],
        lambda cluster: cluster.writer.get("/node/group:nobody/load"),
    ),
    "a target that is none": (
        ["node", "load", "--on", "web 01"],
        lambda cluster: cluster.writer.get("/node/web%2001/load"),
    ),
    "an unknown job": (["job", NOWHERE], lambda cluster: cluster.writer.get(f"/job/{NOWHERE}")),
    "no job id": (["job", "x"], lambda cluster: cluster.writer.get("/job/x")),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_is_told_in_the_words_of_the_api(
    mixed: Cluster, towline: CommandLine, what: str
) -> None:
    arguments, ask = REFUSALS[what]
    body = ask(mixed).json()
    assert failed(towline(*arguments)) == f"towline: {body['error']}\n  {body['details']}\n"


def test_a_token_that_is_refused_is_told_in_the_words_of_the_api(
    mixed: Cluster, towline: CommandLine
) -> None:
    def said(token: str) -> str:
        return failed(towline("pull", "nginx", "--on", WEB_1, env={"TOWLINE_TOKEN": token}))

    reader = mixed.reader.post(f"/node/{WEB_1}/{PULL}", json={"image": "nginx"}).json()
    assert "docker:write" in reader["error"]
    assert said(mixed.token("read")) == f"towline: {reader['error']}\n  {reader['details']}\n"
    assert "expired" in said(jwt.encode({"sub": "tests", "exp": 1}, mixed.key, algorithm="HS256"))
    assert "not valid" in said("towline")


def test_what_the_operation_does_not_take_is_refused_by_its_name(towline: CommandLine) -> None:
    assert "'Nginx'" in failed(towline("pull", "Nginx", "--on", WEB_1))
    assert "limit" in failed(towline("docker", "list", "--on", WEB_1, "--limit", "0"))
    assert "'soon'" in failed(towline("node", "load", "--on", WEB_1, "--wait", "soon"))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["--nothing"],
        ["docker"],
        ["docker", "nothing"],
        ["pull"],
        ["pull", "nginx"],
        ["pull", "--on", WEB_1],
        ["pull", "nginx", "redis", "--on", WEB_1],
        ["pull", "nginx", "--on", WEB_1, "--tag", "1.0"],
        ["pull", "nginx", "--on", WEB_1, "-o", "yaml"],
        ["docker", "list", "--on", WEB_1, "--limit", "many"],
        ["docker", "list", "--on", WEB_1, "--state", "lost"],
        ["nodes", "web-01"],
        ["job"],
        ["token"],
        ["token", "create", "--role", "read"],
        ["token", "create", "--subject", "alice"],
        ["up", "now"],
        ["agent", "web-01"],
    ],
    ids=" ".join,
)
def test_bad_usage_has_status_2(towline: CommandLine, arguments: list[str]) -> None:
    assert failed(towline(*arguments), 2).startswith("Usage: towline")


def test_without_a_controller_it_says_where_none_answers(towline: CommandLine) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for arguments in (["nodes"], ["pull", "nginx", "--on", "_all"], ["job", NOWHERE]):
        assert url in failed(towline(*arguments, "--url", url))


def test_without_any_set_up_it_says_what_is_missing(tmp_path: Path) -> None:
    towline = CommandLine(tmp_path / "state")
    assert "towline up" in failed(towline("nodes"))
    said = failed(towline("nodes", "--url", "http://127.0.0.1:1"))
    assert "There is no token" in said
    assert "TOWLINE_TOKEN" in said
    assert not (tmp_path / "state").exists()


def test_a_state_directory_of_somebody_else_is_no_traceback(mixed: Cluster, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65534, 65534)
    towline = CommandLine(closed, prefix=AS_NOBODY_SPECIAL)
    assert "Permission denied" in failed(towline("nodes"))
    assert "There is no token" in failed(towline("nodes", "--url", mixed.url))
    said = failed(towline("token", "create", "--subject", "alice", "--role", "read"))
    assert "Permission denied" in said
    assert towline("nodes", "--url", mixed.url, "--token", mixed.token("read")).status == 0


@pytest.mark.parametrize(
    "url", ["", "localhost", "ftp://localhost", "http://", "http://[::1", "http://a:secret@b:1"]
)
def test_a_url_that_is_none_is_refused(towline: CommandLine, url: str) -> None:
    said = failed(towline("nodes", "--url", url))
    assert "URL is not valid" in said
    assert "secret" not in said


@pytest.mark.parametrize("token", ["", " ", "se\ncret", "s\u00e9cret", "se\x1bcret"])
def test_a_token_that_can_be_none_is_refused_unseen(towline: CommandLine, token: str) -> None:
    said = failed(towline("nodes", env={"TOWLINE_TOKEN": token}))
    assert said.startswith("towline: The token is not valid.")
    assert "cret" not in said


def test_a_token_may_end_in_a_newline_as_in_a_file(mixed: Cluster, towline: CommandLine) -> None:
    token = mixed.token("read")
    assert towline("nodes", env={"TOWLINE_TOKEN": f"{token}\n"}).status == 0


@pytest.mark.parametrize("content", ["<html>", "[]", "null", "{}"])
@pytest.mark.parametrize("status", [200, 502])
def test_a_server_that_is_no_controller_is_told_as_that(
    towline: CommandLine, content: str, status: int
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for arguments in (["nodes"], ["pull", "nginx", "--on", "_all"], ["job", NOWHERE]):
                url = f"http://127.0.0.1:{server.server_port}"
                said = failed(towline(*arguments, "--url", url))
                assert ("is no controller" if status == 200 else str(status)) in said
        finally:
            server.shutdown()
            thread.join()


# Tokens


def claims(text: str, key: bytes) -> dict[str, Any]:
    """Read a token that was printed alone on its line."""
    assert re.fullmatch(r"\S+\n", text)
    read: dict[str, Any] = jwt.decode(text.strip(), key, algorithms=["HS256"])
    return read


def test_a_new_token_is_all_that_is_printed_and_says_what_was_asked_for(
    mixed: Cluster, tmp_path: Path
) -> None:
    towline = CommandLine(mixed.directory / "controller")
    done = towline("token", "create", "--subject", "alice", "--role", "read", "--role", "write")
    assert (done.status, done.stderr) == (0, "")
    said = claims(done.stdout, mixed.key)
    assert (said["sub"], said["roles"], said["exp"] - said["iat"]) == (
        "alice",
        ["read", "write"],
        90 * 86400,
    )
    assert "permissions" not in said

    done = towline("token", "create", "--subject", "bob", "--role", "admin", "--expires", "2h")
    said = claims(done.stdout, mixed.key)
    assert said["exp"] - said["iat"] == 7200


def test_the_controller_honours_roles_permissions_and_expiry_of_a_token(mixed: Cluster) -> None:
    towline = CommandLine(mixed.directory / "controller")

    def answers(*arguments: str) -> tuple[int, int]:
        made = towline("token", "create", "--subject", "alice", *arguments).stdout.strip()
        client = mixed.client(made)
        pull = client.post(f"/node/{DB_1}/{PULL}", json={"image": "nginx"})
        return pull.status_code, client.get(f"/node/{DB_1}/load").status_code

    assert answers("--role", "write") == (202, 200)
    assert answers("--role", "read") == (403, 200)
    assert answers("--role", "admin", "--permission", "docker:write") == (202, 403)
    both = ["--permission", "docker:write", "--permission", "node:read"]
    assert answers("--role", "read", *both) == (202, 200)
    assert answers("--role", "admin", "--expires", "0s") == (401, 401)


def test_a_role_that_is_not_known_is_refused_and_one_from_the_file_is_known(tmp_path: Path) -> None:
    towline = CommandLine(tmp_path / "state")
    arguments = ["token", "create", "--subject", "alice", "--role", "deployer"]
    said = failed(towline(*arguments))
    assert "'deployer'" in said
    assert "admin, read, write" in said
    assert not (tmp_path / "state").exists()

    (tmp_path / "towline.toml").write_text('[roles]\ndeployer = ["docker:write"]')
    done = towline(*arguments, "--config", tmp_path / "towline.toml")
    said_now = claims(done.stdout, (tmp_path / "state/token.key").read_bytes().strip())
    assert said_now["roles"] == ["deployer"]
    assert stat.S_IMODE((tmp_path / "state/token.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_token_is_signed_with_the_key_that_is_named(tmp_path: Path) -> None:
    towline = CommandLine(tmp_path / "state")
    arguments = ["token", "create", "--subject", "alice", "--role", "read", "--token-key"]
    key = tmp_path / "key"
    assert repr(str(key)) in failed(towline(*arguments, key))
    key.write_text("short")
    assert "too short" in failed(towline(*arguments, key))
    key.write_text("k" * 32 + "\n")
    assert claims(towline(*arguments, key).stdout, b"k" * 32)["sub"] == "alice"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("expires", ["", "soon", "-1h", "1 fortnight", "11000d"])
def test_an_expiry_that_is_none_is_refused(tmp_path: Path, expires: str) -> None:
    towline = CommandLine(tmp_path)
    arguments = ["--subject", "alice", "--role", "read", f"--expires={expires}"]
    assert repr(expires) in failed(towline("token", "create", *arguments))


def test_a_token_is_shown_whoever_signed_it_and_though_it_has_expired(tmp_path: Path) -> None:
    towline = CommandLine(tmp_path)
    body = {"sub": "alice", "roles": ["read"], "iat": 0, "exp": 86400}
    shown = {**body, "iat": "1970-01-01T00:00:00.000Z", "exp": "1970-01-02T00:00:00.000Z"}
    for text in (jwt.encode(body, b"k" * 32), jwt.encode(body, b"j" * 64, algorithm="HS512")):
        assert json.loads(towline("token", "show", text).stdout) == shown
        assert json.loads(towline("token", "show", stdin=f"{text}\n").stdout) == shown
        assert json.loads(towline("token", "show", "-", stdin=text).stdout) == shown


@pytest.mark.parametrize("expires", [10**10, 10**20, -(10**20), "never", None, 1.5])
def test_a_token_is_shown_whatever_stands_in_it(tmp_path: Path, expires: object) -> None:
    text = jwt.encode({"sub": "alice", "exp": expires}, b"k" * 32)
    assert json.loads(CommandLine(tmp_path)("token", "show", text).stdout)["sub"] == "alice"


@pytest.mark.parametrize(
    "text", ["", "x", "a.b.c", "e30.e30", "e30.W10.e30", "\u00e9.\u00e9.\u00e9"]
)
def test_what_is_no_token_is_not_shown(tmp_path: Path, text: str) -> None:
    assert "not a token" in failed(CommandLine(tmp_path)("token", "show", stdin=text))


# Settings


def test_a_flag_beats_the_environment_and_the_environment_the_file(tmp_path: Path) -> None:
    towline = CommandLine(tmp_path)
    file, environment, flag = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    path = tmp_path / "towline.toml"
    path.write_text(f'url = "{file}"\ntoken = "of the file"')
    with_file = ["nodes", "--config", str(path)]
    assert file in failed(towline(*with_file))
    assert file in failed(towline("nodes", env={"TOWLINE_CONFIG": str(path)}))
    assert environment in failed(towline(*with_file, env={"TOWLINE_URL": environment}))
    by_flag = [*with_file, "--url", flag]
    assert flag in failed(towline(*by_flag, env={"TOWLINE_URL": environment}))


def test_the_token_too_comes_from_flag_environment_or_file_in_that_order(
    mixed: Cluster, tmp_path: Path
) -> None:
    towline = CommandLine(tmp_path, {"TOWLINE_URL": mixed.url})
    path = tmp_path / "towline.toml"
    good, bad = mixed.token("read"), "bad"

    def status(file: str, environment: str | None, flag: str | None) -> int:
        path.write_text(f'token = "{file}"')
        arguments = ["nodes", "--config", str(path), *(["--token", flag] if flag else [])]
        return towline(*arguments, env={"TOWLINE_TOKEN": environment} if environment else {}).status

    assert status(good, None, None) == 0
    assert status(bad, good, None) == 0
    assert status(good, bad, None) == 1
    assert status(bad, bad, good) == 0
    assert status(good, good, bad) == 1


def test_beside_the_key_a_token_is_made_in_the_name_of_the_person(mixed: Cluster) -> None:
    def caller(*prefix: str) -> str:
        state = mixed.directory / "controller"
        towline = CommandLine(state, {"TOWLINE_URL": mixed.url}, prefix)
        done = towline("node", "load", "--on", DB_1, "-o", "json")
        name: str = mixed.job(json.loads(done.stdout)["job_id"])["caller"]
        return name

    assert caller() == f"local:{getpass.getuser()}"
    unnamed = [f"--unset={name}" for name in ("LOGNAME", "USER", "LNAME", "USERNAME")]
    # Another user who may read everything, to find the program wherever it is.
    everything = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    assert caller("setpriv", "--reuid=12345", *everything, "env", *unnamed) == "local:12345"


def test_a_configuration_file_that_is_not_valid_stops_every_command(tmp_path: Path) -> None:
    path = tmp_path / "towline.toml"
    path.write_text('urls = ["http://127.0.0.1:1"]')
    towline = CommandLine(tmp_path, {"TOWLINE_CONFIG": str(path)})
    for arguments in (
        ["nodes"],
        ["pull", "nginx", "--on", "_all"],
        ["agent"],
        ["token", "create", "--subject", "alice", "--role", "read"],
    ):
        said = failed(towline(*arguments))
        assert "'urls'" in said
        assert str(path) in said


# Help


def every_command() -> Iterator[list[str]]:
    def walk(command: click.Command, words: list[str]) -> Iterator[list[str]]:
        yield words
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from walk(below, [*words, name])

    return walk(cli, [])


def test_each_command_has_its_help(tmp_path: Path) -> None:
    towline = CommandLine(tmp_path)
    commands = list(every_command())
    assert ["docker", "pull"] in commands
    assert ["token", "create"] in commands
    with ThreadPoolExecutor(4) as people:
        answers = people.map(lambda words: (words, towline(*words, "--help")), commands)
        for words, done in answers:
            assert (done.status, done.stderr) == (0, ""), words
            assert done.stdout.startswith(" ".join(["Usage: towline", *words]))
            described = done.stdout.partition("\n\n")[2].lstrip()
            assert re.match(r"[A-Z][^\n]+", described), words


def test_the_help_of_an_option_says_what_it_means_and_what_holds_without_it(
    tmp_path: Path,
) -> None:
    shown = " ".join(CommandLine(tmp_path)("pull", "--help").stdout.split())
    assert "--retries INTEGER How often a pull that failed is tried again" in shown
    assert "[default: 4]" in shown
    assert "[default: 5m]" in shown


def test_the_version_is_told(tmp_path: Path) -> None:
    done = CommandLine(tmp_path)("--version")
    assert (done.status, done.stderr) == (0, "")
    assert re.fullmatch(r"towline, version \d+\.\d+\.\d+\n", done.stdout)


# Starting parts


BROKER = ["--nats", "nats://127.0.0.1:1"]
NOT_STARTED: dict[str, tuple[list[str], str]] = {
    "a label without a value": (["agent", *BROKER, "--label", "web"], "'web'"),
    "a label with a wildcard": (["agent", *BROKER, "--label", "group:web.*"], "'group:web.*'"),
    "a label with '='": (["agent", *BROKER, "--label", "group=web"], "'group=web'"),
    "a label twice": (["agent", *BROKER, "--label", "a:b", "--label", "a:c"], "'a'"),
    "a hostname with a blank": (["agent", *BROKER, "--hostname", "web 01"], "'web 01'"),
    "a hostname with a wildcard": (["agent", *BROKER, "--hostname", "web.>"], "'web.>'"),
    "a hostname that is reserved": (["agent", *BROKER, "--hostname", "_all"], "'_all'"),
    "a hostname that is too long": (["agent", *BROKER, "--hostname", "a" * 70], "aaa"),
    "a machine id with a dot": (["agent", *BROKER, "--machine-id", "a.b"], "'a.b'"),
    "an engine that is none": (["agent", *BROKER, "--engine", "docker"], "'docker'"),
    "an agent without a broker": (["agent"], "--nats"),
    "a controller without a broker": (["controller"], "--nats"),
    "a broker of no words": (["agent", "--nats", " , "], "--nats"),
    "a broker of another protocol": (["agent", "--nats", "http://a:4222"], "'http://a:4222'"),
    "a broker without a protocol": (["controller", "--nats", "localhost:4222"], "'localhost:4222'"),
    "a broker whose port is none": (["agent", "--nats", "nats://a:port"], "'nats://a:port'"),
    "credentials that are not there": (
        ["agent", *BROKER, "--nats-credentials", "/no/file"],
        "'/no/file'",
    ),
    "credentials that are none": (["agent", *BROKER, "--nats-credentials", "/dev/null"], "null"),
    "certificates that are not there": (
        ["agent", "--nats", "tls://a:4222", "--nats-ca", "/no/ca"],
        "'/no/ca'",
    ),
    "an address that is none": (["controller", *BROKER, "--listen", "8080"], "'8080'"),
    "a key that is not there": (["controller", *BROKER, "--token-key", "/no/key"], "'/no/key'"),
}


@pytest.mark.parametrize("what", NOT_STARTED)
def test_a_part_is_not_started_with_what_cannot_work(what: str, tmp_path: Path) -> None:
    arguments, named = NOT_STARTED[what]
    said = failed(CommandLine(tmp_path / "state")(*arguments))
    assert said.startswith("towline: ")
    assert named in said


def test_two_of_a_kind_do_not_share_a_state_directory(mixed: Cluster) -> None:
    for part, process in (
        ("agent", mixed.agents[DB_1]),
        ("controller", mixed.controller),
    ):
        state = mixed.directory / (part if part == "controller" else f"agent-{DB_1}")
        said = failed(CommandLine(state)(part, *BROKER))
        assert repr(str(state)) in said
        assert str(process.pid) in said
