"""The brokers' CA is replaced on a broker's machine while nodes pull, and one is away."""

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest

from tests.system.rotation.conftest import BY_HAND, HERE, INVITED, Rotating
from tests.testing.cluster import PULL
from tests.testing.command import CommandLine, Finished, failed
from tests.testing.own_broker import OwnBroker, until_verified, verifies
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.registry import PushedImage
from towline.trust.certificates import pem_blocks
from towline.trust.keys import CA, CA_KEY, Trust

AWAY = "away"


class Machine:
    """The broker's machine, which has no controller.

    Parameters: `broker` is alone.
    """

    def __init__(self, rotating: Rotating, broker: OwnBroker) -> None:
        self._rotating = rotating
        self.broker = broker
        (self.port,) = broker.ports
        self.trust = Trust(broker.state(0) / "trust")

    def rotate(self, *flags: str) -> Finished:
        token = self._rotating.cluster.token("admin")
        towline = CommandLine(self.trust.directory.parent, {"TOWLINE_TOKEN": token})
        return towline("trust", "rotate", "ca", "--url", self._rotating.urls[0], *flags)

    def step(self, *flags: str) -> str:
        """Take a step, and give controllers the CAs; return the first, once all have read them."""
        cluster = self._rotating.cluster
        waited = dict.fromkeys((cluster.controller, *cluster.controllers), "keys read again")
        (server,) = self.broker.servers
        waited[server] = "certificate renewed"
        before = {process: process.stderr.count(line) for process, line in waited.items()}
        done = self.rotate(*flags)
        assert done.status == 0, done
        for state in self._rotating.states:
            shutil.copy2(self.trust.path(CA), state / "trust" / CA)
        for process, line in waited.items():

            def read(process: TowlineProcess = process, line: str = line) -> bool:
                return process.stderr.count(line) > before[process]

            process.wait_for(read)
        return pem_blocks(self.trust.read(CA))[0]

    def copy_by_hand(self) -> None:
        """Give the node that came by no invite the certificates that it verifies the broker by."""
        shutil.copy2(self.trust.path(CA), self.broker.ca)

    def restart(self, files: Path | None = None) -> None:
        """Start the broker again, with other files of the CA where they are given."""
        self.broker.stop()
        if files is not None:
            for name in (CA, CA_KEY):
                shutil.copy2(files / name, self.trust.path(name))
        self.broker.start()

    def keep(self, directory: Path) -> Path:
        """Return a copy of the files of the CA."""
        directory.mkdir()
        for name in (CA, CA_KEY):
            shutil.copy2(self.trust.path(name), directory / name)
        return directory


@pytest.fixture
def machine(rotating: Rotating) -> Machine:
    broker = rotating.cluster.broker
    assert isinstance(broker, OwnBroker)
    return Machine(rotating, broker)


def test_each_step_under_pulls_and_a_node_that_was_away_over_all_of_them(
    rotating: Rotating, machine: Machine, image: PushedImage, tmp_path: Path
) -> None:
    old, old_files = machine.trust.read(CA), machine.keep(tmp_path / "old")
    away = rotating.join(AWAY)
    with rotating.agent(AWAY):
        rotating.cluster.wait_here(AWAY)
    rotating.cluster.wait_away(AWAY)

    with rotating.pulls(image):
        machine.step()
        assert len(rotating.kind("ca")["keys"]) == 2
        rotating.wait_behind("ca", BY_HAND)
        for flags in ((), ("--retire",)):
            refused = failed(machine.rotate(*flags))
            assert "1 of 2 nodes that are here do not know the keys of ca yet" in refused
        machine.copy_by_hand()
        rotating.wait_behind("ca")
        new = machine.step()
        assert new.strip() != old
        asyncio.run(until_verified(machine.port, new))
        rotating.wait_behind("ca")
        kept = rotating.cluster.pull(AWAY, image.reference, prefer="respond-async").json()
        machine.step("--retire")
        # It knows the one that signs, and one by which nobody signs any more.
        rotating.wait_behind("ca", BY_HAND)
        machine.copy_by_hand()
        rotating.wait_behind("ca")
    assert len(rotating.kind("ca")["keys"]) == 1
    assert rotating.kind("ca")["keys"] == rotating.kind("ca", 1)["keys"]

    # Everybody connects anew, the controllers too, and by the new one alone.
    new_files = machine.keep(tmp_path / "new")
    machine.restart()
    assert not asyncio.run(verifies(machine.port, old))
    rotating.cluster.wait_here(BY_HAND, INVITED)
    for client in (rotating.admin, *rotating.cluster.others):

        def pulled(client: httpx.Client = client) -> bool:
            answer = client.post(f"/node/{HERE}/{PULL}", json={"image": image.reference})
            return [each["status"] for each in answer.json().get("results", [])] == ["ok", "ok"]

        wait_until(pulled, what="a pull by a controller that is back")

    with rotating.agent(AWAY) as process:
        assert rotating.cluster.ended(kept["job_id"])["status"] == "completed"
        process.wait_for(lambda: "cut off" in process.stderr)
        rotating.wait_behind("ca")
        assert away.ca is not None
        assert away.ca.read_text().strip() == new.strip()

        # A broker with a certificate by the old one is none to a node, nor to a controller.
        before = process.stderr.count("CERTIFICATE_VERIFY_FAILED")
        machine.restart(old_files)
        assert asyncio.run(verifies(machine.port, old))
        process.wait_for(lambda: process.stderr.count("CERTIFICATE_VERIFY_FAILED") > before)
        machine.restart(new_files)
        rotating.cluster.wait_here(AWAY, BY_HAND, INVITED)
