"""What nodes are given with their tasks: the credential of a job's registry, sealed to each."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from towline.broker.answers import BrokerRefused
from towline.broker.connection import unreachable
from towline.broker.jetstream import JetStream
from towline.controller.credentials.store import CredentialStore, StoredCredential
from towline.controller.credentials.supplies import SLICE, Supplies
from towline.errors import TowlineError
from towline.operations import docker, node
from towline.runtime.keys import KEY_BYTES, NodeKey, Vault
from towline.wire.credential import Credential, Issued, Supply
from towline.wire.job import Job, new_id

REGISTRY = "registry.internal:5000"
PULLER, OWN = Credential("puller", "s3cret"), Credential(identity_token="t0ken")
KEYS = {name: NodeKey(os.urandom(KEY_BYTES)) for name in ("web-01", "web-02")}


class Store(CredentialStore):
    """A store in memory, which counts how often it is asked.

    Attributes:
        failing: raised by each look-up while it is set.
    """

    def __init__(self, key: bytes = bytes(KEY_BYTES)) -> None:
        super().__init__(cast(JetStream, None), Vault([key], Path("credentials.key")))
        self.kept: dict[str, StoredCredential] = {}
        self.failing: TowlineError | None = None
        self.asked: list[str] = []

    def keep(self, key: str, credential: Credential) -> None:
        self.kept[key] = self._lock(key, REGISTRY, credential, "ann")

    async def _read(self, key: str) -> StoredCredential | None:
        self.asked.append(key)
        if self.failing is not None:
            raise self.failing
        return self.kept.get(key)


OF_REGISTRY = f"registry.{REGISTRY.encode().hex()}"


def a_job(operation: str = docker.pull.name, *, credential: bool = False, **parameters: Any) -> Job:
    now = time.time()
    parameters = parameters or {"image": f"{REGISTRY}/app:1.0"}
    return Job(new_id(), operation, parameters, "_all", "ci", now, now + 60, credential=credential)


def key_of(machine: str) -> str | None:
    found = KEYS.get(machine)
    return None if found is None else found.public


def opened(supply: Supply, machine: str) -> Issued:
    return msgspec.json.decode(KEYS[machine].unseal(supply.sealed), type=Issued)


@pytest.mark.parametrize("own", [False, True])
async def test_each_node_is_given_the_credential_so_that_it_alone_can_read_it(own: bool) -> None:
    store, job = Store(), a_job(credential=own)
    store.keep(OF_REGISTRY, PULLER)
    store.keep(f"job.{job.id}", OWN)
    found = await Supplies(store, key_of).of(job, list(KEYS))
    expected = Issued(job.id, REGISTRY, OWN if own else PULLER, own)
    assert {machine: opened(supply, machine) for machine, supply in found.items()} == {
        "web-01": expected,
        "web-02": expected,
    }
    assert found["web-01"].sealed != found["web-02"].sealed
    assert len(store.asked) == 1


async def test_it_is_looked_up_once_and_sealed_for_each_of_many_nodes() -> None:
    store = Store()
    store.keep(OF_REGISTRY, PULLER)
    machines = [f"node-{number}" for number in range(2 * SLICE + 1)]
    found = await Supplies(store, lambda _: KEYS["web-01"].public).of(a_job(), machines)
    assert list(found) == machines
    assert all(opened(supply, "web-01").credential == PULLER for supply in found.values())
    assert len({supply.sealed for supply in found.values()}) == len(machines)
    assert len(store.asked) == 1


async def test_where_nothing_is_kept_nothing_is_given() -> None:
    store = Store()
    assert await Supplies(store, key_of).of(a_job(), list(KEYS)) == {}
    assert len(store.asked) == 1


@pytest.mark.parametrize(
    ("job", "machines"),
    [(a_job(node.load.name, limit=1), ["web-01"]), (a_job("newer.one"), ["web-01"]), (a_job(), [])],
    ids=["it logs in nowhere", "its operation isn't known", "for no node"],
)
async def test_nothing_is_looked_up_where_nothing_is_needed(job: Job, machines: list[str]) -> None:
    store = Store()
    assert await Supplies(store, key_of).of(job, machines) == {}
    assert not store.asked


async def test_a_node_whose_key_is_not_known_may_be_known_to_another_controller() -> None:
    store = Store()
    store.keep(OF_REGISTRY, PULLER)
    found = await Supplies(store, key_of).of(a_job(), ["web-01", "new"])
    assert found["new"] == Supply(
        error="this controller does not know the node's public key", again=True
    )
    assert opened(found["web-01"], "web-01").credential == PULLER


async def test_what_came_with_a_request_and_is_gone_is_an_error_for_good() -> None:
    job = a_job(credential=True)
    found = await Supplies(Store(), key_of).of(job, list(KEYS))
    gone = Supply(error=f"the credential that came with job {job.id} is gone")
    assert found == dict.fromkeys(KEYS, gone)


@pytest.mark.parametrize(
    "failing",
    [
        unreachable("NATS: it is stopped"),
        BrokerRefused(10008, "no space"),
    ],
)
async def test_what_can_not_be_looked_up_now_may_be_later(failing: TowlineError) -> None:
    store = Store()
    store.failing = failing
    found = await Supplies(store, key_of).of(a_job(), list(KEYS))
    assert found == dict.fromkeys(KEYS, Supply(error=failing.error, again=True))


async def test_what_is_locked_with_another_key_says_so_and_another_controller_may_have_it() -> None:
    theirs, ours = Store(os.urandom(KEY_BYTES)), Store()
    theirs.keep(OF_REGISTRY, PULLER)
    ours.kept = theirs.kept
    found = await Supplies(ours, key_of).of(a_job(), ["web-01"])
    assert found["web-01"].again
    assert f"The credential for {REGISTRY} can't be decrypted." in found["web-01"].error


@pytest.mark.parametrize("parameters", [{"picture": "app:1.0"}, {"image": 7}, {"image": ":"}])
async def test_a_job_that_can_not_be_read_is_an_error_in_words(parameters: Any) -> None:
    found = await Supplies(Store(), key_of).of(a_job(**parameters), ["web-01"])
    assert found["web-01"].error
    assert not found["web-01"].again


async def test_what_is_looked_up_ahead_is_given_and_not_looked_up_again() -> None:
    store, job = Store(), a_job()
    store.keep(OF_REGISTRY, PULLER)
    supplies = Supplies(store, key_of)
    with supplies.ahead(job):
        await asyncio.sleep(0)
        assert store.asked == [OF_REGISTRY]
        found = await supplies.of(job, list(KEYS))
        assert len(store.asked) == 1
    assert {opened(found[machine], machine).credential for machine in KEYS} == {PULLER}
    # What is asked later may be another one by then.
    store.keep(OF_REGISTRY, OWN)
    found = await supplies.of(job, list(KEYS))
    assert {opened(found[machine], machine).credential for machine in KEYS} == {OWN}


async def test_what_can_t_be_looked_up_ahead_says_so_when_it_is_wanted() -> None:
    store, job = Store(), a_job()
    store.failing = unreachable("a test says so")
    supplies = Supplies(store, key_of)
    with supplies.ahead(job):
        found = await supplies.of(job, ["web-01"])
    assert found["web-01"].again


async def test_nothing_is_left_of_what_was_looked_up_for_a_job_that_was_not_stored() -> None:
    store, job = Store(), a_job()
    store.keep(OF_REGISTRY, PULLER)
    supplies = Supplies(store, key_of)
    with supplies.ahead(job):
        await asyncio.sleep(0)
    assert opened((await supplies.of(job, ["web-01"]))["web-01"], "web-01").credential == PULLER
    assert len(store.asked) == 2
