"""The records of tokens in a real broker, as several controllers follow them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from towline.broker.jetstream import JetStream
from towline.controller.auth import CLOCKS_APART
from towline.controller.token_keys import LONGEST_LIFE
from towline.controller.tokens import TokenRecord, Tokens
from towline.errors import BrokerUnreachable, TowlineError

DAY = 86400.0


@contextlib.asynccontextmanager
async def following(tokens: Tokens) -> AsyncIterator[Tokens]:
    """Let a controller follow the records for as long as the block lasts."""
    task = asyncio.create_task(tokens.run())
    try:
        await tokens.until_known()
        yield tokens
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def record(token_id: str, *, lifetime: float = DAY) -> TokenRecord:
    now = time.time()
    return TokenRecord(token_id, now, now + lifetime, "ann", ["read"], None, "ben")


async def until(tokens: Tokens, token_id: str) -> None:
    async with asyncio.timeout(20):
        while not tokens.is_revoked(token_id):
            await asyncio.sleep(0.001)


@pytest.fixture
async def tokens(jetstream: JetStream) -> Tokens:
    made = Tokens(jetstream)
    await made.create(1)
    return made


async def test_what_one_controller_records_and_revokes_all_know(
    tokens: Tokens, jetstream: JetStream
) -> None:
    async with following(tokens), following(Tokens(jetstream)) as other:
        await tokens.add(record("a"))
        await tokens.add(record("b"))
        revoked = await other.revoke("a", "eve")
        await until(tokens, "a")
        assert tokens.get("a") == revoked
        assert (revoked.subject, revoked.by, revoked.revoked_by) == ("ann", "ben", "eve")
        assert not tokens.is_revoked("b")
        assert [each.id for each in tokens.all()] == ["b", "a"]
    async with following(Tokens(jetstream)) as later:
        assert later.is_revoked("a")
        assert not later.is_revoked("b")


async def test_who_revokes_a_token_at_the_same_time_as_others_is_given_the_one_revocation(
    tokens: Tokens, jetstream: JetStream
) -> None:
    several = [tokens, *(Tokens(jetstream) for _ in range(3))]
    found = await asyncio.gather(
        *(each.revoke("a", f"caller{number}") for number, each in enumerate(several))
    )
    assert len({each.revoked_by for each in found}) == 1
    assert all(each.is_revoked("a") for each in several)


async def test_a_token_that_has_expired_is_in_no_list_and_is_forgotten(
    tokens: Tokens, jetstream: JetStream
) -> None:
    async with following(tokens):
        await tokens.add(record("old", lifetime=-2 * CLOCKS_APART))
        assert tokens.all() == []
        assert tokens.get("old") is None
        await tokens.add(record("new"))

        async def kept() -> int:
            answer = await jetstream.call("STREAM.INFO.KV_tokens")
            return int(answer["state"]["messages"])

        async with asyncio.timeout(20):
            while await kept() != 1:
                await asyncio.sleep(0.01)
        assert [each.id for each in tokens.all()] == ["new"]


async def test_before_it_is_known_what_was_revoked_nobody_waits_for_ever(
    jetstream: JetStream,
) -> None:
    with pytest.raises(BrokerUnreachable, match="which tokens were revoked"):
        await Tokens(jetstream, known_within=0.05).until_known()


async def test_however_many_tokens_are_made_there_is_room_to_revoke_each(
    jetstream: JetStream,
) -> None:
    tokens, made = Tokens(jetstream, room=64 * 1024), list[str]()

    async def make() -> None:
        for number in range(1000):
            await tokens.add(record(f"t{number}"))
            made.append(f"t{number}")

    await tokens.create(1)
    with pytest.raises(TowlineError, match="No more tokens are made"):
        await make()
    assert len(made) > 10
    for each in made:
        await tokens.revoke(each, "eve")
    assert all(map(tokens.is_revoked, made))


async def test_a_revocation_is_kept_for_longer_than_any_token_is_taken(tokens: Tokens) -> None:
    revoked = await tokens.revoke("unknown", "eve")
    assert revoked.expires - time.time() > LONGEST_LIFE + CLOCKS_APART
