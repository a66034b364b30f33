"""The credentials that controllers keep in a real broker."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from tests.testing.broker import Broker
from towline.broker.jetstream import JetStream
from towline.controller.credentials.store import CredentialStore
from towline.errors import Conflict
from towline.runtime.keys import Vault, WrongKey, open_vault
from towline.runtime.state_directory import keep_private
from towline.wire.credential import Credential

HOST, OTHER = "registry.example:5000", "[::1]:5000"
PULLER = Credential(username="puller", password="s3cret")
TOKEN = Credential(identity_token="t0ken")
STREAM = "KV_credentials"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return open_vault(tmp_path / "credentials.key", create=True)


@pytest.fixture
async def store(jetstream: JetStream, vault: Vault) -> CredentialStore:
    store = CredentialStore(jetstream, vault)
    await store.create(1)
    return store


async def test_a_credential_of_a_registry_is_kept_until_it_is_removed(
    store: CredentialStore,
) -> None:
    assert await store.get(HOST) is None
    first, new = await store.put(HOST, TOKEN, "ann")
    assert new
    stored, new = await store.put(HOST, PULLER, "ben")
    assert not new
    assert await store.get(HOST) == stored != first
    assert (stored.registry, stored.username, stored.by) == (HOST, "puller", "ben")
    assert store.open(stored) == PULLER
    await store.put(OTHER, TOKEN, "ann")
    assert [each.registry for each in await store.all()] == [OTHER, HOST]
    assert await store.remove(HOST)
    assert not await store.remove(HOST)
    assert [each.registry for each in await store.all()] == [OTHER]


async def test_what_a_request_brought_is_kept_for_its_job(store: CredentialStore) -> None:
    await store.put_for_job("0199", HOST, PULLER, "ann")
    assert await store.jobs() == ["0199"]
    assert await store.all() == []
    stored = await store.get_for_job("0199")
    assert stored is not None
    assert store.open(stored, job_id="0199") == PULLER
    await store.remove_for_job("0199")
    assert await store.jobs() == []
    assert await store.get_for_job("0199") is None


async def test_no_secret_stands_in_the_broker(store: CredentialStore, own_broker: Broker) -> None:
    await store.put(HOST, PULLER, "ann")
    await store.put_for_job("0199", HOST, TOKEN, "ann")
    bodies = [body for _, body in await asyncio.to_thread(own_broker.messages, STREAM)]
    assert len(bodies) == 2
    assert not any(secret in body for body in bodies for secret in (b"s3cret", b"t0ken"))


async def test_a_credential_that_was_moved_elsewhere_or_changed_does_not_open(
    store: CredentialStore,
) -> None:
    stored, _ = await store.put(HOST, PULLER, "ann")
    for changed, job_id in (
        (msgspec.structs.replace(stored, registry=OTHER), None),
        (msgspec.structs.replace(stored, by="eve"), None),
        (stored, "0199"),
    ):
        with pytest.raises(WrongKey):
            store.open(changed, job_id=job_id)


async def test_another_controller_s_key_is_named_and_overwrites_nothing(
    store: CredentialStore, jetstream: JetStream, tmp_path: Path
) -> None:
    stored, _ = await store.put(HOST, PULLER, "ann")
    other = CredentialStore(jetstream, open_vault(tmp_path / "other.key", create=True))
    assert not other.readable(stored)
    with pytest.raises(WrongKey, match=stored.key):
        other.open(stored)
    with pytest.raises(Conflict, match=HOST):
        await other.put(OTHER, PULLER, "ann")
    assert await other.get(OTHER) is None
    await other.put(HOST, TOKEN, "ann")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"registry": 7}'])
async def test_what_can_t_be_read_hides_no_other_credential_and_can_be_replaced(
    store: CredentialStore, own_broker: Broker, data: bytes
) -> None:
    await store.put(HOST, PULLER, "ann")
    await store.put(OTHER, TOKEN, "ann")
    messages = await asyncio.to_thread(own_broker.messages, STREAM)
    await asyncio.to_thread(own_broker.publish, messages[0][0], data)
    assert [each.registry for each in await store.all()] == [OTHER]
    assert await store.get(HOST) is None
    _, new = await store.put(HOST, PULLER, "ann")
    assert new


async def test_a_credential_of_a_kind_that_this_version_does_not_know_is_an_error_without_it(
    store: CredentialStore, vault: Vault
) -> None:
    stored, _ = await store.put(HOST, PULLER, "ann")
    place = store._place(f"registry.{HOST.encode().hex()}", stored)
    newer = msgspec.structs.replace(stored, locked=vault.lock(b'{"password": ["s3cret"]}', place))
    with pytest.raises(WrongKey) as refused:
        store.open(newer)
    assert "s3cret" not in str(refused.value)


async def test_what_is_kept_with_an_older_key_is_locked_anew_and_is_the_same_otherwise(
    store: CredentialStore, jetstream: JetStream, vault: Vault, tmp_path: Path
) -> None:
    stored, _ = await store.put(HOST, PULLER, "ann")
    await store.put_for_job("0199", HOST, TOKEN, "ann")
    strange = CredentialStore(jetstream, open_vault(tmp_path / "strange.key", create=True))
    await strange.put_for_job("0200", OTHER, TOKEN, "eve")
    text = vault.path.read_text()
    vault.path.write_text(f"{'6b' * 32}\n{text}")
    vault.replace(open_vault(vault.path, create=False))
    assert await store.lock_anew() == 2
    assert await store.lock_anew() == 0

    # Another controller, which has not read yet that the new key is the first, takes none back.
    behind = tmp_path / "behind.key"
    keep_private(behind, f"{text}next {'6b' * 32}\n")
    assert await CredentialStore(jetstream, open_vault(behind, create=False)).lock_anew() == 0

    vault.path.write_text("6b" * 32)
    newest = CredentialStore(jetstream, open_vault(vault.path, create=False))
    found, of_job = await newest.get(HOST), await newest.get_for_job("0199")
    assert found is not None
    assert of_job is not None
    assert newest.open(found) == PULLER
    assert newest.open(of_job, job_id="0199") == TOKEN
    assert (found.updated, found.by) == (stored.updated, stored.by)
    # What neither key opens is left for whoever can.
    other = await strange.get_for_job("0200")
    assert other is not None
    assert strange.open(other, job_id="0200") == TOKEN
