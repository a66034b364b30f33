"""What lists of images and containers come to, for operations that decide on it."""

import pytest

from towline.agent.docker.answers import ListedImage
from towline.agent.docker.held import held
from towline.agent.docker.images.answers import MadeOfImage
from towline.agent.docker.images.stock import stock_of
from towline.wire.inventory import MOST_NAMES
from towline.wire.reference import Reference

ID, OTHER = (f"sha256:{digit * 64}" for digit in "ab")


def test_operations_see_all_names_of_an_image_also_those_that_no_inventory_has() -> None:
    tags = [f"app:{number:03}" for number in range(MOST_NAMES + 1)]
    digests = [f"app{number:03}@{ID}" for number in range(MOST_NAMES + 1)]
    image = ListedImage(ID, tags, digests)
    (sent,) = held([image], {}, {}, None).values()
    assert (len(sent.names), len(sent.digests)) == (MOST_NAMES, MOST_NAMES)
    stock = stock_of([image], [])
    assert stock.find(Reference.parse(tags[-1])) is not None
    (found,) = stock.images
    assert len(found.names) == MOST_NAMES + 1
    assert len(found.digests) > MOST_NAMES


@pytest.mark.parametrize("id", ["", "sha256:"])
def test_what_was_made_of_no_image_uses_none(id: str) -> None:
    # What Podman says of a container of a directory, and of what holds a pod together.
    stock = stock_of([ListedImage(ID, ["app:1"])], [MadeOfImage("c", id), MadeOfImage("d", ID)])
    assert [user.container for user in stock.images[0].users] == ["d"]
    assert stock.unlisted == frozenset()


@pytest.mark.parametrize("by", ["app:1", f"app@{ID}"])
def test_what_a_container_of_an_unlisted_image_was_started_by_is_used(by: str) -> None:
    # Between the two lists the tag went to another image, of which the container was made.
    images = [ListedImage(ID, ["app:1"], [f"app@{ID}"]), ListedImage(OTHER, ["b:1"])]
    users = [MadeOfImage("c", f"sha256:{'c' * 64}", by), MadeOfImage("d", OTHER, "b:1")]
    stock = stock_of(images, users)
    assert {image.id: [user.container for user in image.users] for image in stock.images} == {
        ID: ["c"],
        OTHER: ["d"],
    }
    assert stock.unlisted == {f"sha256:{'c' * 64}"}
