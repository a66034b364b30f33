"""On one machine nothing has to be copied: `towline up` has all parts follow by themselves."""

import asyncio
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.testing.cluster import NO_ENGINE
from tests.testing.command import CommandLine
from tests.testing.own_broker import verifies
from tests.testing.ports import free_port
from tests.testing.process import wait_until
from tests.testing.up import Up
from towline.controller.token_keys import load_keys
from towline.trust import claims
from towline.trust.certificates import fingerprints, pem_blocks, short_id
from towline.trust.keys import API_CA, CA, Trust


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    ports = {"--listen": free_port(), "--broker-listen": free_port()}
    listen = [part for flag, port in ports.items() for part in (flag, f"0.0.0.0:{port}")]
    with Up(tmp_path, *listen, "--engine", NO_ENGINE, "--hostname", "web-01") as up:
        up.url = f"https://127.0.0.1:{ports['--listen']}"
        up.wait_for_output("no reachable node has a Docker Engine")
        yield up


def test_each_kind_of_keys_that_its_node_trusts_is_replaced(up: Up) -> None:
    broker = int(up.wait_for_output("The broker answers at tls://0.0.0.0:([0-9]+)")[1])
    towline, trust = CommandLine(up.state), Trust(up.state / "trust")
    (old,), old_ca = trust.login_keys().public, trust.read(CA)

    token = load_keys(up.state / "token.key", create=False).create(
        subject="tests", roles=["admin"], lifetime=3600
    )
    headers = {"Authorization": f"Bearer {token}"}
    trusted = ssl.create_default_context(cafile=trust.path(API_CA))

    client = httpx.Client(base_url=up.url, headers=headers, verify=trusted, timeout=60)

    def step(kind: str, *flags: str) -> None:
        """Take a step, and wait until the next one can be taken."""
        done = towline("trust", "rotate", kind, *flags)
        assert done.status == 0, done
        keys = {"nodes": trust.login_keys().public, "ca": fingerprints(trust.read(CA))}
        expected = {"kind": kind, "keys": [short_id(each) for each in keys[kind]]}

        def followed() -> bool:
            time.sleep(0.2)  # nothing of what it waits for takes less
            # Of nodes that are behind, and of what else holds it up, it says nothing.
            return expected in client.get("/trust").json()["kinds"]

        wait_until(followed, what="all parts to follow")

    for kind in ("nodes", "ca"):
        step(kind)
        step(kind)
        step(kind, "--retire")
    login = (up.state / "broker" / "agent.creds").read_text()
    assert claims.read(claims.token_in(login), claims.User)[0].iss == trust.login_keys().public[0]
    assert trust.login_keys().retired == (old,)
    (new_ca,) = pem_blocks(trust.read(CA))
    wait_until(lambda: asyncio.run(verifies(broker, new_ca)), what="a broker with the new CA")
    assert not asyncio.run(verifies(broker, old_ca))

    def answers() -> bool:
        return client.get("/node/web-01/load").status_code == 200

    wait_until(answers, what="an answer of the node")
    # All connect anew, with nothing but what there is now.
    assert up.stop() == 0
    with up:
        up.wait_for_output("no reachable node has a Docker Engine")
        wait_until(answers, what="an answer of the node")
