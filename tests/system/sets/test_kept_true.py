"""What a set wants is brought to its nodes, and brought back, by ordinary jobs of its own."""

from collections.abc import Iterator, Sequence

import pytest

from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.declared import Declared
from tests.testing.engine import Engine
from tests.testing.marks import ONE_KIND
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage, Registry, random_layer

pytestmark = ONE_KIND


@pytest.fixture
def declared(cluster: Cluster, image: PushedImage) -> Iterator[Declared]:
    """A set of an image that no engine has seen; removed in the end."""
    found = Declared(cluster, "kept-true", image.reference)
    yield found
    found.remove()


def until_all_have(engines: Sequence[Engine], image: PushedImage) -> None:
    """Wait until each engine has an image under its name."""
    wait_until(
        lambda: {each.image_id(image.reference) for each in engines} == {image.config_digest},
        what="the image at every engine",
    )


def test_what_is_removed_or_replaced_by_hand_is_brought_back(
    cluster: Cluster,
    engines: Sequence[Engine],
    declared: Declared,
    image: PushedImage,
    registry: Registry,
) -> None:
    before = len(declared.jobs)
    declared.put()
    declared.until_rolled_out(image.digest)
    until_all_have(engines, image)
    first, second, third = engines
    first.remove_image(image.reference)
    # A tag that is moved by hand is as good as none.
    other = registry.push_image(image.repository, "2.0", [random_layer(2)])
    second.pull(other.reference)
    second.tag(other.reference, *image.reference.rsplit(":", 1))
    # One that is away gets what it lacks when it is back.
    cluster.agents[DB_1].stop()
    third.remove_image(image.reference)
    cluster.agents[DB_1].start()
    until_all_have(engines, image)
    cluster.wait_here(WEB_1, WEB_2, DB_1)
    declared.until(lambda found: found["converged"] == 3, "all that have converged")
    jobs = declared.jobs[: -before or None]
    assert {job["caller"] for job in jobs} == {"set:kept-true"}
    assert {job["status"] for job in jobs} == {"completed"}
    assert sum(len(job["results"]) for job in jobs) == 3 + 3, "nobody was given anything twice"


def test_a_tag_that_moves_is_rolled_out_and_a_canary_that_fails_stops_it(
    engines: Sequence[Engine], declared: Declared, image: PushedImage, registry: Registry
) -> None:
    declared.put(options={"canary": 1})
    declared.until_rolled_out(image.digest)
    moved = registry.push_image(image.repository, "1.0", [random_layer("moved")])
    declared.put()
    found = declared.until_rolled_out(moved.digest)
    assert found["before"] == image.digest
    until_all_have(engines, moved)

    broken = registry.push_image(image.repository, "1.0", [random_layer("broken")])
    registry.remove_blob(broken.layer_digests[0])
    declared.put()
    found = declared.until(lambda image: "stopped" in image, "a rollout that has stopped")
    assert (found["stopped"], found["next"]) == ("1 of 1 canary nodes failed", broken.digest)
    assert (found["current"], found["job"]) == (moved.digest, declared.jobs[0]["id"])
    assert (found["converged"], found["failed"]) == (2, 1)
    # What is missing is brought as it was before.
    engines[1].remove_image(image.reference)
    until_all_have(engines, moved)

    # What is rolled back from is not taken again, though the tag still names it.
    declared.do("rollback")
    declared.put()
    looked = declared.until(
        lambda now: now["checked_at"] != found["checked_at"], "the tag looked up"
    )
    assert (looked["current"], looked.get("next")) == (moved.digest, None)
    declared.do("rollback")
    until_all_have(engines, image)
    declared.until(lambda now: now["converged"] == 3, "all that are back")
