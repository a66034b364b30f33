"""How an agent has its login renewed: when, again when that fails, and no other node's."""

import asyncio
import contextlib
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.testing.controllers import now
from tests.testing.doubles import ConnectionDouble, believed
from towline.agent.questions import ControllerQuestions
from towline.agent.renewal import Renewal
from towline.broker.clock import Clock
from towline.errors import BrokerUnreachable
from towline.trust import claims, identity
from towline.trust.identity import Identity, Keys
from towline.trust.joining import machine_of
from towline.wire.joining import JoinAnswer
from towline.wire.report import Answer

ACCOUNT = claims.make_seed(claims.ACCOUNT)
KEYS = Keys()


def a_login(begun: float, ends: float, *, key: str = KEYS.nkey, machine: str = "") -> str:
    """Return a login that began and ends so many seconds from now."""
    moment = time.time()
    return claims.sign(
        claims.User(),
        by=ACCOUNT,
        about=key,
        name=machine or machine_of(key),
        iat=int(moment + begun),
        exp=int(moment + ends),
    )


def a_node(state: Path, login: str) -> Identity:
    """Return the identity of a node that came in with a login."""
    machine = machine_of(KEYS.nkey)
    answer = JoinAnswer("accepted", machine, "web-01", "f", jwt=login, jobs=["0" * 64])
    where = {"controller": "http://127.0.0.1:1", "pin": "p"}
    return identity.keep(state, KEYS, answer, ["nats://127.0.0.1:1"], **where)


@pytest.fixture
def connection() -> ConnectionDouble:
    return ConnectionDouble()


@contextlib.asynccontextmanager
async def renewing(node: Identity, connection: ConnectionDouble) -> AsyncIterator[None]:
    questions = ControllerQuestions(believed(connection, "a", Clock()), "a", retry_every=0.001)
    renewal = Renewal(node, questions, time.time, look_every=0.001, retry_every=0.001)
    task = asyncio.create_task(renewal.run())
    try:
        yield
        assert not task.done(), "the renewal has ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_asked(connection: ConnectionDouble, often: int) -> None:
    async with asyncio.timeout(20):
        while connection.requests < often:
            await asyncio.sleep(0.001)


async def test_a_login_is_renewed_once_past_its_half_life_and_its_key_stays(
    connection: ConnectionDouble, tmp_path: Path
) -> None:
    node = a_node(tmp_path, a_login(-60, 50))
    new = a_login(0, 3600)
    connection.controllers.refusal = Answer(now(), login=new)
    async with renewing(node, connection), asyncio.timeout(20):
        while claims.token_in(node.login.read_text()) != new:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
    assert connection.requests == 1
    assert node.login.read_text().strip() == claims.credentials(new, KEYS.seed).strip()
    assert stat.S_IMODE(node.login.stat().st_mode) == 0o600


async def test_before_its_half_life_nobody_is_asked(
    connection: ConnectionDouble, tmp_path: Path
) -> None:
    async with renewing(a_node(tmp_path, a_login(-50, 60)), connection):
        await asyncio.sleep(0.02)
    assert connection.requests == 0


@pytest.mark.parametrize(
    "answer",
    [
        Answer(now(), error="this node is not in: it is revoked"),
        Answer(now(), login="x.y.z"),
        Answer(now(), login=a_login(0, 3600, key=Keys().nkey)),
        Answer(now(), login=a_login(0, 3600, machine="another")),
        Answer(now(), login=a_login(0, 3600)[:-8] + "AAAAAAAA"),
    ],
)
async def test_what_is_no_login_of_this_node_is_not_kept_and_it_asks_again(
    connection: ConnectionDouble, tmp_path: Path, answer: Answer
) -> None:
    node = a_node(tmp_path, a_login(-60, 50))
    before = node.login.read_text()
    connection.controllers.refusal = answer
    async with renewing(node, connection):
        await until_asked(connection, 3)
        assert node.login.read_text() == before
        new = a_login(0, 3600)
        connection.controllers.refusal = Answer(now(), login=new)
        async with asyncio.timeout(20):
            while claims.token_in(node.login.read_text()) != new:
                await asyncio.sleep(0.001)


async def test_an_answer_that_no_controller_has_signed_renews_nothing(
    connection: ConnectionDouble, tmp_path: Path
) -> None:
    node = a_node(tmp_path, a_login(-60, 50))
    before = node.login.read_text()
    connection.controllers.refusal = Answer(now(), login=a_login(0, 3600))
    connection.junk = lambda purpose: b'{"kid":"x","sig":"","body":"{}"}'
    questions = ControllerQuestions(believed(connection, "a", Clock()), "a", retry_every=0.001)
    with pytest.raises(BrokerUnreachable, match="not believed"):
        await questions.renew()
    async with renewing(node, connection):
        await until_asked(connection, 6)
    assert node.login.read_text() == before
