"""With which tokens commands get in, and who may make one."""

import getpass
import json
import os
import re
from pathlib import Path

from tests.testing.cluster import DB_1, PULL, WEB_1, WEB_2, Cluster
from tests.testing.command import CommandLine, failed
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import PushedImage
from towline.cli.outcome import FAILED

AS_NOBODY_SPECIAL = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Root without the capabilities that put it above permissions."""


def test_a_token_that_may_only_pull_is_enough_to_pull(
    mixed: Cluster, proxy: FaultyProxy, image: PushedImage, tmp_path: Path
) -> None:
    token = mixed.token(permissions=["docker:write"])
    towline = CommandLine(tmp_path, {"TOWLINE_URL": mixed.url, "TOWLINE_TOKEN": token})
    assert towline("pull", image.reference, "--on", WEB_1).status == 0
    assert "cannot connect" in failed(
        towline("pull", "nginx", "--on", WEB_2, "--retries", "0"), FAILED
    )

    # Without job:read it is the same request that is sent again.
    proxy.fault = Freeze(match="images/create")
    done = towline("pull", f"{image.reference}", "--on", WEB_1, "--wait", "2s")
    assert done.status == 4
    said = re.search(r"not done yet: towline job (\S+) shows", done.stderr)
    assert said is not None
    proxy.fault = None
    again = towline("pull", image.reference, "--on", WEB_1, "--idempotency-key", said[1])
    assert again.status == 0
    assert mixed.ended(said[1])["status"] == "completed"


def test_a_state_directory_of_somebody_else_is_no_traceback(mixed: Cluster, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65534, 65534)
    towline = CommandLine(closed, prefix=AS_NOBODY_SPECIAL)
    said = failed(towline("nodes"))
    assert f"{str(closed)!r} may not be read" in said
    assert "none runs here" not in said
    assert "There is no token" in failed(towline("nodes", "--url", mixed.url))
    said = failed(towline("token", "create", "--subject", "alice", "--role", "read"))
    assert "Permission denied" in said
    assert towline("nodes", "--url", mixed.url, "--token", mixed.token("read")).status == 0


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


def test_beside_the_key_a_token_is_made_in_the_name_of_the_person(mixed: Cluster) -> None:
    def caller(*prefix: str) -> str:
        state = mixed.directory / "controller"
        towline = CommandLine(state, {}, prefix)
        where = ("--url", mixed.url, "--state", state)
        done = towline("node", "load", "--on", DB_1, "-o", "json", *where)
        name: str = mixed.job(json.loads(done.stdout)["job_id"])["caller"]
        return name

    assert caller() == f"local:{getpass.getuser()}"
    unnamed = [f"--unset={name}" for name in ("LOGNAME", "USER", "LNAME", "USERNAME")]
    # Another user who may read everything, to find the program wherever it is.
    everything = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    assert caller("setpriv", "--reuid=12345", *everything, "env", *unnamed) == "local:12345"
