"""A network that stalls: what an agent did meanwhile arrives once."""

from collections.abc import Iterator

import pytest

from tests.testing.cluster import NO_ENGINE, Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.passages import (
    EFFECTS,
    LONG,
    ONE,
    TWO,
    all_begun,
    ask,
    asked,
    counts,
    end,
    ends,
    hold,
    let_go,
)
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.relay import Cable


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def system(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes and two controllers; whatever a test takes away it brings back."""
    plans = [NodePlan(ONE), NodePlan(TWO)]
    with Cluster(tmp_path_factory.mktemp("faults"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def name(gate: Gate) -> Iterator[str]:
    """What nothing has passed under yet; whatever is held under it is let go with the test."""
    with gate.name() as name:
        yield name


@pytest.mark.smoke
def test_an_agent_that_is_cut_off_is_away_and_what_it_did_meanwhile_arrives_once(
    system: Cluster, gate: Gate, name: str
) -> None:
    far = "far"
    with Cable(system.broker.port) as cable:
        agent = TowlineProcess(
            *("agent", "--state", system.directory / f"agent-{far}", "--hostname", far),
            *("--nats", cable.relay.url, "--nats-credentials", system.broker.logins.agents),
            *("--job-keys", system.broker.job_keys, "--engine", NO_ENGINE),
            logs=system.directory,
            name=f"agent-{far}",
            env={"TOWLINE_HEARTBEAT": "1s", **gate.env},
        )
        with agent:
            system.wait_here(far)
            hold(gate, name)
            running = asked(system.admin, far, name)
            all_begun(gate, name, far)
            cable.pull()
            system.wait_away(far)
            let_go(gate, name)
            wait_until(
                lambda: all(counts(gate, name, effect, far)[1] for effect in EFFECTS),
                what="all to pass, unreported",
            )
            shared = {
                effect: ask(system.admin, "_all", effect, f"{name}-all", prefer=LONG).json()
                for effect in EFFECTS
            }
            shown = {
                effect: {r["hostname"]: r["status"] for r in answer["results"]}
                for effect, answer in shared.items()
            }
            here = {ONE: "ok", TWO: "ok"}
            assert shown == {
                "pass": {**here, far: "pending"},
                "once": {**here, far: "failed"},
                "look": {**here, far: "failed"},
            }
            assert agent.running
            connections = cable.relay.accepted
            wait_until(lambda: cable.relay.accepted > connections, what="the loss to be noticed")
            cable.plug()
            system.wait_here(far)
            assert ends(system, running, far) == dict.fromkeys(EFFECTS, "ok")
            assert counts(gate, name, "pass", far) == counts(gate, name, "once", far) == (1, 1)
            assert end(system, shared["pass"]["job_id"], far) == ("ok", None)
            for effect in EFFECTS[1:]:
                assert end(system, shared[effect]["job_id"], far)[0] == "failed"
            # Behind all that had waited for it.
            last = ask(system.admin, far, "pass", f"{name}-last", prefer="wait=30")
            assert last.json()["results"][0]["status"] == "ok"
            assert [counts(gate, f"{name}-all", effect, far) for effect in EFFECTS] == [
                (1, 1),
                (0, 0),
                (0, 0),
            ]
