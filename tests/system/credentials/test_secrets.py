"""Keys, tokens and passwords stand in no log, no output, no argument and no environment."""

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from tests.testing.answers import results
from tests.testing.cluster import NO_ENGINE, PULL, WEB_1, Cluster, NodePlan
from tests.testing.command import CommandLine
from tests.testing.engine import Engine
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.proxy import Answer, FaultyProxy
from tests.testing.registry import PushedImage, Registry
from tests.testing.secrets import forms, found
from tests.testing.up import Up, command_of
from towline.trust.keys import FILES

IMAGE_PASSWORD = "image-password"
ENGINE_PASSWORD = "engine-password"
HEADER_PASSWORD = "header-password"
QUERY_PASSWORD = "query-password"
OPAQUE_KEY = "opaque-api-key"
WRONG_PASSWORD = "wrong-password"
WITH_PASSWORD = [
    f"alice:{IMAGE_PASSWORD}@localhost:5000/demo/hello:1.0",
    f"https://alice:{IMAGE_PASSWORD}@localhost:5000/demo/hello:1.0",
    f"localhost:5000/demo/hello:1.0@{IMAGE_PASSWORD}@localhost:5000",
    f"{IMAGE_PASSWORD}@localhost:5000/demo/hello",
]
ENGINES_WORDS = (
    f'Get "https://robot:{ENGINE_PASSWORD}@registry.example/v2/": dial tcp: no luck',
    f"https://robot:{ENGINE_PASSWORD}@registry.example/v2/ and "
    f"https://r@bot:{ENGINE_PASSWORD}@registry.example",
)


@pytest.fixture(scope="module")
def proxy(engine: Engine) -> Iterator[FaultyProxy]:
    """What stands before an engine."""
    with FaultyProxy.before_engine(engine) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def talkative(proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, and everything that there is to log."""
    directory = tmp_path_factory.mktemp("talkative")
    env = {"TOWLINE_LOG_LEVEL": "debug"}
    with Cluster(directory, [NodePlan(WEB_1, proxy.url)], env) as cluster:
        yield cluster


def refused_tokens(cluster: Cluster) -> list[str]:
    """Return tokens that are expired, foreign, edited, or none at all."""
    body = {"sub": "mallory", "roles": ["admin"], "exp": int(time.time()) + 3600}
    head, _, signature = cluster.token("read").split(".")
    edited = base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")
    return [
        cluster.keys.sign({**body, "jti": "one", "exp": 1}),
        jwt.encode(body, b"k" * 64, algorithm="HS256"),
        f"{head}.{edited}.{signature}",
        OPAQUE_KEY,
    ]


@pytest.fixture(scope="module")
def sent(talkative: Cluster, proxy: FaultyProxy, registry: Registry) -> set[str]:
    """The secrets in requests of all kinds, good and bad, which have been answered."""
    path = f"/node/{WEB_1}/{PULL}"
    image = registry.push_image("system/secrets", "1.0").reference
    good = [talkative.token("admin"), talkative.token("write"), talkative.token("read")]
    bad = refused_tokens(talkative)
    for token in (*good, *bad):
        for headers in ({"Authorization": f"Bearer {token}"}, {"X-API-Key": token}):
            answer = talkative.anyone.post(path, json={"image": image}, headers=headers)
            assert answer.status_code == (401 if token in bad else 403 if token == good[2] else 202)
            for query in (f"?token={token}", f"?{token}", f"?expires={token}"):
                talkative.anyone.get(f"/node/{WEB_1}/load{query}", headers=headers)
                talkative.anyone.get(f"/health{query}")
            if token != OPAQUE_KEY:  # which looks like a node's name
                for place in (f"/job/{token}", f"/node/{token}/load", f"/{token}"):
                    talkative.anyone.get(place, headers=headers)

    basic = base64.b64encode(f"alice:{HEADER_PASSWORD}".encode()).decode()
    for value in (f"Basic {basic}", f"Token {HEADER_PASSWORD}", HEADER_PASSWORD, f"Bearer {basic}"):
        headers = {"Authorization": value, "Cookie": f"token={good[0]}"}
        answer = talkative.anyone.post(path, json={"image": image}, headers=headers)
        assert answer.status_code == 401
    talkative.admin.get(f"/node/{WEB_1}/load?api_key={QUERY_PASSWORD}")
    send_broken_head(talkative, f"POST {path} HTTP/1.1\r\nAuthorization Bearer {good[0]}\r\n\r\n")

    towline = CommandLine(talkative.directory / "nowhere", {"TOWLINE_URL": talkative.url})
    for reference in WITH_PASSWORD:
        assert talkative.pull(WEB_1, reference).status_code == 400
        half = json.dumps({"image": reference})[:-1]
        headers = {"Content-Type": "application/json"}
        assert talkative.writer.post(path, content=half, headers=headers).status_code == 400
        done = towline("pull", reference, "--on", WEB_1, env={"TOWLINE_TOKEN": good[1]})
        assert (done.status, done.stdout) == (2, "")
        assert not found({IMAGE_PASSWORD, *good}, done.stderr)
    for token in bad:
        done = towline("nodes", "--token", token)
        assert not found({token}, done.stdout + done.stderr)

    for words in ENGINES_WORDS:
        answer_with = json.dumps({"message": words}).encode()
        for match in ("images/create", "GET"):
            proxy.fault = Answer(match=match, body=answer_with)
            assert talkative.pull(WEB_1, image, retries=0).status_code == 500
        wait_until(lambda: bool((talkative.node(WEB_1) or {}).get("troubles")))
        proxy.fault = None
        wait_until(lambda: not (talkative.node(WEB_1) or {}).get("troubles"))
    assert results(talkative.pull(WEB_1, image))[WEB_1]["status"] == "ok"
    passwords = {IMAGE_PASSWORD, ENGINE_PASSWORD, HEADER_PASSWORD, QUERY_PASSWORD}
    return {*good, *bad, *passwords, basic}


def send_broken_head(cluster: Cluster, head: str) -> None:
    url = httpx.URL(cluster.url)
    with socket.create_connection((url.host, url.port or 0), timeout=20) as connection:
        connection.sendall(head.encode())
        assert b" 400 " in connection.recv(4096)


def of_the_cluster(cluster: Cluster) -> set[str]:
    """Return the key that signs tokens and the password of the broker."""
    key = (cluster.directory / "controller" / "token.key").read_bytes().strip()
    return forms(key) | {cluster.broker.password}


def test_no_secret_of_any_request_stands_in_a_log(talkative: Cluster, sent: set[str]) -> None:
    written = talkative.logs
    # It has all been logged: only the secrets have not.
    for trace in ('"status":401', '"status":403', '"level":"debug"', "***@registry.example"):
        assert trace in written
    assert not found(sent | of_the_cluster(talkative), written)


def test_every_line_of_a_log_is_json(talkative: Cluster, sent: set[str]) -> None:
    for part in (talkative.controller, *talkative.agents.values()):
        assert part.stderr
        for line in part.stderr.splitlines():
            assert {"event", "level", "time", "part"} <= json.loads(line).keys()


def test_no_token_and_no_password_is_kept_in_the_state(talkative: Cluster, sent: set[str]) -> None:
    own = {"token.key", "credentials", "nats.conf"}
    paths = [path for path in talkative.directory.rglob("*") if path.is_file()]
    assert {path.name for path in paths} >= {"index.sqlite", "ledger.sqlite", *own}
    secrets = sent | of_the_cluster(talkative)
    for path in paths:
        if path.name not in own:
            assert not found(secrets, path.read_bytes().decode("latin-1")), path


@pytest.mark.parametrize(
    ("urls", "outcome"),
    [
        ("{good}", "broker connected"),
        ("{bad}", "Authorization Violation"),
        ("{bad},{good}", "broker connected"),
    ],
)
@pytest.mark.parametrize("part", ["agent", "controller"])
def test_a_password_in_the_url_of_the_broker_stands_in_no_log(
    talkative: Cluster, part: str, urls: str, outcome: str, tmp_path: Path
) -> None:
    place = f"@127.0.0.1:{talkative.broker.port}"
    good = f"nats://tests:{talkative.broker.password}{place}"
    bad = f"nats://tests:{WRONG_PASSWORD}{place}"
    own: tuple[str | Path, ...] = ("--engine", NO_ENGINE, "--job-keys", talkative.broker.job_keys)
    if part == "controller":
        nodes = talkative.broker.logins.nodes
        own = ("--listen", "127.0.0.1:0", "--nodes-credentials", nodes)
    process = TowlineProcess(
        *(part, *own, "--state", str(tmp_path), "--log-level", "debug"),
        *("--nats", urls.format(good=good, bad=bad)),
        logs=tmp_path,
    )
    with process:
        process.wait_for(lambda: outcome in process.stderr)
        assert process.stop() == 0
    secrets = {talkative.broker.password, WRONG_PASSWORD}
    assert not found(secrets, process.stdout + process.stderr)


def test_nobody_sees_a_secret_among_the_processes_of_up_or_in_its_output(
    proxy: FaultyProxy, image: PushedImage, tmp_path: Path
) -> None:
    token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 3600}, b"k" * 32)
    with Up(
        *(tmp_path, "--engine", proxy.url, "--log-level", "debug"), env={"TOWLINE_TOKEN": token}
    ) as up:
        up.wait_ready()
        key = (up.state / "token.key").read_bytes().strip()
        secrets = {token, *forms(key)}
        for name in ("broker/agent.creds", *(f"trust/{name}" for name in FILES)):
            text = (up.state / name).read_text()
            secrets |= {word for word in text.split() if re.fullmatch(r"S[A-Z2-7]{57}|ey.+", word)}
        assert len(secrets) > 15
        towline = CommandLine(up.state)
        assert towline("pull", image.reference, "--on", "_any").status == 0
        assert towline("nodes", "--token", token).status == 2

        parts = up.parts()
        assert len(parts) == 3
        for pid in parts.values():
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode("latin-1")
            assert "PATH=" in environment
            assert not found(secrets, environment)
        for pid in (*parts.values(), up.pid):
            assert command_of(pid)
            assert not found(secrets, " ".join(command_of(pid)))
        assert up.stop() == 0
        log = (up.state / "broker/nats.log").read_text()
        assert "Server is ready" in log
        assert not found(secrets, up.stdout + up.stderr + log)
