"""Machines that become nodes by one line, and those that are refused."""

import asyncio
import json
import shutil
import stat
import time
from pathlib import Path

import msgspec
import pytest
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from tests.system.joining.conftest import Fleet, agent, runs, try_join
from tests.testing.command import failed
from tests.testing.denied import Node, see_denied
from tests.testing.gate import Gate
from tests.testing.joining import Between
from tests.testing.process import wait_until
from towline.agent.joining import NotLetIn
from towline.agent.ledger import Ledger
from towline.controller.token_keys import load_keys
from towline.errors import InvalidConfiguration, TowlineError
from towline.runtime.keys import node_key
from towline.runtime.state_directory import machine_id, open_directory
from towline.trust import claims, identity, pinned
from towline.trust.claims import NotTrusted

KEPT = {"node.json", "node.creds", "node.key", "jobs.pub", "ca.pem"}


def test_a_machine_that_came_in_by_the_line_runs_what_it_is_sent_with_no_other_setting(
    fleet: Fleet, gate: Gate, tmp_path: Path
) -> None:
    made = fleet.towline("node", "invite", "--label", "group:web", "--allow-label", "zone:*")
    assert made.stdout.startswith(f"towline agent join {fleet.url} twl1.")
    line = made.stdout.split()[3:]
    state = tmp_path / "web-01"
    done = fleet.towline(
        *("agent", "join", *line, "--hostname", "web-01", "--label", "zone:eu", "--state"),
        state,
    )
    assert (done.status, done.stderr) == (0, "")
    kept = list((state / identity.DIRECTORY).iterdir())
    assert {path.name for path in kept} == KEPT
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    with agent(state, gate):
        runs(fleet, gate, "web-01")
        assert fleet.nodes()["web-01"] == {"group": "web", "zone": "eu"}
    # What it says of itself counts no longer.
    with agent(state, gate, "--hostname", "db-01", "--label", "group:db"):
        again = fleet.admin.post("/node/group:web/gate/pass", json={"name": "again"})
        assert again.json()["results"][0]["hostname"] == "web-01"
    assert "db-01" not in fleet.nodes()
    assert "already" in failed(fleet.towline("agent", "join", *line, "--state", state))


def test_an_agent_comes_in_by_its_line_once_and_starts_with_it_ever_after(
    fleet: Fleet, gate: Gate, tmp_path: Path
) -> None:
    line = " ".join(["towline", "agent", "join", *fleet.invite(hostname="web-02")])
    state = tmp_path / "web-02"
    with agent(state, gate, env={"TOWLINE_JOIN": line}) as process:
        process.wait_for(lambda: "agent registered" in process.stderr)
    came_in = (state / identity.DIRECTORY / "node.creds").read_bytes()
    with agent(state, gate, env={"TOWLINE_JOIN": line}):
        runs(fleet, gate, "web-02")
    assert (state / identity.DIRECTORY / "node.creds").read_bytes() == came_in


def test_an_invite_that_was_used_is_refused_in_words_and_nothing_is_written(
    fleet: Fleet, between: Between, tmp_path: Path
) -> None:
    line = fleet.invite()
    try_join(between, line, tmp_path / "u1")
    with pytest.raises(NotLetIn, match="has been used"):
        try_join(between, line, tmp_path / "u2")
    assert list((tmp_path / "u2").iterdir()) == []
    done = fleet.towline("agent", "join", *line, "--state", tmp_path / "u3")
    assert "has been used" in failed(done)
    assert not (tmp_path / "u3" / identity.DIRECTORY).exists()


def test_a_line_with_another_pin_sends_no_secret_and_writes_nothing(
    fleet: Fleet, between: Between, tmp_path: Path
) -> None:
    url, token = fleet.invite()
    pin = pinned.pin_of(bytes(SigningKey.generate().verify_key))
    wrong = f"{token.rpartition('.')[0]}.{pin}"
    with pytest.raises(NotTrusted, match="another fleet"):
        try_join(between, [url, wrong], tmp_path / "x")
    assert between.received == [("GET", b"")]
    assert list((tmp_path / "x").iterdir()) == []


def test_who_answers_with_a_bundle_of_his_own_is_sent_nothing(
    fleet: Fleet, between: Between, tmp_path: Path
) -> None:
    line = fleet.invite()
    own = msgspec.json.encode(pinned.sign(SigningKey.generate(), PrivateKey.generate().public_key))
    real = fleet.admin.get("/join").json()
    forged = {**json.loads(own), "root": real["root"]}
    for answer in (own, json.dumps(forged).encode(), b"{}", b"", b"[" * 90_000):
        between.received.clear()
        between.answer = lambda method, body, answer=answer: answer  # type: ignore[misc]
        with pytest.raises(TowlineError):
            try_join(between, line, tmp_path / "x")
        assert between.received == [("GET", b"")]
        assert list((tmp_path / "x").iterdir()) == []


def test_no_byte_can_be_altered_on_the_way_and_the_invite_stays_good(
    fleet: Fleet, between: Between, tmp_path: Path
) -> None:
    line = fleet.invite()
    secret = line[1].split(".")[2]

    def altered(body: bytes, at: int) -> bytes:
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    for share in range(1, 20):
        between.request = lambda method, body, share=share: (  # type: ignore[misc]
            altered(body, len(body) * share // 20) if body else body
        )
        with pytest.raises((NotLetIn, NotTrusted)):
            try_join(between, line, tmp_path / "x")
    assert "used" not in fleet.admin.get("/invite").json()["invites"][0]
    assert not any(secret.encode() in body for _, body in between.received)
    between.request = lambda method, body: body
    line = fleet.invite(uses="unlimited")
    for share in range(1, 20):
        between.answer = lambda method, body, share=share: (  # type: ignore[misc]
            altered(body, len(body) * share // 20) if method == "POST" else body
        )
        with pytest.raises(NotTrusted):
            try_join(between, line, tmp_path / f"y{share}")
        assert list((tmp_path / f"y{share}").iterdir()) == []


def test_what_is_no_invite_is_refused_before_anything_is_sent(
    fleet: Fleet, between: Between, tmp_path: Path
) -> None:
    _, token = fleet.invite()
    form, id, secret, pin = token.split(".")
    lines = ("twl2." + token, f"{form}.{id}.{secret}", f"{form}.{id}..{pin}", "x", f"{token}.x")
    for each in lines:
        with pytest.raises(InvalidConfiguration, match="no invite"):
            try_join(between, ["", each], tmp_path / "x")
    assert between.received == []


def test_on_loopback_an_invite_is_made_only_where_its_url_is_given_by_hand(
    fleet: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "controller.url").write_text(f"{fleet.url}\n")
    state = ["--state", str(tmp_path)]
    done = fleet.towline("node", "invite", *state, env={"TOWLINE_URL": ""})
    assert "--listen" in failed(done)
    done = fleet.towline("node", "invite", *state, "--url", fleet.url, env={"TOWLINE_URL": ""})
    assert done.stdout.startswith(f"towline agent join {fleet.url} twl1.")


def test_an_invite_is_listed_without_its_secret_and_lets_nobody_in_once_it_is_withdrawn(
    fleet: Fleet, between: Between, tmp_path: Path
) -> None:
    line = fleet.invite(uses="unlimited", expires="2h")
    _, id, secret, _ = line[1].split(".")
    listed = fleet.admin.get("/invite")
    (found,) = [each for each in listed.json()["invites"] if each["id"] == id]
    assert (found["state"], found.get("uses")) == ("open", None)
    assert secret not in listed.text
    assert fleet.towline("node", "withdraw", id).status == 0
    with pytest.raises(NotLetIn, match="was withdrawn"):
        try_join(between, line, tmp_path / "x")


@pytest.mark.parametrize(
    "given",
    [
        {"expires": "31d"},
        {"uses": "0"},
        {"uses": "1001"},
        {"uses": "-1"},
        {"uses": "2", "hostname": "web-01"},
        {"hostname": "a b"},
        {"labels": ["web"]},
        {"labels": ["group:a", "group:b"]},
        {"allow_labels": ["*"]},
        {"allow_labels": ["*:x"]},
        {"ephemeral": "59s"},
        {"ephemeral": "soon"},
        {"ephemeral": "-1h"},
        {"ephemeral": 3600},
        {"replace": True},
        {"replace": True, "uses": "2", "approve": True},
        {"secret": "mine"},
    ],
)
def test_what_is_no_invite_is_not_made(fleet: Fleet, given: dict[str, object]) -> None:
    before = fleet.admin.get("/invite").json()["total"]
    answer = fleet.admin.post("/invite", json=given)
    assert answer.status_code == 400, answer.text
    assert fleet.admin.get("/invite").json()["total"] == before


def test_a_copied_identity_is_noticed_and_the_second_machine_gets_no_task(
    fleet: Fleet, gate: Gate, between: Between, tmp_path: Path
) -> None:
    first, second = tmp_path / "web-03", tmp_path / "copy"
    try_join(between, fleet.invite(), first)
    shutil.copytree(first, second)
    with agent(first, gate):
        runs(fleet, gate, "web-03")
        with agent(second, gate) as copy:
            copy.wait_for(lambda: "another agent with the machine id" in copy.stderr)
            for number in range(5):
                fleet.admin.post("/node/web-03/gate/pass", json={"name": f"n{number}"})
            assert "task accepted" not in copy.stderr
            deadline = time.time() + 20
            while time.time() < deadline and gate.passed("n4", "web-03") != 1:
                time.sleep(0.05)
            assert [gate.passed(f"n{number}", "web-03") for number in range(5)] == [1] * 5


def test_a_copy_with_its_ledger_is_the_second_until_the_first_has_ended(
    fleet: Fleet, gate: Gate, between: Between, tmp_path: Path
) -> None:
    first, second = tmp_path / "web-08", tmp_path / "ledger-copy"
    try_join(between, fleet.invite(), first)
    with agent(first, gate) as original:
        runs(fleet, gate, "web-08")
        shutil.copytree(first, second)
        with agent(second, gate) as copy:
            copy.wait_for(lambda: "another agent with the machine id" in copy.stderr)
            known = fleet.admin.get("/agent").json()["agents"]
            assert "web-08" in {each["hostname"] for each in known if "second_agent_at" in each}
            answer = fleet.admin.post("/node/web-08/gate/pass", json={"name": "one"})
            assert answer.json()["results"][0]["status"] == "ok", answer.text
            assert "task ended" in original.stderr
            assert "task ended" not in copy.stderr
            original.kill()
            copy.wait_for(lambda: "agent registered" in copy.stderr)


def test_machines_of_one_image_are_nodes_of_their_own(
    fleet: Fleet, gate: Gate, between: Between, tmp_path: Path
) -> None:
    """An image with an agent that was started once and belonged to no fleet."""
    image, line = open_directory(tmp_path / "image"), fleet.invite(uses="2")
    of_image = machine_id(image, None)
    node_key(image)

    async def start_once() -> None:
        with Ledger(image / "ledger.sqlite") as ledger:
            await ledger.begin("0123456789abcdef")

    asyncio.run(start_once())
    states = [tmp_path / "gold-1", tmp_path / "gold-2"]
    for state in states:
        shutil.copytree(image, state)
        try_join(between, line, state)
    with agent(states[0], gate) as first, agent(states[1], gate) as second:
        for state in states:
            runs(fleet, gate, state.name)
        assert "another agent" not in first.stderr + second.stderr
    known = fleet.admin.get("/agent").raise_for_status().json()["agents"]
    ids = {each["machine_id"] for each in known if each["hostname"].startswith("gold-")}
    assert len(ids - {of_image}) == 2


def wait_for_pending(fleet: Fleet, hostname: str) -> dict[str, str]:
    """Wait until a machine waits to be let in; return what is shown of it."""

    def find() -> list[dict[str, str]]:
        found = fleet.admin.get("/agent/pending").raise_for_status().json()["agents"]
        return [each for each in found if each["hostname"] == hostname]

    wait_until(lambda: find() != [], what=f"{hostname} to wait")
    return find()[0]


def test_a_machine_waits_until_somebody_lets_it_in_by_its_fingerprint_or_turns_it_away(
    fleet: Fleet, gate: Gate, tmp_path: Path
) -> None:
    line = " ".join(fleet.invite(approve=True, uses="2"))
    first = agent(tmp_path / "web-04", gate, "--hostname", "web-04", "--join", line)
    second = agent(tmp_path / "web-05", gate, "--hostname", "web-05", "--join", line)
    with first, second:
        shown = wait_for_pending(fleet, "web-04")["fingerprint"]
        first.wait_for_output("web-04 waits to be let in; its fingerprint is " + shown)
        wait_for_pending(fleet, "web-05")
        assert not {"web-04", "web-05"} & fleet.nodes().keys()
        other = fleet.towline("node", "approve", "web-04", "--fingerprint", "0000:1111")
        assert shown in failed(other)
        wait_for_pending(fleet, "web-04")
        done = fleet.towline("node", "approve", "web-04", "--fingerprint", shown)
        assert (done.status, shown in done.stdout) == (0, True), done
        assert fleet.towline("node", "reject", "web-05").status == 0
        runs(fleet, gate, "web-04")
        assert second.wait() == 2
        assert "was rejected" in second.stderr
        assert not (tmp_path / "web-05" / identity.DIRECTORY).exists()
    assert fleet.admin.get("/agent/pending").json() == {"agents": [], "total": 0}
    for name in ("web-04", "web-05", "nobody"):
        answer = fleet.admin.post(f"/agent/{name}/accept")
        assert (answer.status_code, "waits to be let in" in answer.text) == (404, True)


def test_a_machine_that_was_let_in_and_never_started_can_be_shut_out_and_leaves_its_name(
    fleet: Fleet, gate: Gate, between: Between, tmp_path: Path
) -> None:
    first, again = tmp_path / "web-09", tmp_path / "again" / "web-09"
    again.parent.mkdir()
    try_join(between, fleet.invite(), first)
    with pytest.raises(NotLetIn, match="node remove"):
        try_join(between, fleet.invite(), again)
    done = fleet.towline("node", "revoke", "web-09")
    assert (done.status, "web-09 is revoked" in done.stdout) == (0, True), done
    with agent(first, gate) as process:
        process.wait_for(lambda: "Authorization" in process.stderr, what="a login that is refused")
    assert "web-09" not in fleet.nodes()
    assert fleet.towline("node", "remove", "web-09").status == 0
    try_join(between, fleet.invite(), again)
    with agent(again, gate):
        runs(fleet, gate, "web-09")


def test_whoever_may_only_read_lets_nobody_in(fleet: Fleet) -> None:
    token = load_keys(fleet.state / "token.key", create=False).create(
        subject="eve", roles=["write"], lifetime=60
    )
    headers = {"Authorization": f"Bearer {token}"}
    for method, path in (
        ("POST", "/invite"),
        ("DELETE", "/invite/0123456789abcdef"),
        ("POST", "/agent/x/accept"),
        ("POST", "/agent/x/reject"),
    ):
        answer = fleet.admin.request(method, path, json={}, headers=headers)
        assert answer.status_code == 403, answer.text


def test_a_node_may_do_nothing_else_at_the_broker_also_once_it_came_in_anew(
    fleet: Fleet, between: Between, tmp_path: Path
) -> None:
    def enrolled(place: str, label: str) -> tuple[str, str]:
        """Let a machine come in as web-10; return its machine id and its login."""
        state = tmp_path / place / "web-10"
        state.parent.mkdir()
        try_join(between, fleet.invite(labels=[label]), state)
        login = (state / identity.DIRECTORY / "node.creds").read_text()
        return claims.read(claims.token_in(login), claims.User)[0].name, login

    async def attack(login: str, node: Node) -> None:
        async with fleet.broker.raw(login) as raw:
            await see_denied(raw, node)

    before, login = enrolled("before", "group:web")
    asyncio.run(attack(login, Node(before, ["web-10", "group.web"])))
    assert fleet.towline("node", "remove", "web-10").status == 0
    after, login = enrolled("after", "group:db")
    assert after != before
    asyncio.run(attack(login, Node(after, [before, "web-10", "group.web", "group.db"])))
