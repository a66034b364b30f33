"""How an agent has its login renewed: when, again when that fails, and no other node's."""

import asyncio
import contextlib
import random
import shutil
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.testing.controllers import now
from tests.testing.doubles import ConnectionDouble, believed, until
from tests.testing.signing import SIGNER, STRANGER
from towline.agent.questions import ControllerQuestions
from towline.agent.renewal import Renewal
from towline.agent.trust_files import TrustFiles
from towline.broker.clock import Clock
from towline.broker.settings import Settings
from towline.errors import BrokerUnreachable
from towline.trust import claims, identity, trusted
from towline.trust.certificates import make_authority
from towline.trust.identity import Identity, Keys
from towline.trust.job_keys import load_verifier
from towline.trust.joining import machine_of
from towline.trust.trusted import Trusted
from towline.wire.joining import JoinAnswer
from towline.wire.joining import Renewal as Renewed
from towline.wire.report import Answer

ACCOUNT = claims.make_seed(claims.ACCOUNT)
KEYS = Keys()
CA = make_authority().certificate


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
    answer = JoinAnswer(
        *("accepted", machine, "web-01", "f"), jwt=login, ca=CA, jobs=[SIGNER.public[0].hex()]
    )
    where = {"controller": "http://127.0.0.1:1", "pin": "p"}
    return identity.keep(state, KEYS, answer, ["nats://127.0.0.1:1"], **where)


@pytest.fixture
def connection() -> ConnectionDouble:
    return ConnectionDouble()


def files_of(node: Identity) -> TrustFiles:
    """Return the files that say whom a node trusts."""
    broker = Settings(["tls://127.0.0.1:1"], node.login, node.ca)
    return TrustFiles(broker, lambda: load_verifier(node.jobs, named=True))


@contextlib.asynccontextmanager
async def renewing(
    node: Identity,
    connection: ConnectionDouble,
    look_every: float = 0.001,
    files: TrustFiles | None = None,
) -> AsyncIterator[tuple[Renewal, TrustFiles]]:
    questions = ControllerQuestions(believed(connection, "a", Clock()), "a", retry_every=0.001)
    files = files or files_of(node)
    renewal = Renewal(node, files, questions, time.time, look_every=look_every, retry_every=0.001)
    task = asyncio.create_task(renewal.run())
    try:
        yield renewal, files
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
    connection.controllers.refusal = Answer(now(), renewal=Renewed(new))
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
        Answer(now(), renewal=Renewed("x.y.z")),
        Answer(now(), renewal=Renewed(a_login(0, 3600, key=Keys().nkey))),
        Answer(now(), renewal=Renewed(a_login(0, 3600, machine="another"))),
        Answer(now(), renewal=Renewed(a_login(0, 3600)[:-8] + "AAAAAAAA")),
        Answer(now(), renewal=Renewed(a_login(0, 3600), ca="-----BEGIN CERTIFICATE-----")),
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
        connection.controllers.refusal = Answer(now(), renewal=Renewed(new))
        async with asyncio.timeout(20):
            while claims.token_in(node.login.read_text()) != new:
                await asyncio.sleep(0.001)


async def test_an_answer_that_no_controller_has_signed_renews_nothing(
    connection: ConnectionDouble, tmp_path: Path
) -> None:
    node = a_node(tmp_path, a_login(-60, 50))
    before = node.login.read_text()
    connection.controllers.refusal = Answer(now(), renewal=Renewed(a_login(0, 3600)))
    connection.junk = lambda purpose: b'{"kid":"x","sig":"","body":"{}"}'
    questions = ControllerQuestions(believed(connection, "a", Clock()), "a", retry_every=0.001)
    with pytest.raises(BrokerUnreachable, match="not believed"):
        await questions.renew()
    async with renewing(node, connection):
        await until_asked(connection, 6)
    assert node.login.read_text() == before


async def test_a_node_that_ought_to_trust_something_else_has_all_of_it_renewed_at_once(
    connection: ConnectionDouble, tmp_path: Path
) -> None:
    node = a_node(tmp_path, a_login(-1, 3600))
    other = claims.make_seed(claims.ACCOUNT)
    login = claims.sign(claims.User(), by=other, about=KEYS.nkey, name=machine_of(KEYS.nkey))
    public = [STRANGER.public[0].hex(), SIGNER.public[0].hex()]
    certificates = CA + make_authority().certificate
    wanted = Trusted(certificates, frozenset(public), claims.public_key(other))
    connection.controllers.refusal = Answer(now(), renewal=Renewed(login, certificates, public))
    changes: list[str] = []
    async with renewing(node, connection, look_every=60.0) as (renewal, files):
        files.on_change = lambda: changes.append(files.trusted.hash)
        renewal.told(files.trusted.hash)
        renewal.told("")
        await asyncio.sleep(0.01)
        assert connection.requests == 0
        renewal.told(wanted.hash)
        renewal.told("")
        await until(lambda: files.trusted.hash == wanted.hash)
        await asyncio.sleep(0.02)
    assert (connection.requests, changes) == (1, [wanted.hash])
    assert files.verifier.public == [bytes.fromhex(each) for each in public]
    kept = Identity(node.directory)
    assert kept.ca is not None
    assert kept.ca.read_text() == certificates
    assert files_of(kept).trusted == wanted
    for path in (kept.ca, kept.jobs, kept.login):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_nodes_ask_spread_over_the_time_that_controllers_give_them(
    connection: ConnectionDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    node = a_node(tmp_path, a_login(-1, 3600))
    async with renewing(node, connection, look_every=60.0) as (renewal, _):
        renewal.told("a.b.c", 7.0)
        # By another controller, or since the node has registered: the first moment counts.
        renewal.told("a.b.c", 9.0)
        await until_asked(connection, 1)
    assert drawn[0] == (0.0, 7.0)
    assert (0.0, 9.0) not in drawn


async def test_nodes_that_are_cut_off_ask_spread_over_the_time_that_controllers_gave_last(
    connection: ConnectionDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    node = a_node(tmp_path, a_login(-1, 3600))
    async with renewing(node, connection, look_every=60.0) as (renewal, files):
        renewal.told(files.trusted.hash, 7.0)
        renewal.told(files.trusted.hash)
        monkeypatch.setattr(random, "uniform", uniform)
        renewal.cut_off()
        renewal.cut_off()
        await until_asked(connection, 1)
    assert drawn[0] == (0.0, 7.0)
    assert drawn.count((0.0, 7.0)) == 1


@pytest.mark.parametrize("kind", [trusted.CA, trusted.JOBS])
async def test_nobody_is_asked_for_what_settings_take_from_another_file(
    connection: ConnectionDouble, tmp_path: Path, kind: str
) -> None:
    node = a_node(tmp_path, a_login(-1, 3600))
    assert node.ca is not None
    paths = {trusted.CA: node.ca, trusted.JOBS: node.jobs}
    own = paths[kind]
    paths[kind] = Path(shutil.copy(own, tmp_path / "named"))
    broker = Settings(["tls://127.0.0.1:1"], node.login, paths[trusted.CA])
    jobs = paths[trusted.JOBS]
    files = TrustFiles(broker, lambda: load_verifier(jobs, named=True), jobs)
    other = {
        trusted.CA: Trusted(make_authority().certificate, files.trusted.jobs, files.trusted.issuer),
        trusted.JOBS: Trusted(CA, frozenset(["ab" * 32]), files.trusted.issuer),
    }
    with capture_logs() as logs:
        async with renewing(node, connection, look_every=60.0, files=files) as (renewal, _):
            renewal.told(other[kind].hash)
            renewal.cut_off(kind)
            await asyncio.sleep(0.02)
            assert connection.requests == 0
            # What else differs is asked for.
            renewal.told("a.b.c")
            await until_asked(connection, 1)
    said = [each["file"] for each in logs if "since a setting names it" in each["event"]]
    assert said == [str(paths[kind])]


async def test_a_node_that_is_answered_by_a_controller_with_other_keys_asks_again(
    connection: ConnectionDouble, tmp_path: Path
) -> None:
    node = a_node(tmp_path, login := a_login(-1, 3600))
    wanted = Trusted(CA, frozenset([STRANGER.public[0].hex()]), claims.public_key(ACCOUNT))
    connection.controllers.refusal = Answer(
        now(), renewal=Renewed(login, CA, [SIGNER.public[0].hex()])
    )
    async with renewing(node, connection, look_every=60.0) as (renewal, files):
        renewal.told(wanted.hash)
        await until_asked(connection, 3)
        connection.controllers.refusal = Answer(
            now(), renewal=Renewed(login, CA, [STRANGER.public[0].hex()])
        )
        await until(lambda: files.trusted == wanted)


async def test_a_node_for_which_there_is_always_something_to_ask_asks_ever_more_seldom(
    connection: ConnectionDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[float] = []

    def uniform(low: float, high: float) -> float:
        if high:
            longest.append(high)
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    node = a_node(tmp_path, login := a_login(-1, 3600))
    renewed = Renewed(login, CA, [SIGNER.public[0].hex()])
    connection.controllers.refusal = Answer(now(), renewal=renewed)
    async with renewing(node, connection, look_every=60.0) as (renewal, _):
        async with asyncio.timeout(20):
            while len(longest) < 5:
                # As where one of the controllers signs with a key of its own.
                renewal.cut_off()
                await asyncio.sleep(0.001)
    assert longest[:5] == [0.001, 0.002, 0.004, 0.008, 0.016]


async def test_a_node_that_is_cut_off_asks_over_the_broker_and_by_http_where_that_fails(
    connection: ConnectionDouble, tmp_path: Path
) -> None:
    node = a_node(tmp_path, login := a_login(-1, 3600))
    connection.there = False
    async with renewing(node, connection, look_every=60.0) as (renewal, _):
        with capture_logs() as logs:
            renewal.cut_off()
            # Nobody is where it came in: as often as it asks, so often it is told.
            await until(lambda: sum("does not let" in str(each) for each in logs) > 1)
        connection.controllers.refusal = Answer(
            now(), renewal=Renewed(login, CA, [STRANGER.public[0].hex()])
        )
        connection.there = True
        await until(lambda: load_verifier(node.jobs, named=True).public == STRANGER.public)
