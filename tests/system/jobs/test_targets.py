"""Which nodes a target means while nodes come, change and go."""

import time
from collections.abc import Iterator, Sequence

import pytest

from tests.testing.answers import refused, results, statuses
from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.engine import Engine
from tests.testing.marks import ONE_KIND
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal
from towline.broker.settings import Settings
from towline.wire.job import Job, new_id

LOAD = "/node/{}/load"


@pytest.fixture
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node without an engine, and more to come."""
    plan = NodePlan(WEB_1, labels=("group:web.dev", "rack:r12"))
    with Cluster(tmp_path_factory.mktemp("changing"), [plan]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node with two labels, shared by the tests that change nothing."""
    plan = NodePlan(WEB_1, labels=("group:web.dev", "rack:r12"))
    with Cluster(tmp_path_factory.mktemp("steady"), [plan]) as cluster:
        yield cluster


def meant(cluster: Cluster, target: str) -> list[str]:
    """Return the nodes that have answered."""
    answer = cluster.reader.get(LOAD.format(target))
    assert answer.status_code == 200, answer.text
    found = answer.json()["results"]
    assert {result["status"] for result in found} == {"ok"}
    return [result["hostname"] for result in found]


def test_a_node_that_joins_is_meant_from_then_on(changing: Cluster) -> None:
    earlier = changing.pull("_all", "nginx").json()["job_id"]
    assert meant(changing, "_all") == [WEB_1]
    changing.add_node(NodePlan(DB_1, labels=("group:db",)))
    changing.wait_here(DB_1)
    assert meant(changing, "_all") == [DB_1, WEB_1]
    assert meant(changing, DB_1) == meant(changing, "group:db") == [DB_1]
    assert [result["hostname"] for result in changing.job(earlier)["results"]] == [WEB_1]


def test_a_node_may_carry_several_labels(steady: Cluster) -> None:
    for label in ("group:web", "group:web.dev", "rack:r12"):
        assert meant(steady, label) == [WEB_1]
    for label in ("rack:web", "group:r12", "rack:r1"):
        refused(steady.reader.get(LOAD.format(label)), 400)


def test_a_node_that_comes_back_with_other_labels_is_meant_by_those_alone(
    changing: Cluster,
) -> None:
    assert meant(changing, "group:web") == [WEB_1]
    assert changing.agents[WEB_1].stop() == 0
    changing.wait_away(WEB_1)
    planned = changing.pull("group:web,rack:r*", "nginx").json()["job_id"]
    assert statuses(changing.job(planned, wait=0)) == {WEB_1: "pending"}
    changing.add_node(NodePlan(WEB_1, labels=("group:db.eu",)))

    def relabelled() -> bool:
        node = changing.node(WEB_1)
        return node is not None and (node["status"], node["labels"]) == (
            "Ready",
            {"group": "db.eu"},
        )

    wait_until(relabelled, what="the node with its new label")
    # What was planned for the machine has reached it, whatever it carries now.
    assert statuses(changing.ended(planned)) == {WEB_1: "skipped"}
    assert meant(changing, "group:db") == meant(changing, "group:db.eu") == [WEB_1]
    for label in ("group:web", "group:web.dev", "rack:r12"):
        refused(changing.reader.get(LOAD.format(label)), 400)


def test_two_nodes_of_one_name_are_distinguished_by_their_machine_ids(changing: Cluster) -> None:
    changing.add_node(NodePlan(WEB_2))
    changing.wait_here(WEB_2)
    machines = [node["machine_id"] for node in changing.admin.get("/agent").json()["agents"]]
    assert changing.agents[WEB_2].stop() == 0
    changing.wait_away(WEB_2)
    twin = changing.agents[WEB_2]
    twin.command[twin.command.index(WEB_2)] = WEB_1
    twin.start()

    def both_here() -> bool:
        agents = changing.admin.get("/agent").json()["agents"]
        return [(a["hostname"], a["status"]) for a in agents] == 2 * [(WEB_1, "Ready")]

    wait_until(both_here, what="two nodes of one name")
    said = refused(changing.reader.get(LOAD.format(WEB_1)), 400)
    assert all(machine in said for machine in machines)
    refused(changing.reader.get(LOAD.format(WEB_2)), 400)
    for machine in machines:
        assert meant(changing, machine) == [WEB_1]
    assert meant(changing, "_all") == [WEB_1, WEB_1]
    job = changing.job(changing.reader.get(LOAD.format("_all")).json()["job_id"])
    assert job["responses"].keys() == set(machines)

    assert twin.stop() == 0

    def means_the_one_that_is_here() -> bool:
        return changing.reader.get(LOAD.format(WEB_1)).is_success

    wait_until(means_the_one_that_is_here, what="one of the two to be away")
    found = changing.reader.get(f"/agent/{WEB_1}").json()
    assert (found["hostname"], found["status"]) == (WEB_1, "Ready")
    pulled = changing.pull(WEB_1, "nginx")
    (task,) = changing.job(pulled.json()["job_id"])["responses"].values()
    assert (task["hostname"], task["status"]) == (WEB_1, "skipped")

    # Once the one that is away was removed, nothing is left of it that a job could wait for.
    agents = changing.reader.get("/agent").json()["agents"]
    (gone,) = [each["machine_id"] for each in agents if each["status"] == "NotReady"]
    waiting = changing.pull("_all", "nginx").json()
    assert sorted(each["status"] for each in waiting["results"]) == ["pending", "skipped"]
    assert changing.admin.delete(f"/agent/{gone[:12]}").is_success
    ended = changing.ended(waiting["job_id"])["results"]
    assert sorted(each["status"] for each in ended) == ["cancelled", "skipped"]
    assert meant(changing, "_all") == meant(changing, "web-*") == [WEB_1]


@ONE_KIND
def test_any_is_a_node_that_can_do_it(
    changing: Cluster, engines: Sequence[Engine], image: PushedImage
) -> None:
    answer = changing.pull("_any", image.reference)
    (result,) = results(answer).values()
    assert (result["hostname"], result["status"]) == ("_any", "pending")
    assert "runs on the first that can" in result["reason"]

    changing.add_node(NodePlan(DB_1, engines[0].url))
    job = changing.ended(answer.json()["job_id"])
    assert job["status"] == "completed"
    (end,) = job["results"]
    assert (end["hostname"], end["changed"]) == (DB_1, True)
    assert end["image_id"] == engines[0].image_id(image.reference)

    for _ in range(5):
        assert results(changing.pull("_any", image.reference)).keys() == {DB_1}


async def test_an_old_job_that_any_node_could_have_done_is_ended_and_not_done(
    steady: Cluster,
) -> None:
    hours_ago = time.time() - 7200
    old = Job(new_id(), "node.load.get", {}, "_any", "tests", hours_ago, hours_ago + 60)
    settings = Settings([steady.broker.url], steady.broker.credentials)
    async with Connection(settings, "tests") as connection:
        await Journal(JetStream(connection)).add_job(old)
    (result,) = steady.ended(old.id)["results"]
    assert (result["hostname"], result["status"]) == ("_any", "expired")
