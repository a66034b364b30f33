"""Logins that are renewed, before they end and after."""

import contextlib
import stat
import time
from pathlib import Path

import pytest

from tests.system.joining.conftest import Fleet, agent, runs, try_join
from tests.testing.gate import Gate
from tests.testing.joining import Between
from tests.testing.process import wait_until
from tests.testing.signing import STRANGER
from towline.agent.joining import NotLetIn, renew
from towline.trust import claims, identity
from towline.trust.certificates import make_authority
from towline.trust.claims import NotTrusted
from towline.trust.identity import Identity
from towline.trust.job_keys import WORD
from towline.trust.keys import NODES_SIGNING, Trust
from towline.wire.joining import Renewal

DAY = 86400.0


def came_in(fleet: Fleet, between: Between, state: Path, *, begun: float, ends: float) -> Identity:
    """Return a node that came in, with a login that began and ends so many seconds from now."""
    try_join(between, fleet.invite(), state)
    between.received.clear()
    found = Identity(state / identity.DIRECTORY)
    before, user = claims.read(claims.token_in(found.login.read_text()), claims.User)
    now = time.time()
    jwt = claims.sign(
        claims.User(issuer_account=user.issuer_account),
        by=Trust(fleet.state / "trust").read(NODES_SIGNING),
        about=before.sub,
        name=before.name,
        iat=int(now + begun),
        exp=int(now + ends),
    )
    found.renew(Renewal(jwt))
    return found


def lasts(found: Identity) -> float:
    """Return for how many seconds a node's login is good."""
    return found.read_login().exp - time.time()


def test_a_login_is_renewed_over_the_broker_and_the_node_works_on_when_the_old_one_ends(
    fleet: Fleet, gate: Gate, between: Between, tmp_path: Path
) -> None:
    state = tmp_path / "renewed"
    found = came_in(fleet, between, state, begun=-60, ends=5)
    with agent(state, gate) as process:
        process.wait_for(lambda: lasts(found) > 29 * DAY)
        assert stat.S_IMODE(found.login.stat().st_mode) == 0o600
        runs(fleet, gate, "renewed")
        process.wait_for(lambda: process.stderr.count("broker connected") == 2)
        wait_until(lambda: "renewed" in fleet.ready(), what="the node to be here")
        answer = fleet.admin.post("/node/renewed/gate/pass", json={"name": "later"})
        assert answer.json()["results"][0]["status"] == "ok", answer.text
    assert between.received == []


def test_a_node_that_was_away_until_its_login_had_ended_comes_back_until_it_is_revoked(
    fleet: Fleet, gate: Gate, between: Between, tmp_path: Path
) -> None:
    state = tmp_path / "away"
    found = came_in(fleet, between, state, begun=-DAY, ends=-5)
    with agent(state, gate):
        runs(fleet, gate, "away")
        assert lasts(found) > 29 * DAY
        assert [method for method, _ in between.received] == ["GET", "POST"]
        fleet.admin.post("/agent/away/revoke").raise_for_status()
    with pytest.raises(NotLetIn, match="was revoked"):
        renew(found)


def test_an_answer_that_was_altered_or_is_another_one_s_renews_nothing(
    fleet: Fleet, between: Between, tmp_path: Path
) -> None:
    found = came_in(fleet, between, tmp_path / "altered", begun=-DAY, ends=-5)
    answers: list[bytes] = []

    def kept(method: str, body: bytes) -> bytes:
        answers.append(body)
        return body

    between.answer = kept
    login, _ = claims.read(renew(found).jwt, claims.User)
    assert login.sub == found.read_login().sub
    bundle, answer = answers
    half = len(answer) // 2
    altered = answer[:half] + bytes([answer[half] ^ 1]) + answer[half + 1 :]
    for each in (answer, altered):
        between.answer = lambda method, body, each=each: each if method == "POST" else body  # type: ignore[misc]
        with pytest.raises(NotTrusted, match="not the fleet's"):
            renew(found)
    between.answer = lambda method, body: bundle.replace(b'"root":"', b'"root":"0')
    between.received.clear()
    with pytest.raises(NotTrusted):
        renew(found)
    assert [method for method, _ in between.received] == ["GET"]


def test_a_node_whose_files_are_of_no_use_any_more_comes_back_though_its_login_is_good(
    fleet: Fleet, gate: Gate, between: Between, tmp_path: Path
) -> None:
    found = {
        name: came_in(fleet, between, tmp_path / name, begun=-60, ends=DAY)
        for name in ("unknown-ca", "unknown-key", "unknown-issuer")
    }
    ca = found["unknown-ca"].ca
    assert ca is not None
    ca.write_text(make_authority().certificate)
    found["unknown-key"].jobs.write_text(f"{WORD} {STRANGER.public[0].hex()}\n")
    login = found["unknown-issuer"].login
    before, user = claims.read(claims.token_in(login.read_text()), claims.User)
    other = claims.sign(
        claims.User(issuer_account=user.issuer_account),
        by=claims.make_seed(claims.ACCOUNT),
        about=before.sub,
        name=before.name,
        exp=before.exp,
    )
    login.write_text(claims.credentials(other, claims.seed_in(login.read_text())))
    between.received.clear()
    with contextlib.ExitStack() as agents:
        for name in found:
            agents.enter_context(agent(tmp_path / name, gate))
        for name, each in found.items():
            runs(fleet, gate, name)
            assert lasts(each) > 29 * DAY
    # Over the broker none of them could have asked.
    assert [method for method, _ in between.received].count("POST") >= len(found)
    assert ca.read_text() == found["unknown-key"].ca.read_text()  # type: ignore[union-attr]
