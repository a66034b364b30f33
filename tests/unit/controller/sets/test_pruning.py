"""Which older digests of a set go, and from which nodes."""

import msgspec

from tests.testing.sets import NAME, a_set, digest
from towline.controller.sets.pruning import is_unused, surplus
from towline.controller.sets.record import ImageState
from towline.wire.inventory import ImageHeld

ONE, TWO, THREE, FOUR = map(digest, range(1, 5))
REPOSITORY = NAME.partition(":")[0]
IMAGE = ImageState(NAME, current=FOUR, before=[THREE, TWO, ONE])


def test_what_is_older_than_what_is_kept_goes_unless_a_set_wants_it() -> None:
    assert surplus(a_set(keep=1), IMAGE, []) == [TWO, ONE]
    assert surplus(a_set(keep=0), IMAGE, [f"{REPOSITORY}@{TWO}"]) == [THREE, ONE]
    assert surplus(a_set(keep=3), IMAGE, []) == []


def test_by_default_nothing_goes_and_nothing_while_something_is_rolled_out() -> None:
    assert surplus(a_set(), IMAGE, []) == []
    assert surplus(a_set(keep=0), msgspec.structs.replace(IMAGE, next=TWO), []) == []


def test_what_a_container_uses_or_what_has_a_name_stays() -> None:
    for held, goes in (
        (ImageHeld("sha256:a", [f"{REPOSITORY}@{ONE}"]), True),
        (ImageHeld("sha256:a", [f"{REPOSITORY}@{ONE}"], used=1), False),
        (ImageHeld("sha256:a", [f"{REPOSITORY}@{ONE}"], [f"{REPOSITORY}:old"]), False),
        (ImageHeld("sha256:a", [f"docker.io/library/redis@{ONE}"]), False),
    ):
        assert is_unused({held.id: held}, IMAGE, ONE) is goes
    assert not is_unused(None, IMAGE, ONE)
    used = ImageHeld("sha256:b", [f"{REPOSITORY}@{ONE}"], used=1)
    both = {"sha256:a": ImageHeld("sha256:a", [f"{REPOSITORY}@{ONE}"]), "sha256:b": used}
    assert not is_unused(both, IMAGE, ONE)
