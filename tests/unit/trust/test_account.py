"""The nodes' account, with whatever logins are taken back."""

import time
from pathlib import Path

import msgspec
import pytest

from tests.testing.logins import make_older
from towline.controller.logins import check_taken
from towline.errors import BrokerUnreachable
from towline.trust import claims
from towline.trust.account import FOR_GOOD, PRUNED_AFTER, AccountRecord, NodesAccount
from towline.trust.claims import NotTrusted
from towline.trust.keys import JOURNAL_JWT, NODES_JWT, OPERATOR_SIGNING, Trust, create
from towline.trust.nodes_account import NODE_PERMISSIONS

A, B, C = (claims.public_key(claims.make_seed(claims.USER)) for _ in range(3))


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return create(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def account(trust: Trust) -> NodesAccount:
    return NodesAccount(trust)


def of(record: AccountRecord) -> tuple[claims.Claims, claims.Account]:
    return claims.read(record.jwt, claims.Account)


def test_but_for_what_is_taken_back_it_is_the_account_that_the_broker_was_started_with(
    trust: Trust, account: NodesAccount
) -> None:
    made, body = of(account.revoke(None, {A: FOR_GOOD}, {}))
    first, before = claims.read(trust.read(NODES_JWT), claims.Account)
    assert (made.sub, made.iss, made.name) == (first.sub, first.iss, first.name)
    assert body == msgspec.structs.replace(before, revocations={A: FOR_GOOD})


def test_each_is_newer_than_the_one_before_and_has_what_that_had(account: NodesAccount) -> None:
    one = account.revoke(None, {A: 10}, {})
    two = account.revoke(one, {B: FOR_GOOD}, {B: 0})
    three = account.revoke(two, {A: 20}, {})
    assert account.made(one) < account.made(two) < account.made(three)
    assert of(two)[1].revocations == {A: 10, B: FOR_GOOD}
    assert of(three)[1].revocations == {A: 20, B: FOR_GOOD}


def test_what_was_taken_back_of_a_login_that_has_ended_is_left_out(account: NodesAccount) -> None:
    now = int(time.time())
    ends = {A: now - PRUNED_AFTER - 10, B: now - PRUNED_AFTER + 60, C: 0}
    record = account.revoke(None, dict.fromkeys((A, B, C), FOR_GOOD), ends)
    record = account.revoke(record, {}, {})
    assert of(record)[1].revocations.keys() == record.ends.keys() == {B, C}


@pytest.mark.parametrize("whose", ["another account", "another fleet", "nobody"])
def test_no_other_account_is_signed_as_that_of_the_nodes(
    trust: Trust, account: NodesAccount, whose: str, tmp_path: Path
) -> None:
    texts = {"another account": trust.read(JOURNAL_JWT), "nobody": "x.y.z"}
    text = texts.get(whose) or create(tmp_path).read(NODES_JWT)
    for use in (account.made, lambda record: account.revoke(record, {}, {})):
        with pytest.raises(NotTrusted):
            use(AccountRecord(text))


def test_the_key_of_a_node_s_logins_is_known_though_nothing_is_kept_of_them(
    trust: Trust, account: NodesAccount, tmp_path: Path
) -> None:
    def key(trust: Trust, machine: str) -> str:
        text = trust.node_login(machine, expires=60)
        return claims.read(claims.token_in(text), claims.User)[0].sub

    assert account.of_machine("m") == [key(trust, "m")] == [key(trust, "m")]
    assert len({key(trust, "m"), key(trust, "n"), key(create(tmp_path), "m")}) == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"server":{"name":"x"},"error":{"code":500,"description":"not trusted"}}',
        b'{"data":{"code":200},"error":{"code":500}}',
    ],
)
def test_a_broker_has_an_account_when_it_says_so(answer: bytes) -> None:
    check_taken(b'{"server":{"name":"x"},"data":{"account":"A","code":200,"message":"updated"}}')
    with pytest.raises(BrokerUnreachable):
        check_taken(answer)


def test_nodes_of_a_fleet_that_is_older_may_do_what_those_of_this_version_do(
    tmp_path: Path,
) -> None:
    trust = create(tmp_path)
    assert NodesAccount(trust).with_keys(None) is None
    stored = AccountRecord(make_older(trust))
    account = NodesAccount(trust)
    # It stands in a record, or in no more than what brokers are started with.
    for before in (None, stored):
        record = account.with_keys(before)
        assert record is not None
        assert account.made(record) > account.made(stored)
        (scope,) = of(record)[1].signing_keys
        assert set(scope.template.pub.allow) == set(NODE_PERMISSIONS.pub.allow)
        assert msgspec.structs.replace(scope.template, pub=NODE_PERMISSIONS.pub) == NODE_PERMISSIONS
        assert account.with_keys(record) is None


def test_what_nodes_of_a_newer_version_may_do_stays(trust: Trust, account: NodesAccount) -> None:
    before, body = claims.read(trust.read(NODES_JWT), claims.Account)
    (scope,) = body.signing_keys
    more = claims.Permission((*scope.template.pub.allow, "more.{{name()}}"))
    template = msgspec.structs.replace(scope.template, pub=more)
    newer = msgspec.structs.replace(
        body, signing_keys=(msgspec.structs.replace(scope, template=template),)
    )
    operator = trust.read(OPERATOR_SIGNING)
    stored = claims.sign(newer, by=operator, about=before.sub, name="NODES", iat=5)
    assert account.with_keys(AccountRecord(stored)) is None
