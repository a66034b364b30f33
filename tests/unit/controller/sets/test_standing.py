"""Where nodes stand against a set."""

from tests.testing.sets import NAME, NOW, World, a_set, digest
from towline.controller.sets.record import ImageState, SetState
from towline.controller.sets.standing import Attempt, Rival, Standing, images, stand, standings

OLD, NEW = digest(1), digest(2)


def where(world: World, machine: str = "a", **image: object) -> Standing:
    """Return where a node stands against a set of one image."""
    state = ImageState(NAME, **image)  # type: ignore[arg-type]
    return stand(a_set(), state, world.nodes[machine], world, NOW)


def test_a_node_that_has_what_is_wanted_has_converged_and_one_without_can_be_given_it() -> None:
    world = World()
    world.have("a", OLD)
    assert where(world, current=OLD).state == "converged"
    found = where(world, "b", current=OLD)
    assert (found.state, found.digest, found.ready) == ("missing", OLD, True)


def test_another_digest_under_the_name_is_as_good_as_none() -> None:
    world = World()
    world.have("a", NEW)
    assert where(world, current=OLD).ready


def test_while_no_digest_is_known_nothing_is_and_the_problem_is_said() -> None:
    world = World()
    assert where(world).state == "unknown"
    assert where(world, problem="the registry is away").reason == "the registry is away"
    assert not where(world).ready


def test_nothing_is_done_where_the_inventory_is_not_known() -> None:
    world = World()
    world.nodes["a"].names = None
    found = where(world, current=OLD)
    assert (found.state, found.ready) == ("unknown", False)
    assert found.reason == "what it has is not known yet"
    world.nodes["a"].here = False
    assert where(world, current=OLD).reason == "not reachable since noon"


def test_a_node_to_which_nothing_can_be_brought_says_why_and_is_left_alone() -> None:
    for change, reason in (
        ({"here": False}, "not reachable since noon"),
        ({"drained": NOW}, "drained since 2027-01-15T08:00:00.000Z"),
        ({"docker": None}, "this node has no docker"),
        ({"docker": "the engine is away"}, "the engine is away"),
    ):
        world = World()
        for name, value in change.items():
            setattr(world.nodes["a"], name, value)
        found = where(world, current=OLD, next=NEW)
        assert (found.state, found.reason, found.ready, found.open) == (
            "missing",
            reason,
            False,
            False,
        )


def test_a_node_that_is_away_still_has_what_it_was_known_to_have() -> None:
    world = World()
    world.have("a", OLD)
    world.nodes["a"].here = False
    assert where(world, current=OLD).state == "converged"


def test_what_a_job_is_about_to_bring_is_not_brought_twice() -> None:
    world = World()
    world.jobs[OLD, "a"] = "job-1"
    found = where(world, current=OLD)
    assert (found.state, found.job, found.ready) == ("missing", "job-1", False)


def test_a_node_with_the_next_digest_is_not_sent_back_while_that_is_rolled_out() -> None:
    world = World()
    world.have("a", NEW)
    world.have("b", OLD)
    there, rest, joined = (where(world, each, current=OLD, next=NEW) for each in "abc")
    assert (there.state, there.digest, there.open) == ("converged", NEW, False)
    assert (rest.state, rest.digest, rest.open) == ("converged", OLD, True)
    # One that joins meanwhile is given what all others still have.
    assert (joined.state, joined.digest, joined.ready) == ("missing", OLD, True)


def test_a_node_whose_turn_in_the_rollout_comes_is_to_have_the_next_digest() -> None:
    world = World()
    world.have("a", OLD)
    world.jobs[NEW, "a"] = "job-1"
    found = where(world, current=OLD, next=NEW)
    assert (found.state, found.digest, found.job) == ("missing", NEW, "job-1")
    assert not found.open


def test_a_node_on_which_the_rollout_failed_says_so_and_still_gets_the_old_digest() -> None:
    world = World()
    world.attempts[NEW, "a"] = Attempt("manifest unknown", "job-1", 0.0, NOW + 10, 1)
    world.have("a", OLD)
    found = where(world, current=OLD, next=NEW, stopped="1 of 1 canary nodes failed")
    assert (found.state, found.digest, found.error) == ("failed", NEW, "manifest unknown")
    assert "1 of 1 canary nodes failed" in found.reason
    assert not found.ready
    world.have("a", "")
    found = where(world, current=OLD, next=NEW, stopped="1 of 1 canary nodes failed")
    assert (found.state, found.digest, found.ready) == ("missing", OLD, True)


def test_before_anything_was_rolled_out_the_rollout_brings_it_and_nothing_else() -> None:
    found = where(World(), next=NEW)
    assert (found.state, found.digest, found.ready, found.open) == ("missing", NEW, False, True)
    assert found.reason == "waits for the rollout"


def test_what_failed_waits_for_its_pause_and_is_ready_after_it() -> None:
    world = World()
    world.attempts[OLD, "a"] = Attempt("no space left", "job-1", 0.0, NOW + 10, 1)
    found = where(world, current=OLD)
    assert (found.state, found.error, found.job) == ("failed", "no space left", "job-1")
    assert (found.ready, found.due) == (False, NOW + 10)
    world.attempts[OLD, "a"] = Attempt("no space left", "job-1", 0.0, NOW, 1)
    assert where(world, current=OLD).ready
    world.jobs[OLD, "a"] = "job-2"
    assert not where(world, current=OLD).ready


def test_what_has_just_been_brought_may_not_be_in_the_inventory_yet() -> None:
    world = World()
    world.attempts[OLD, "a"] = Attempt("not listed", "job-1", NOW + 1, NOW + 11, 1)
    found = where(world, current=OLD)
    assert (found.state, found.ready, found.due) == ("missing", False, NOW + 1)
    world.attempts[OLD, "a"] = Attempt("not listed", "job-1", NOW, NOW + 11, 1)
    assert where(world, current=OLD).state == "failed"


def test_an_older_set_wins_and_the_other_says_that_it_is_in_conflict() -> None:
    world = World()
    world.rivals[OLD, "a"] = Rival("the set base, which is older, wants another there")
    found = where(world, current=OLD)
    assert (found.state, found.ready) == ("conflict", False)
    assert "base" in found.reason
    world.rivals[NEW, "a"] = world.rivals.pop((OLD, "a"))
    for held in ("", OLD):
        world.have("a", held)
        assert not where(world, current=OLD, next=NEW).open, "the rollout is not for it"


def test_of_two_sets_that_follow_a_tag_the_younger_waits_for_the_older_to_have_looked_it_up() -> (
    None
):
    world = World()
    world.rivals[OLD, "a"] = Rival("the set base, which is older, wants another there yet", True)
    found = where(world, current=OLD)
    assert (found.state, found.ready) == ("missing", False)
    assert "base" in found.reason


def test_an_image_by_its_digest_needs_no_name() -> None:
    world = World()
    record = a_set(f"{NAME}@{OLD}")
    repository = NAME.partition(":")[0]
    world.have("a", OLD, f"{repository}@{OLD}")
    image = ImageState(f"{NAME}@{OLD}", current=OLD)
    assert stand(record, image, world.nodes["a"], world, NOW).state == "converged"


def test_all_images_of_a_set_are_shown_for_each_node_and_those_of_another_set_are_not() -> None:
    record = a_set(NAME, "docker.io/library/redis:7")
    of_another = SetState("before", [ImageState(NAME, current=OLD)])
    assert [each.current for each in images(record, of_another)] == ["", ""]
    state = SetState(record.id, [ImageState(NAME, current=OLD)])
    found = list(standings(record, state, World("ab"), World("ab"), NOW))
    assert [(each.hostname, each.state) for each in found] == [
        ("a", "missing"),
        ("a", "unknown"),
        ("b", "missing"),
        ("b", "unknown"),
    ]
