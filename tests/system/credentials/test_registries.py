"""The credentials that are kept for registries: set, listed, removed, and never shown."""

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import towline
from tests.testing.cluster import Cluster
from tests.testing.command import CommandLine
from tests.testing.process import TowlineProcess
from towline.client import ApiError

HOST = "registry.internal:5000"
SECRET = "kept-p4ssw0rd"
PULLER = {"username": "puller", "password": SECRET}


@pytest.fixture
def nothing_kept(fleet: Cluster) -> None:
    """No credential is kept when a test begins."""
    for kept in fleet.admin.get("/registry").raise_for_status().json()["registries"]:
        fleet.admin.delete(f"/registry/{kept['registry']}").raise_for_status()


pytestmark = pytest.mark.usefixtures("nothing_kept")


def kept_now(cluster: Cluster) -> list[dict[str, Any]]:
    body = cluster.reader.get("/registry").raise_for_status().json()
    assert body["total"] == len(body["registries"])
    found: list[dict[str, Any]] = body["registries"]
    return found


def test_a_credential_is_kept_replaced_and_removed_and_never_shown(fleet: Cluster) -> None:
    made = fleet.admin.put(f"/registry/{HOST}", json=PULLER)
    assert made.status_code == 201
    assert made.json() == {
        **{"registry": HOST, "username": "puller", "type": "password", "readable": True},
        **{"updated_at": made.json()["updated_at"], "updated_by": "tests"},
    }
    assert fleet.reader.get(f"/registry/{HOST}").json() == made.json()
    again = fleet.admin.put("/registry/docker.io", json={"identity_token": SECRET})
    assert (again.status_code, again.json()["type"]) == (201, "identity_token")
    replaced = fleet.admin.put(f"/registry/{HOST}", json={**PULLER, "username": "other"})
    assert replaced.status_code == 200
    assert [kept.get("username") for kept in kept_now(fleet)] == [None, "other"]
    everything = [made, again, replaced, fleet.reader.get("/registry")]
    assert not any(SECRET in answer.text for answer in everything)

    assert fleet.admin.delete(f"/registry/{HOST}").status_code == 204
    for method in ("GET", "DELETE"):
        gone = fleet.admin.request(method, f"/registry/{HOST}")
        assert (gone.status_code, HOST in gone.json()["error"]) == (404, True)
    assert [kept["registry"] for kept in kept_now(fleet)] == ["docker.io"]


def test_docker_hub_has_one_entry_whatever_it_is_called(fleet: Cluster) -> None:
    for name in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        fleet.admin.put(f"/registry/{name}", json=PULLER).raise_for_status()
        assert fleet.reader.get(f"/registry/{name}").json()["registry"] == "docker.io"
    assert len(kept_now(fleet)) == 1


def test_each_route_asks_for_its_permission(fleet: Cluster) -> None:
    nobody = fleet.client(fleet.token("read", permissions=["docker:write"]))
    for method, path, permission in (
        ("GET", "/registry", "registry:read"),
        ("GET", f"/registry/{HOST}", "registry:read"),
        ("PUT", f"/registry/{HOST}", "registry:write"),
        ("DELETE", f"/registry/{HOST}", "registry:write"),
    ):
        refused = nobody.request(method, path)
        assert (refused.status_code, permission in refused.json()["error"]) == (403, True)
        assert fleet.anyone.request(method, path).status_code == 401
        reads = permission.endswith("read")
        assert (fleet.reader.request(method, path).status_code == 403) is not reads


@pytest.mark.parametrize(
    ("host", "body", "named"),
    [
        ("nginx", PULLER, "nginx"),
        ("a b", PULLER, "a b"),
        (f"puller:{SECRET}@{HOST}", PULLER, "@"),
        (HOST, {}, "neither"),
        (HOST, {"username": "puller"}, "neither"),
        (HOST, {"password": SECRET}, "no user name"),
        (HOST, {**PULLER, "identity_token": SECRET}, "identity token"),
        (HOST, {**PULLER, "password": [SECRET]}, "password"),
        (HOST, {**PULLER, "passwort": SECRET}, "passwort"),
    ],
)
def test_what_is_no_registry_or_no_credential_is_refused_unseen(
    fleet: Cluster, host: str, body: dict[str, object], named: str
) -> None:
    refused = fleet.admin.put(f"/registry/{host}", json=body)
    assert (refused.status_code, named in refused.text) == (400, True), refused.text
    assert SECRET not in refused.text
    assert kept_now(fleet) == []


def test_the_command_line_keeps_lists_and_forgets(fleet: Cluster, tmp_path: Path) -> None:
    env = {"TOWLINE_URL": fleet.url, "TOWLINE_TOKEN": fleet.token("admin")}
    command = CommandLine(tmp_path, env)
    done = command("registry", "set", HOST, "-u", "puller", stdin=f"{SECRET}\n")
    assert (done.status, done.stdout) == (0, f"Kept for {HOST}: password of puller.\n")
    done = command("registry", "set", "docker.io", "--identity-token", stdin=SECRET)
    assert done.status == 0
    listed = command("registry", "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        *("REGISTRY", "docker.io", HOST)
    ]
    assert command("registry", "remove", HOST).status == 0
    assert [kept["registry"] for kept in kept_now(fleet)] == ["docker.io"]
    for arguments, stdin, named in (
        (("remove", HOST), "", HOST),
        (("set", HOST, "-u", "puller"), "", "password"),
        (("set", HOST), SECRET, "--username"),
    ):
        refused = command("registry", *arguments, stdin=stdin)
        assert refused.status != 0
        assert named in refused.stderr
        assert SECRET not in refused.stdout + refused.stderr
    assert SECRET not in listed.stdout + fleet.logs


def test_a_password_that_is_typed_is_not_shown(fleet: Cluster) -> None:
    terminal, end = pty.openpty()
    env = {"TOWLINE_URL": fleet.url, "TOWLINE_TOKEN": fleet.token("admin"), "PATH": "/usr/bin:/bin"}
    program = str(Path(sys.executable).with_name("towline"))
    command = [program, "registry", "set", HOST, "-u", "puller"]
    process = subprocess.Popen(command, env=env, stdin=end, stdout=end, stderr=end)
    os.close(end)
    shown = b""
    try:
        while b"Password: " not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, f"{SECRET}\n".encode())
        with contextlib.suppress(OSError):  # the other end is closed
            while True:
                shown += os.read(terminal, 1024)
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(terminal)
    assert f"Kept for {HOST}".encode() in shown
    assert SECRET.encode() not in shown
    assert [kept["username"] for kept in kept_now(fleet)] == ["puller"]


async def test_the_clients_keep_list_and_forget(fleet: Cluster) -> None:
    with towline.Client(fleet.url, fleet.token("admin")) as client:
        kept = client.set_registry(HOST, username="puller", password=SECRET)
        assert client.registry(HOST) == kept
        assert client.registries() == [kept]
        client.remove_registry(HOST)
        with pytest.raises(ApiError) as refused:
            client.registry(HOST)
        assert refused.value.status == 404
    async with towline.AsyncClient(fleet.url, fleet.token("admin")) as other:
        kept = await other.set_registry("docker.io", identity_token=SECRET)
        assert await other.registry("docker.io") == kept
        assert await other.registries() == [kept]
        await other.remove_registry("docker.io")
        assert await other.registries() == []


def test_a_controller_with_another_key_says_so_and_loses_nothing(
    fleet: Cluster, tmp_path: Path
) -> None:
    fleet.admin.put(f"/registry/{HOST}", json=PULLER).raise_for_status()
    own, theirs = tmp_path / "own", fleet.directory / "controller"

    def controller(*arguments: str | Path) -> TowlineProcess:
        return TowlineProcess(
            *("controller", "--state", own, "--listen", "127.0.0.1:0", *arguments),
            *fleet.broker.journal_login,
            *("--token-key", theirs / "token.key"),
            logs=tmp_path,
        )

    with controller() as process:
        client = fleet.client(fleet.token("admin"), process.wait_for_output(r"http://\S+")[0])
        (kept,) = client.get("/registry").json()["registries"]
        assert (kept["registry"], kept["readable"]) == (HOST, False)
        refused = client.put("/registry/docker.io", json=PULLER)
        assert refused.status_code == 409
        assert str(own / "credentials.key") in refused.json()["details"]
        assert process.stop() == 0
    assert [kept["readable"] for kept in kept_now(fleet)] == [True]

    with controller("--credentials-key", tmp_path / "absent") as process:
        assert process.wait() == 2
        assert str(tmp_path / "absent") in process.stderr
    named = shutil.copy(theirs / "credentials.key", tmp_path / "named")
    with controller("--credentials-key", named) as process:
        client = fleet.client(fleet.token("admin"), process.wait_for_output(r"http://\S+")[0])
        assert client.put("/registry/docker.io", json=PULLER).status_code == 201
        assert process.stop() == 0
