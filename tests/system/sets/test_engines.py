"""Sets over engines of both kinds, of which one has a small disk, and nodes that come and go."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.command import CommandLine
from tests.testing.declared import Declared
from tests.testing.engine import Engine, EngineKind, why_missing
from tests.testing.members import admit
from tests.testing.own_broker import OwnBroker
from tests.testing.pool import Pool
from tests.testing.process import wait_until
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import PushedImage, Registry, random_layer
from tests.testing.small_engine import ROOM, SmallEngine

NEWCOMER = "web-03"


@pytest.fixture(scope="module")
def engines(_engines: Pool[EngineKind, Any]) -> Iterator[dict[str, Engine]]:
    """By node: of both kinds, as far as both are there, and one on a small disk."""
    other = EngineKind.CLASSIC if why_missing(EngineKind.CONTAINERD) else EngineKind.CONTAINERD
    with SmallEngine() as small:
        yield {
            WEB_1: _engines[EngineKind.CLASSIC][0],
            WEB_2: _engines[other][1],
            DB_1: small,
            NEWCOMER: _engines[EngineKind.CLASSIC][2],
        }


@pytest.fixture(scope="module")
def proxy(registry: Registry) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def nodes(
    engines: dict[str, Engine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three nodes that came by an invite, so that they can be labelled."""
    directory = tmp_path_factory.mktemp("nodes")
    with Cluster(directory, [], ROOM, broker=OwnBroker) as cluster:
        for hostname in (WEB_1, WEB_2, DB_1):
            join(cluster, engines, hostname, {"group": "web"})
        cluster.wait_here(WEB_1, WEB_2, DB_1)
        yield cluster


def join(
    cluster: Cluster, engines: dict[str, Engine], hostname: str, labels: dict[str, str]
) -> None:
    assert isinstance(cluster.broker, OwnBroker)
    login = cluster.directory / f"{hostname}.creds"
    login.touch(0o600)
    login.write_text(admit(cluster.broker, hostname, labels))
    cluster.add_node(NodePlan(hostname, engines[hostname].url))


@pytest.fixture
def declared(nodes: Cluster, image: PushedImage, proxy: FaultyProxy) -> Iterator[Declared]:
    """A set of an image that no engine has seen, for all that are in the group."""
    found = Declared(nodes, "shop", through(proxy, image), "group:web")
    yield found
    proxy.fault = None
    found.remove()


def through(proxy: FaultyProxy, image: PushedImage) -> str:
    return f"{proxy.host}/{image.repository}:1.0"


@pytest.fixture
def towline(nodes: Cluster, tmp_path: Path) -> CommandLine:
    env = {"TOWLINE_URL": nodes.url, "TOWLINE_TOKEN": nodes.token("admin")}
    return CommandLine(tmp_path, env)


def has(engine: Engine, reference: str, image: PushedImage) -> bool:
    return engine.image_id(reference) == engine.id_of(image)


def until_have(
    engines: dict[str, Engine], names: tuple[str, ...], reference: str, image: PushedImage
) -> None:
    wait_until(
        lambda: all(has(engines[name], reference, image) for name in names),
        what=f"{image.digest} on {names}",
    )


def until_settled(
    declared: Declared, engines: dict[str, Engine], reference: str, image: PushedImage
) -> None:
    """Wait until all in the group have an image, and have said so: what is gone before fails."""
    declared.until(
        lambda found: (found.get("current"), found["converged"]) == (image.digest, len(ALL)),
        "all that have it",
    )
    assert all(has(engines[name], reference, image) for name in ALL)


def move(registry: Registry, image: PushedImage) -> PushedImage:
    """Have the image's tag name another."""
    return registry.push_image(image.repository, "1.0", [random_layer(f"{image.repository} 2")])


@contextmanager
def drained(cluster: Cluster, hostname: str) -> Iterator[None]:
    cluster.admin.post(f"/agent/{hostname}/drain").raise_for_status()
    try:
        yield
    finally:
        cluster.admin.post(f"/agent/{hostname}/undrain").raise_for_status()


ALL = (WEB_1, WEB_2, DB_1)


def test_what_is_done_by_hand_at_engines_of_both_kinds_is_set_right(
    declared: Declared,
    engines: dict[str, Engine],
    image: PushedImage,
    registry: Registry,
    proxy: FaultyProxy,
    nodes: Cluster,
) -> None:
    reference = through(proxy, image)
    declared.put()
    until_settled(declared, engines, reference, image)
    # The tag has moved, and the set does not know yet; somebody pulls it by hand.
    moved = move(registry, image)
    for name in (WEB_1, WEB_2):
        engines[name].pull(reference)
        assert has(engines[name], reference, moved)
    with drained(nodes, DB_1):
        engines[DB_1].remove_image(reference)
        until_have(engines, (WEB_1, WEB_2), reference, image)
        for name in (WEB_1, WEB_2):
            kept = engines[name].image(engines[name].id_of(moved))
            assert kept is not None, "it stays"
            assert not kept["RepoTags"], "without that name"
        row = declared.nodes[DB_1]
        assert (row["state"], row.get("job")) == ("missing", None)
        assert row["reason"].startswith("drained since ")
        assert engines[DB_1].image(reference) is None
        engines[WEB_2].remove_image(reference)
    until_settled(declared, engines, reference, image)
    declared.put()
    until_settled(declared, engines, reference, moved)


def test_who_joins_or_is_labelled_gets_what_is_wanted_and_the_older_of_two_sets_wins(
    engines: dict[str, Engine],
    image: PushedImage,
    registry: Registry,
    proxy: FaultyProxy,
    nodes: Cluster,
    towline: CommandLine,
) -> None:
    reference = through(proxy, image)
    older = Declared(nodes, "older", reference, "zone:eu")
    with ExitStack() as stack:
        assert towline("node", "label", WEB_1, "zone:eu").status == 0
        older.put(follow="digest")
        stack.callback(older.remove)
        older.until_rolled_out(image.digest)
        moved = move(registry, image)
        newer = Declared(nodes, "newer", reference, DB_1)
        newer.put()
        stack.callback(newer.remove)
        newer.until_rolled_out(moved.digest)

        for name in (DB_1, WEB_2):
            assert towline("node", "label", name, "zone:eu").status == 0
        join(nodes, engines, NEWCOMER, {"zone": "eu"})
        until_have(engines, (WEB_1, WEB_2, DB_1, NEWCOMER), reference, image)
        older.until(lambda found: found["converged"] == 4, "all of the zone")
        newer.until(lambda found: found["conflict"] == 1, "a conflict")
        assert newer.nodes[DB_1]["reason"] == (
            f"the set older, which is older, wants {image.digest} there"
        )
        status = nodes.admin.get("/set/newer").json()["status"]
        assert status == "degraded"

        assert towline("node", "label", DB_1, "zone:-").status == 0
        until_have(engines, (DB_1,), reference, moved)
        newer.until(lambda found: found["converged"] == 1, "no conflict any more")
        assert set(older.nodes) == {WEB_1, WEB_2, NEWCOMER}


def test_a_full_disk_and_a_registry_that_is_away_are_said_and_hold_nobody_up(
    declared: Declared, engines: dict[str, Engine], image: PushedImage, proxy: FaultyProxy
) -> None:
    reference = through(proxy, image)
    small = engines[DB_1]
    assert isinstance(small, SmallEngine)
    declared.put()
    until_settled(declared, engines, reference, image)
    proxy.refuse()
    try:
        with small.filled():
            declared.put()  # so that the tag is looked up
            small.remove_image(reference)
            engines[WEB_1].remove_image(reference)
            found = declared.until(
                lambda found: found["failed"] and found.get("problem"), "what is wrong"
            )
            assert any(why in found["problem"] for why in ("connection refused", "no room"))
            (failure,) = found["failures"]
            assert failure["hostname"] == DB_1
            assert "no room on the disk" in failure["error"]
            assert (found["current"], found["converged"]) == (image.digest, 1)
            stands = declared.nodes
            assert (stands[WEB_2]["state"], stands[WEB_1]["state"]) == ("converged", "missing")
            assert stands[DB_1]["due_at"]
            job = declared.cluster.job(stands[WEB_1]["job"], wait=0)
            assert "connection refused" in str(job["timeline"])
    finally:
        proxy.accept()
    until_settled(declared, engines, reference, image)
    declared.until(lambda found: not found.get("problem"), "the tag looked up")
    jobs = [job for job in declared.jobs if job["operation"]["data"]["image"] == reference]
    given = [row["hostname"] for job in jobs for row in job["results"]]
    assert given.count(WEB_2) == 1, "it had lacked nothing"


def test_a_window_and_a_pause_hold_a_new_digest_back(
    declared: Declared,
    engines: dict[str, Engine],
    image: PushedImage,
    registry: Registry,
    proxy: FaultyProxy,
) -> None:
    reference = through(proxy, image)
    later = datetime.now(UTC) + timedelta(hours=12)
    declared.put(window=f"{later:%H}:00-{later:%H}:30 UTC")
    # What is new in a set waits for no window.
    until_settled(declared, engines, reference, image)
    moved = move(registry, image)
    declared.put()
    declared.until(lambda found: found.get("next") == moved.digest, "the new digest known")
    engines[WEB_2].remove_image(reference)
    declared.until(lambda found: found["converged"] == 2, "it gone")
    until_settled(declared, engines, reference, image)
    found = declared.image
    assert (found["current"], found["next"], found.get("job")) == (image.digest, moved.digest, None)

    proxy.fault = Freeze(match=moved.layer_digests[0], after=100)
    declared.put(window="00:00-24:00 UTC", options={"max_parallel": 1})
    job = declared.until(lambda found: "job" in found, "a job that rolls it out")["job"]

    def nodes() -> dict[str, int]:
        return dict(declared.cluster.job(job, wait=0)["nodes"])

    wait_until(lambda: nodes().get("running") == 1, what="the first node's turn")
    declared.do("pause")
    wait_until(lambda: "paused" in declared.cluster.job(job, wait=0), what="a job that is held")
    proxy.fault = None
    wait_until(lambda: nodes() == {"ok": 1, "pending": 2}, what="the end of the first node's turn")
    assert sum(has(engines[name], reference, moved) for name in ALL) == 1
    assert declared.cluster.admin.get("/set/shop").json()["status"] == "paused"
    declared.do("resume")
    until_settled(declared, engines, reference, moved)
    assert declared.jobs[0]["id"] == job, "it went on where it was"
