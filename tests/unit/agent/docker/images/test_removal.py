"""What of an image goes, and what containers of it hold back."""

import pytest

from towline.agent.docker.answers import ListedImage
from towline.agent.docker.images.answers import MadeOfImage
from towline.agent.docker.images.removal import Going, what_goes
from towline.agent.docker.images.stock import stock_of
from towline.errors import TaskFailed
from towline.operations.image import parse_image

ID, DIGEST = (f"sha256:{digit * 64}" for digit in "ab")
APP = "docker.io/library/app"
BY_DIGEST = f"app@{DIGEST}"


def goes(meant: str, *tags: str, by: str = "", force: bool = False) -> Going:
    """Return what goes of an image, of which there is a container that was made by that."""
    listed = [ListedImage(ID, [*tags], [BY_DIGEST])]
    users = [MadeOfImage("c", ID, by, ["/web"])] if by else []
    (image,) = stock_of(listed, users).images
    return what_goes(image, parse_image(meant), force=force)


def test_a_tag_goes_alone_and_as_the_last_of_its_repository_with_the_digests() -> None:
    one = goes("app:1", "app:1", "app:2")
    assert (one.names, one.digests, one.whole) == ((f"{APP}:1",), (), False)
    last = goes("app:1", "app:1", "other:1")
    assert (last.names, last.digests, last.whole) == ((f"{APP}:1",), (f"{APP}@{DIGEST}",), False)
    assert goes("app:1", "app:1").whole


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("meant", "tags", "by", "says"),
    [
        ("app:1", ("app:1", "app:2"), "app:1", "app:1 is what the container web was started by"),
        ("app", ("app:latest", "b:1"), "docker.io/library/app", "app:latest is what the container"),
        # With its repository's last tag the digest goes that a container was started by.
        ("app:1", ("app:1", "b:1"), BY_DIGEST, f"{BY_DIGEST} is what the container web was"),
        (BY_DIGEST, ("b:1",), BY_DIGEST, f"{BY_DIGEST} is what the container web was"),
        (BY_DIGEST, ("app:1", "b:1"), f"app:1@{DIGEST}", f"{BY_DIGEST} is what the container web"),
        # By an id, or by a name that it has no more.
        ("app:1", ("app:1",), ID, "app:1 would go as a whole, and it is used by web"),
        (ID, ("app:1",), "app:0", "app:1 would go as a whole, and it is used by web"),
        (ID, ("app:1", "b:1"), "app:0", "app:1 would go as a whole, and it is used by web"),
    ],
)
def test_what_a_container_was_started_by_stays_and_one_that_is_used_does_so_as_a_whole(
    meant: str, tags: tuple[str, ...], by: str, says: str, force: bool
) -> None:
    with pytest.raises(TaskFailed) as refused:
        goes(meant, *tags, by=by, force=force)
    assert refused.value.error.startswith(says)


@pytest.mark.parametrize(
    ("meant", "tags"),
    [(BY_DIGEST, ("app:1", "b:1")), (BY_DIGEST, ("app:1",)), (ID, ("app:1", "b:1"))],
)
def test_what_takes_names_that_were_not_written_takes_force(
    meant: str, tags: tuple[str, ...]
) -> None:
    with pytest.raises(TaskFailed, match="also called app:1"):
        goes(meant, *tags)
    assert f"{APP}:1" in goes(meant, *tags, force=True).names


def test_an_id_with_one_name_and_a_digest_without_any_go_as_they_are() -> None:
    assert goes(ID, "app:1").whole
    assert goes(BY_DIGEST).whole
    assert goes(BY_DIGEST, "b:1").digests == (f"{APP}@{DIGEST}",)


def test_one_that_is_used_may_lose_a_name_that_no_container_was_started_by() -> None:
    assert goes("app:2", "app:1", "app:2", by="app:1").names == (f"{APP}:2",)
