"""Pulls from a registry that wants credentials: whose are used, and what becomes of them."""

import asyncio
import base64
import contextlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import nats
import pytest

import towline
from tests.testing.cluster import PULL, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.command import CommandLine
from tests.testing.engine import Engine
from tests.testing.marks import ONE_KIND
from tests.testing.process import wait_until
from tests.testing.registry import PASSWORD, USER, PushedImage, Registry, random_layer
from tests.testing.signing import opened
from towline.client import ApiError, Credential
from towline.operations import docker
from towline.runtime.keys import node_key
from towline.runtime.redaction import forms
from towline.wire import messages
from towline.wire.credential import Issued
from towline.wire.job import new_id
from towline.wire.node import Registration
from towline.wire.report import Answer, TaskQuestion
from towline.wire.subjects import TASK, inbox_prefix, question_subject

WRONG = "wr0ng p@ss/word+é"
GOOD = {"username": USER, "password": PASSWORD}
BAD = {"username": "nobody", "password": WRONG}


@pytest.fixture(scope="module")
def private() -> Iterator[Registry]:
    """A registry that wants USER and PASSWORD."""
    with Registry(authenticated=True) as registry:
        yield registry


@pytest.fixture(scope="module")
def cluster(
    engines: Sequence[Engine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Two nodes whose Docker configuration is `config.json` in the cluster's directory."""
    directory = tmp_path_factory.mktemp("credentials")
    helpers = directory / "bin"
    helpers.mkdir()
    env = {
        "TOWLINE_DOCKER_CONFIG": str(directory / "config.json"),
        "PATH": f"{helpers}:/usr/bin:/bin",
    }
    plans = [NodePlan(WEB_1, engines[0].url), NodePlan(WEB_2, engines[1].url)]
    with Cluster(directory, plans, env) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def nothing_kept(cluster: Cluster) -> None:
    """No credential is kept, and the node has none, when a test begins."""
    for kept in cluster.admin.get("/registry").raise_for_status().json()["registries"]:
        cluster.admin.delete(f"/registry/{kept['registry']}").raise_for_status()
    wait_until(lambda: not held(cluster), what="the end of all credentials of jobs")
    (cluster.directory / "config.json").unlink(missing_ok=True)
    for path in (cluster.directory / "bin").iterdir():
        path.unlink()


@pytest.fixture
def image(private: Registry, request: pytest.FixtureRequest) -> PushedImage:
    """An image that wants credentials, and that no engine has."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")
    return private.push_image(f"private/{name}", "1.0", [random_layer(request.node.name)])


def keep(cluster: Cluster, registry: str, **credential: str) -> None:
    cluster.admin.put(f"/registry/{registry}", json=credential).raise_for_status()


def configure(cluster: Cluster, **configuration: Any) -> None:
    """Give the node a Docker configuration."""
    (cluster.directory / "config.json").write_text(json.dumps(configuration))


def header(**values: str) -> dict[str, str]:
    text = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
    return {"X-Registry-Auth": text}


def pull(
    cluster: Cluster, image: PushedImage, target: str = WEB_1, **values: str
) -> httpx.Response:
    """Ask for a pull, with a credential in the request if values are given."""
    return cluster.writer.post(
        f"/node/{target}/{PULL}",
        json={"image": image.reference, "retries": 0},
        headers=header(**values) if values else {},
    )


def refused(answer: httpx.Response) -> str:
    """Return the words of a pull that failed on its node."""
    assert answer.status_code == 500, answer.text
    words: str = answer.json()["details"]
    for form in (WRONG, PASSWORD, json.dumps(WRONG)[1:-1]):
        assert form not in answer.text
    return words


def helper(cluster: Cluster, name: str, script: str) -> None:
    """Put a credential helper where the agent finds it."""
    path = cluster.directory / "bin" / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_pull_uses_what_is_kept_for_its_registry(
    cluster: Cluster, private: Registry, image: PushedImage
) -> None:
    words = refused(pull(cluster, image))
    assert f"no credential is kept for {private.host}" in words
    keep(cluster, private.host, **BAD)
    named = f"{private.host} refused the user 'nobody' (kept with Towline): "
    assert named in refused(pull(cluster, image))
    for each in pull(cluster, image, "_all").json()["results"]:
        assert each["status"] == "failed"
        assert named in each["error"]
    keep(cluster, private.host, **GOOD)
    assert pull(cluster, image, "_any").json()["results"][0]["status"] == "ok"
    # Of several nodes one asks the registry, logged in, what the tag is.
    both = pull(cluster, image, "_all").json()["results"]
    assert [(each["status"], each["digest"]) for each in both] == 2 * [("ok", image.digest)]


def test_the_requests_own_comes_first_then_towlines_then_the_nodes(
    cluster: Cluster, private: Registry, image: PushedImage
) -> None:
    def user(password: str) -> str:
        return base64.b64encode(f"{USER}:{password}".encode()).decode()

    configure(cluster, auths={f"http://{private.host}/v1/": {"auth": user(WRONG)}})
    assert "config.json' on this node" in refused(pull(cluster, image))
    keep(cluster, private.host, **BAD)
    assert "(kept with Towline)" in refused(pull(cluster, image))
    assert "'mallory' (of the request)" in refused(
        pull(cluster, image, username="mallory", password=WRONG)
    )
    # A client that has none says so: that is no credential of its own.
    assert "(kept with Towline)" in refused(pull(cluster, image, serveraddress=private.host))
    made = pull(cluster, image, **GOOD, serveraddress=private.host)
    assert made.json()["results"][0]["changed"] is True
    keep(cluster, private.host, **GOOD)
    assert pull(cluster, image).status_code == 202
    cluster.admin.delete(f"/registry/{private.host}").raise_for_status()
    configure(cluster, auths={private.host: {"auth": user(PASSWORD)}})
    assert pull(cluster, image).status_code == 202
    helper(
        cluster,
        "tests",
        f"""grep -qx {private.host} && echo '{{"Username": "{USER}", "Secret": "{PASSWORD}"}}'""",
    )
    configure(
        cluster,
        credHelpers={private.host: "tests"},
        auths={private.host: {"auth": user(WRONG)}},
    )
    assert pull(cluster, image).status_code == 202


@pytest.mark.parametrize(
    "text", [WRONG.encode().hex() + "!", base64.b64encode(WRONG.encode()).decode()]
)
def test_a_header_that_is_none_is_refused_by_name_and_unseen(
    cluster: Cluster, image: PushedImage, text: str
) -> None:
    jobs = cluster.jobs_made()
    answer = cluster.writer.post(
        f"/node/{WEB_1}/{PULL}", json={"image": image.reference}, headers={"X-Registry-Auth": text}
    )
    assert (answer.status_code, "X-Registry-Auth" in answer.json()["error"]) == (400, True)
    elsewhere = pull(cluster, image, **GOOD, serveraddress="elsewhere.example")
    assert (elsewhere.status_code, "elsewhere.example" in elsewhere.text) == (400, True)
    assert text not in answer.text + elsewhere.text + cluster.logs
    assert PASSWORD not in answer.text + elsewhere.text + cluster.logs
    assert cluster.jobs_made() == jobs


def held(cluster: Cluster) -> set[str]:
    """Return the jobs whose own credentials are kept."""
    subjects = cluster.broker.subjects("KV_credentials", "$KV.credentials.job.*")
    return {subject.rpartition(".")[2] for subject in subjects}


def test_jobs_and_their_credentials_survive_the_controller_and_the_node_that_is_away(
    cluster: Cluster, private: Registry, image: PushedImage
) -> None:
    # Set before the node went, replaced and removed while it was away.
    other = private.push_image(image.repository, "2.0", [random_layer(f"{image.repository} 2")])
    keep(cluster, private.host, **BAD)
    cluster.agents[WEB_1].stop()
    cluster.wait_away(WEB_1)
    own = pull(cluster, image, username=USER, password=PASSWORD).json()["job_id"]
    plain = cluster.pull(WEB_1, other.reference).json()["job_id"]
    keep(cluster, private.host, **GOOD)
    assert held(cluster) == {own}
    cluster.controller.kill()
    cluster.agents[WEB_1].start()
    # What has come for the node meanwhile reaches it by a controller only.
    agent = cluster.agents[WEB_1]
    agent.wait_for(lambda: "not registered yet" in agent.stderr, what="nobody to answer")
    cluster.controller.start()
    cluster.controller.wait_for_output("answers at")
    cluster.wait_here(WEB_1)
    for job in (own, plain):
        assert cluster.ended(job)["results"][0]["status"] == "ok"
    wait_until(lambda: not held(cluster), what="the end of the credential with its job")

    # What came with a job is gone with it: a retry brings its own.
    agent.stop()
    cluster.wait_away(WEB_1)
    waiting = pull(cluster, image).json()["job_id"]
    gone = pull(cluster, image, **GOOD).json()["job_id"]
    cluster.admin.delete(f"/registry/{private.host}").raise_for_status()
    cluster.admin.post(f"/job/{gone}/cancel", headers={"Prefer": "wait=0"})
    agent.start()
    cluster.wait_here(WEB_1)
    ended = cluster.ended(waiting)
    assert "no credential is kept" in ended["results"][0]["error"]
    cluster.ended(gone)
    wait_until(lambda: not held(cluster), what="the end of the credential with its job")
    command = CommandLine(
        cluster.directory, {"TOWLINE_URL": cluster.url, "TOWLINE_TOKEN": cluster.token("write")}
    )
    assert command("retry", waiting).status == 1
    assert command("retry", waiting, "--registry-user", USER, stdin=PASSWORD).status == 0
    wait_until(lambda: not held(cluster), what="the end of the credential with its job")


async def test_the_clients_and_the_command_line_bring_credentials(
    cluster: Cluster, image: PushedImage
) -> None:
    token, own = cluster.token("write"), Credential(USER, PASSWORD)
    with towline.Client(cluster.url, token) as client:
        with pytest.raises(ApiError) as denied:
            client.run(docker.pull, WEB_1, image=image.reference, retries=0)
        assert "no credential is kept" in denied.value.details
        asking = client.with_options(credential=own)
        assert asking.run(docker.pull, WEB_1, image=image.reference).succeeded
        assert PASSWORD not in repr(asking._options)
    async with towline.AsyncClient(cluster.url, token) as other:
        asked = other.with_options(credential=own)
        assert (await asked.run(docker.pull, WEB_1, image=image.reference)).succeeded
        # Whose turn comes by a controller has the job from that, not from the request.
        waves = asked.with_options(canary=1)
        assert (await waves.run(docker.pull, "_all", image=image.reference)).succeeded
    command = CommandLine(cluster.directory, {"TOWLINE_URL": cluster.url, "TOWLINE_TOKEN": token})
    arguments = ("pull", image.reference, "--on", WEB_1, "--registry-user", USER)
    assert command(*arguments, stdin=f"{PASSWORD}\n").status == 0
    assert command(*arguments).status == 2  # there is no password: nothing is asked for


@ONE_KIND
def test_controllers_give_a_node_only_what_its_own_jobs_need(
    cluster: Cluster, private: Registry, image: PushedImage
) -> None:
    keep(cluster, private.host, **GOOD)
    key = node_key(cluster.directory / f"agent-{WEB_1}")
    machine = cluster.admin.get(f"/agent/{WEB_1}").json()["machine_id"]
    private.freeze()
    try:
        job = asked_for(cluster, image)
        answer = ask(cluster, machine, job)
        release = answer.release
        assert release is not None
        assert release.supply is not None
        sealed = release.supply.sealed
        issued = msgspec.json.decode(key.unseal(sealed), type=Issued)
        assert (issued.registry, issued.credential) == (private.host, Credential(**GOOD))
        assert PASSWORD not in base64.b64decode(sealed).decode("latin-1")
        for other, named in (("f" * 32, job), (machine, new_id())):
            assert "not for this node" in ask(cluster, other, named).error
    finally:
        private.thaw()
    assert cluster.ended(job)["results"][0]["status"] == "ok"
    assert "has ended here" in ask(cluster, machine, job).error


def asked_for(cluster: Cluster, image: PushedImage, **values: str) -> str:
    """Ask for a pull that is not waited for; return its job when it is under way."""
    answer = cluster.writer.post(
        f"/node/{WEB_1}/{PULL}",
        json={"image": image.reference},
        headers={"Prefer": "respond-async", **(header(**values) if values else {})},
    )
    job: str = answer.raise_for_status().json()["job_id"]
    wait_until(lambda: cluster.job(job, wait=0)["results"][0]["status"] == "running")
    return job


def ask(cluster: Cluster, machine: str, job: str) -> Answer:
    """Ask controllers as a node would."""

    async def request() -> bytes:
        user, _, password = cluster.broker.logins.agents.read_text().partition(":")
        client = await nats.connect(
            cluster.broker.url, user=user, password=password, inbox_prefix=inbox_prefix(machine)
        )
        try:
            question = msgspec.json.encode(TaskQuestion(job))
            subject = question_subject(machine, TASK)
            return (await client.request(subject, question, timeout=10)).data
        finally:
            await client.close()

    return messages.answer(opened(asyncio.run(request())), machine)


@ONE_KIND
def test_another_controller_goes_on_with_what_the_first_was_given(
    cluster: Cluster, image: PushedImage
) -> None:
    cluster.add_controller()
    other = cluster.others[-1]
    cluster.agents[WEB_1].stop()
    cluster.wait_away(WEB_1)
    job = pull(cluster, image, **GOOD).json()["job_id"]
    cluster.controller.kill()
    try:
        cluster.agents[WEB_1].start()

        def over() -> bool:
            found = other.get(f"/job/{job}", headers={"Prefer": "wait=20"}).json()
            return bool(found["status"] == "completed")

        wait_until(over, what="the end of the job")
        wait_until(lambda: not held(cluster), what="the end of the credential with its job")
    finally:
        cluster.controller.start()
        cluster.controller.wait_for_output("answers at")
        cluster.controllers[-1].stop()


# Where a secret is


def written(secret: str) -> set[bytes]:
    """Return a secret in all the forms in which it could stand somewhere.

    Within what is base64 it may begin at any of three places.
    """
    raw = secret.encode()
    found = {form.encode() for form in forms(secret)} | {raw, raw.hex().encode(), raw[::-1]}
    for before in range(3):
        inner = raw[: (len(raw) + before) // 3 * 3 - before]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(b"\0" * before + inner)[4 if before else 0 :])
    return found


def places(cluster: Cluster) -> Iterator[tuple[str, bytes]]:
    """Yield all bytes that may be seen by others: on disk, in the broker, of processes."""
    for path in cluster.directory.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    for stream in cluster.broker.streams():
        for subject, data in cluster.broker.messages(stream):
            yield f"{stream}: {subject}", data
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    yield f"{entry}/{name}", (entry / name).read_bytes()


def where(cluster: Cluster, secret: str) -> list[str]:
    """Return where a secret is to be seen."""
    wanted = written(secret)
    return [place for place, data in places(cluster) if any(form in data for form in wanted)]


@ONE_KIND
def test_nobody_finds_a_secret_in_any_form_in_any_place(
    cluster: Cluster, private: Registry, image: PushedImage
) -> None:
    secrets = [PASSWORD, WRONG]
    assert stat.S_IMODE((cluster.directory / f"agent-{WEB_1}/node.key").stat().st_mode) == 0o600
    keep(cluster, private.host, username=USER, password=PASSWORD)
    keep(cluster, "elsewhere.internal", username="puller", password=WRONG)
    refused(pull(cluster, image, username="mallory", password=WRONG))
    setting = subprocess.Popen(
        [
            Path(sys.executable).with_name("towline"),
            *("registry", "set", "elsewhere.internal", "-u", "puller", "--url", cluster.url),
        ],
        env={"TOWLINE_TOKEN": cluster.token("admin"), "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    private.freeze()
    try:
        job = asked_for(cluster, image, **GOOD)
        assert held(cluster) == {job}
        for secret in secrets:
            assert where(cluster, secret) == []
        assert setting.poll() is None
    finally:
        private.thaw()
    setting.communicate(WRONG.encode(), timeout=30)
    assert setting.returncode == 0
    assert cluster.ended(job)["results"][0]["status"] == "ok"
    wait_until(lambda: not held(cluster), what="the end of the credential with its job")
    for secret in secrets:
        assert where(cluster, secret) == []


@ONE_KIND
def test_what_looks_for_secrets_finds_them(cluster: Cluster) -> None:
    """In each place and form that the test before this one has looked at."""
    lost = "l0st and f0und"
    whole = header(username="someone", password=lost)["X-Registry-Auth"]
    left = cluster.directory / "left"
    for text in (lost, json.dumps({"password": lost}), whole, quote(lost)):
        left.write_text(text)
        assert where(cluster, lost) == [str(left)]
    left.unlink()
    with subprocess.Popen(["sleep", "60"], env={"LOST": lost}) as process:
        try:
            wait_until(lambda: where(cluster, lost) == [f"/proc/{process.pid}/environ"])
        finally:
            process.kill()
    fleet_wide = cluster.admin.get(f"/node/_all/load?operation={lost}")
    assert fleet_wide.status_code == 400
    made = cluster.client(cluster.token("admin", subject=lost)).get(f"/node/{WEB_1}/load")
    assert made.status_code == 200
    assert any(place.startswith("READS: ") for place in where(cluster, lost))


@ONE_KIND
def test_an_agent_that_would_ignore_a_credential_is_named(
    cluster: Cluster, image: PushedImage
) -> None:
    """The last one here: a node that never comes stays registered."""
    old = Registration("0" * 32, "old-01", "0.1.0", *(time.time(), time.time()))
    cluster.broker.publish(f"$KV.nodes.{old.machine}", msgspec.json.encode(old))
    wait_until(lambda: cluster.node("old-01") is not None)
    refusal = pull(cluster, image, "old-01", **GOOD)
    assert (refusal.status_code, "old-01" in refusal.json()["error"]) == (400, True)
    several = pull(cluster, image, "_all", **GOOD).json()["results"]
    by_name = {each["hostname"]: each for each in several}
    assert {name: each["status"] for name, each in by_name.items()} == {
        **{WEB_1: "ok", WEB_2: "ok"},
        "old-01": "skipped",
    }
    assert "0.1.0" in by_name["old-01"]["reason"]
