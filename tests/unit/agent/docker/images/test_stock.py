"""What lists of images and containers come to, for operations that decide on it."""

from towline.agent.docker.answers import ListedImage
from towline.agent.docker.held import held
from towline.agent.docker.images.stock import stock_of
from towline.wire.inventory import MOST_NAMES
from towline.wire.reference import Reference

ID = f"sha256:{'a' * 64}"


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
