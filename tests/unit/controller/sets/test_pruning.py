"""Which older digests of a set go, and from which nodes."""

import msgspec

from tests.testing.sets import NAME, a_set, digest
from towline.controller.sets import changes
from towline.controller.sets.pruning import is_unused, surplus
from towline.controller.sets.record import ImageState, SetState
from towline.controller.sets.steering import gone_back
from towline.wire.inventory import ImageHeld

ONE, TWO, THREE, FOUR, FIVE = map(digest, range(1, 6))
REPOSITORY = NAME.partition(":")[0]
IMAGE = ImageState(NAME, current=FOUR, before=[THREE, TWO, ONE])


def test_what_is_older_than_what_is_kept_goes_unless_a_set_wants_it() -> None:
    assert surplus(a_set(keep=1), IMAGE, []) == [TWO, ONE]
    assert surplus(a_set(keep=0), IMAGE, [f"{REPOSITORY}@{TWO}"]) == [THREE, ONE]
    assert surplus(a_set(keep=3), IMAGE, []) == []


def test_what_was_given_up_goes_and_what_is_kept_or_wanted_again_does_not() -> None:
    image = msgspec.structs.replace(IMAGE, given_up=[FIVE, THREE, TWO, FOUR])
    assert surplus(a_set(keep=1), image, []) == [TWO, ONE, FIVE]
    assert surplus(a_set(keep=1), image, [f"{REPOSITORY}@{FIVE}"]) == [TWO, ONE]
    assert surplus(a_set(), image, []) == []


def test_a_rollout_that_is_given_up_or_gone_back_from_is_remembered_until_it_comes_again() -> None:
    record = a_set(keep=1)
    moved = changes.Answer(NAME, "", FIVE)
    state = SetState(record.id, [msgspec.structs.replace(IMAGE, next=TWO, stopped="no")])
    (image,) = changes.resolved(record, [moved], 1.0)(state).images
    assert (image.next, image.given_up) == (FIVE, [TWO])
    back = gone_back(image, 2.0)
    assert back is not None
    assert (back.current, back.next, back.given_up) == (FOUR, "", [FIVE, TWO])
    again = msgspec.structs.replace(back, next=FIVE)
    state = SetState(record.id, [again])
    (image,) = changes.rolled_out(record, again, 3.0)(state).images
    assert (image.current, image.given_up) == (FIVE, [])


def test_by_default_nothing_goes_and_nothing_while_something_is_rolled_out() -> None:
    assert surplus(a_set(), IMAGE, []) == []
    assert surplus(a_set(keep=0), msgspec.structs.replace(IMAGE, next=TWO), []) == []


def test_what_a_container_uses_or_what_has_a_name_stays() -> None:
    for held, goes in (
        (ImageHeld("sha256:a", [f"{REPOSITORY}@{ONE}"]), True),
        (ImageHeld("sha256:a", [f"{REPOSITORY}@{ONE}"], used=1), False),
        (ImageHeld("sha256:a", [f"{REPOSITORY}@{ONE}"], [f"{REPOSITORY}:old"]), False),
        (ImageHeld("sha256:a", [f"docker.io/library/redis@{ONE}"]), False),
        # What has lost its name in the containerd store.
        (ImageHeld(ONE), True),
        (ImageHeld(ONE, used=1), False),
        (ImageHeld(ONE, [], [f"{REPOSITORY}:old"]), False),
        (ImageHeld(ONE, [f"docker.io/library/redis@{ONE}"]), False),
    ):
        assert is_unused({held.id: held}, IMAGE, ONE) is goes
    assert not is_unused(None, IMAGE, ONE)
    used = ImageHeld("sha256:b", [f"{REPOSITORY}@{ONE}"], used=1)
    both = {"sha256:a": ImageHeld("sha256:a", [f"{REPOSITORY}@{ONE}"]), "sha256:b": used}
    assert not is_unused(both, IMAGE, ONE)
