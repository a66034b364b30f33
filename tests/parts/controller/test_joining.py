"""How a controller lets machines in: on a real broker, with the keys of a real trust directory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.testing.broker import Broker
from tests.testing.joining import Machine, enrolment_key
from tests.testing.signing import SIGNER
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.controller.fleet import Fleet
from towline.controller.invites import Invites
from towline.controller.joining import Joining
from towline.controller.members import LASTS, Members
from towline.controller.replacing import Replacing
from towline.errors import Conflict, Forbidden, InvalidRequest, NotFound, TowlineError
from towline.trust import claims
from towline.trust.keys import Trust, create
from towline.trust.trusted import Trusted
from towline.wire.joining import JoinAnswer
from towline.wire.node import Registration

BROKERS = ["tls://127.0.0.1:4222"]
NOBODY: Any = None
"""No invite here lets a machine take another one's name: `test_replacing`."""


class Site:
    """A controller, as far as it lets machines in."""

    def __init__(self, jetstream: JetStream, trust: Trust) -> None:
        self.fleet = Fleet()
        self.members = Members(jetstream, self.fleet)
        self.invites = Invites(jetstream)
        self.joining = Joining(
            *(trust, BROKERS, SIGNER, self.members, self.invites, self.fleet),
            Replacing(self.fleet, self.members, NOBODY, NOBODY),
        )
        self.key = enrolment_key(self.joining)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        await self.members.create(1)
        await self.invites.create(1)
        task = asyncio.create_task(self.members.run())
        try:
            await self.members.until_known()
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def invite(self, lasts: float = 60.0, **given: Any) -> str:
        """Make an invite; return its token."""
        return (await self.joining.invite("ann", lasts, **given))[1]

    async def join(self, machine: Machine, token: str, **wanted: Any) -> JoinAnswer:
        request = machine.request(token, self.key, **wanted)
        return machine.read(await self.joining.join(request), request, self.key)

    async def until(self, machine: str, hostname: str) -> None:
        """Wait until a member has a name here."""
        async with asyncio.timeout(20):
            while getattr(self.members.get(machine), "hostname", "") != hostname:
                await asyncio.sleep(0.001)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return create(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
async def jetstream(broker: Broker) -> AsyncIterator[JetStream]:
    async with Connection(Settings([broker.url], broker.credentials), "tests") as connection:
        yield JetStream(connection)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
async def site(jetstream: JetStream, trust: Trust) -> AsyncIterator[Site]:
    for bucket in ("members", "invites"):
        with contextlib.suppress(TowlineError):
            await jetstream.call(f"STREAM.DELETE.KV_{bucket}")
    async with Site(jetstream, trust).running() as site:
        yield site


async def test_a_machine_with_an_invite_is_answered_all_that_a_node_needs(
    site: Site, trust: Trust
) -> None:
    token = await site.invite(labels={"group": "web"}, allowed=["zone:*"])
    machine = Machine("web-01")
    answer = await site.join(machine, token, labels={"zone": "eu.a"})
    assert (answer.state, answer.machine, answer.hostname) == (
        "accepted",
        machine.machine,
        "web-01",
    )
    assert answer.labels == {"group": "web", "zone": "eu.a"}
    assert answer.brokers == BROKERS
    assert answer.ca == trust.read("ca.pem")
    assert answer.jobs == [key.hex() for key in SIGNER.public]
    login, _ = claims.read(answer.jwt, claims.User)
    assert (login.name, login.sub) == (machine.machine, machine.keys.nkey)
    assert LASTS - 60 < login.exp - time.time() <= LASTS
    record = site.members.get(machine.machine)
    assert record is not None
    assert (record.by, record.nkey, record.public_key) == (
        "ann",
        machine.keys.nkey,
        machine.keys.public_key,
    )


async def test_an_invite_for_one_lets_in_one_and_that_one_again_if_its_answer_was_lost(
    site: Site,
) -> None:
    token, first = await site.invite(), Machine("web-01")
    answer = await site.join(first, token)
    again = await site.join(first, token)
    assert (again.machine, again.hostname) == (answer.machine, answer.hostname)
    with pytest.raises(Forbidden, match="has been used"):
        await site.join(Machine("web-02"), token)
    assert [each.hostname for each in site.members.all()] == ["web-01"]


async def test_of_machines_with_one_invite_at_once_at_two_controllers_one_comes_in(
    site: Site, jetstream: JetStream, trust: Trust
) -> None:
    token = await site.invite()
    async with Site(jetstream, trust).running() as other:
        found = await asyncio.gather(
            *(
                (site, other)[number % 2].join(Machine(f"web-{number}"), token)
                for number in range(8)
            ),
            return_exceptions=True,
        )
    assert [isinstance(each, JoinAnswer) for each in found].count(True) == 1
    assert [isinstance(each, Forbidden) for each in found].count(True) == 7


async def test_an_invite_that_counts_lets_in_as_many_as_it_says(site: Site) -> None:
    token = await site.invite(uses=3)
    found = await asyncio.gather(
        *(site.join(Machine(f"web-{number}"), token) for number in range(6)),
        return_exceptions=True,
    )
    assert [isinstance(each, JoinAnswer) for each in found].count(True) == 3
    (invite,) = await site.invites.all()
    assert (len(invite.takers), invite.ended) == (3, "has been used")


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda token: token.replace("twl1.", "twl1.0"), "no such invite"),
        (lambda token: token[:-60] + "yx"[token[-60] == "y"] + token[-59:], "no such invite"),
        (lambda token: "twl1.*.>.x", "no such invite"),
        (lambda token: "", "no node of this fleet"),
    ],
)
async def test_who_has_not_the_whole_invite_has_none(site: Site, alter: Any, words: str) -> None:
    token = await site.invite()
    with pytest.raises(Forbidden, match=words):
        await site.join(Machine(), alter(token))
    assert site.members.all() == []
    assert (await site.invites.all())[0].takers == []


async def test_an_invite_that_has_expired_or_was_withdrawn_lets_nobody_in(site: Site) -> None:
    with pytest.raises(Forbidden, match="has expired"):
        await site.join(Machine(), await site.invite(lasts=0.0))
    token = await site.invite()
    invite = await site.invites.withdraw(token.split(".")[1])
    assert invite.withdrawn is not None
    with pytest.raises(Forbidden, match="was withdrawn"):
        await site.join(Machine(), token)
    with pytest.raises(NotFound):
        await site.invites.withdraw("0" * 16)
    assert site.members.all() == []


async def test_who_has_come_in_by_an_invite_comes_in_by_it_no_more_once_it_has_expired(
    site: Site,
) -> None:
    token, machine = await site.invite(lasts=600.0), Machine()
    invite = (await site.invites.all())[0]
    await site.invites.take(invite.id, machine.keys.nkey)
    used = (await site.invites.all())[0]
    assert used.ended == "has been used"
    await site.invites.add(msgspec.structs.replace(used, id="1" * 16, expires=time.time()))
    with pytest.raises(Forbidden, match="has expired"):
        await site.join(machine, token.replace(invite.id, "1" * 16))
    assert (await site.join(machine, token)).state == "accepted"


async def test_a_name_that_another_node_has_is_refused_and_the_invite_stays_good(
    site: Site,
) -> None:
    token = await site.invite(uses=None)
    await site.join(Machine("web-01"), token)
    now = time.time()
    site.fleet.register(Registration("by-hand", "db-01", "0.2.0", now))
    single = await site.invite()
    for name in ("web-01", "WEB-01", "db-01", "DB-01", "by-hand"):
        with pytest.raises(Conflict, match=f"{name!r}"):
            await site.join(Machine("x"), single, hostname=name)
    assert (await site.join(Machine("x"), single)).hostname == "x"


@pytest.mark.parametrize("name", ["", "_all", "a b", "a\r\nb", "x" * 300, "a/b"])
async def test_what_is_no_hostname_is_refused(site: Site, name: str) -> None:
    token = await site.invite()
    with pytest.raises(InvalidRequest):
        await site.join(Machine(name), token)
    assert (await site.invites.all())[0].takers == []


async def test_an_invite_for_one_name_gives_that_one_and_no_other(site: Site) -> None:
    token = await site.invite(hostname="db-01")
    with pytest.raises(Forbidden, match="'db-01', and not 'web-01'"):
        await site.join(Machine(), token, hostname="web-01")
    assert (await site.join(Machine("web-01"), token)).hostname == "db-01"


@pytest.mark.parametrize(
    "labels",
    [{"group": "db"}, {"group": "web.dev"}, {"rack": "r1"}, {"zone": "us"}, {"zonex": "eu.a"}],
)
async def test_a_label_that_the_invite_does_not_give_is_refused(
    site: Site, labels: dict[str, str]
) -> None:
    token = await site.invite(labels={"group": "web"}, allowed=["zone:eu.*", "group:*"])
    with pytest.raises(Forbidden, match="doesn't give the label"):
        await site.join(Machine(), token, labels=labels)
    assert site.members.all() == []
    answer = await site.join(Machine(), token, labels={"group": "web", "zone": "eu.a"})
    assert answer.labels == {"group": "web", "zone": "eu.a"}


async def test_a_machine_waits_where_somebody_has_to_let_it_in(site: Site) -> None:
    token, machine = await site.invite(approve=True), Machine()
    waiting = await site.join(machine, token)
    assert (waiting.state, waiting.jwt, waiting.jobs) == ("pending", "", [])

    def accepted(record: Any) -> Any:
        return msgspec.structs.replace(record, state="accepted")

    await site.members.change(machine.machine, accepted)
    assert (await site.join(machine, token)).state == "accepted"


@pytest.mark.parametrize("state", ["rejected", "revoked", "removed"])
async def test_a_machine_that_was_turned_away_gets_no_login(site: Site, state: str) -> None:
    token, machine = await site.invite(), Machine()
    await site.join(machine, token)
    await site.members.change(
        machine.machine, lambda record: msgspec.structs.replace(record, state=state)
    )
    for each in (token, ""):
        with pytest.raises(Forbidden, match=f"was {state}"):
            await site.join(machine, each)


async def test_a_login_is_renewed_for_the_same_key_as_long_as_the_node_is_in(
    site: Site, trust: Trust
) -> None:
    machine, waiting = Machine("web-01"), Machine("web-02")
    await site.join(machine, await site.invite())
    renewal = await site.joining.renewed(machine.machine)
    assert (renewal.ca, renewal.jobs) == (trust.read("ca.pem"), [SIGNER.public[0].hex()])
    login, _ = claims.read(renewal.jwt, claims.User)
    assert site.joining.trusted == Trusted(renewal.ca, frozenset(renewal.jobs), login.iss)
    assert (login.name, login.sub) == (machine.machine, machine.keys.nkey)
    assert LASTS - 60 < login.exp - time.time() <= LASTS
    await site.join(waiting, await site.invite(approve=True))
    with pytest.raises(Forbidden, match="is pending"):
        await site.joining.renewed(waiting.machine)
    with pytest.raises(Forbidden, match="did not come in by an invite"):
        await site.joining.renewed("by-hand")


@pytest.mark.parametrize("state", ["rejected", "revoked", "removed"])
async def test_a_node_that_was_shut_out_is_renewed_no_login(site: Site, state: str) -> None:
    machine = Machine()
    await site.join(machine, await site.invite())
    await site.members.change(
        machine.machine, lambda record: msgspec.structs.replace(record, state=state)
    )
    with pytest.raises(Forbidden, match=f"it is {state}"):
        await site.joining.renewed(machine.machine)
    with pytest.raises(Forbidden, match=f"was {state}"):
        await site.joining.renew(machine.renewal(site.key))


async def test_a_node_whose_login_has_ended_is_given_a_new_one_for_the_same_key(
    site: Site,
) -> None:
    machine = Machine()
    await site.join(machine, await site.invite())
    request = machine.renewal(site.key, age=30)
    answer = machine.read(await site.joining.renew(request), request, site.key)
    login, _ = claims.read(answer.jwt, claims.User)
    assert (login.name, login.sub) == (machine.machine, machine.keys.nkey)
    assert LASTS - 60 < login.exp - time.time() <= LASTS


@pytest.mark.parametrize("age", [90, 86400, -90])
async def test_a_request_for_a_new_login_counts_for_a_minute(site: Site, age: float) -> None:
    machine = Machine()
    await site.join(machine, await site.invite())
    with pytest.raises(InvalidRequest, match="not of this minute"):
        await site.joining.renew(machine.renewal(site.key, age=age))


async def test_nobody_is_given_another_one_s_login(site: Site) -> None:
    machine, thief, waiting = Machine(), Machine(), Machine("web-02")
    await site.join(machine, await site.invite())
    await site.join(waiting, await site.invite(approve=True))
    for each in (
        thief.renewal(site.key),
        thief.renewal(site.key, machine=machine.machine),
        waiting.renewal(site.key),
    ):
        with pytest.raises(Forbidden, match="no node of this fleet"):
            await site.joining.renew(each)
    thief.keys.nkey = machine.keys.nkey
    with pytest.raises(InvalidRequest, match="not signed by the key"):
        await site.joining.renew(thief.renewal(site.key))
    thief.keys.seed = machine.keys.seed
    with pytest.raises(Forbidden, match="another key"):
        await site.joining.renew(thief.renewal(site.key))
    with pytest.raises(InvalidRequest, match="something else"):
        await site.joining.renew(machine.request("", site.key))
    with pytest.raises(InvalidRequest, match="something else"):
        await site.joining.join(machine.renewal(site.key))


async def test_who_has_a_node_s_key_for_the_broker_alone_is_answered_nothing(site: Site) -> None:
    machine, thief = Machine(), Machine()
    await site.join(machine, await site.invite())
    thief.keys.seed, thief.keys.nkey = machine.keys.seed, machine.keys.nkey
    with pytest.raises(Forbidden, match="another key"):
        await site.join(thief, "")


async def test_200_machines_come_in_by_one_invite_at_once_at_two_controllers(
    site: Site, jetstream: JetStream, trust: Trust
) -> None:
    token = await site.invite(uses=None)
    machines = [Machine(f"web-{number:03}") for number in range(200)]
    async with Site(jetstream, trust).running() as other:
        found = await asyncio.gather(
            *((site, other)[number % 2].join(each, token) for number, each in enumerate(machines))
        )
        assert {each.machine for each in found} == {each.machine for each in machines}
        for each in machines:
            await other.until(each.machine, each.name)
            await site.until(each.machine, each.name)
