"""What a command declares of a set, from what there is of it by now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from towline.errors import ApiError
from towline.signature import Place
from towline.wire.reference import Reference

if TYPE_CHECKING:
    from towline.client import Client
    from towline.endpoints.set_views import SetForeseen, SetView

NOT_FOUND, CHANGED_MEANWHILE = 404, 412
TIMES = 10
"""Times that a set is looked at again that others change meanwhile."""


def body_of(found: SetView) -> dict[str, Any]:
    """Return what is declared of a set, as it would be declared anew."""
    from towline.endpoints import sets

    names = sets.put.signature.names(Place.BODY)
    given = msgspec.to_builtins(found)
    body = {name: given[name] for name in names if given.get(name) not in (None, "")}
    body["images"] = [wanted(each["image"], each.get("platform", "")) for each in given["images"]]
    return body


def wanted(image: str, platform: str) -> Any:
    """Return an image as a set's declaration has it."""
    return {"image": image, "platform": platform} if platform else image


def replacing(images: Sequence[Any], new: Sequence[str], platform: str = "") -> list[Any]:
    """Return images of a set with others in place of those of the same repositories.

    Args:
        images: as the declaration has them.
        new: references.
        platform: what the new ones are for; "" for each engine's own.
    """
    replaced = set(map(_repository, new))
    place = next((n for n, each in enumerate(images) if _repository(each) in replaced), len(images))
    before, behind = images[:place], images[place:]
    left = [each for each in behind if _repository(each) not in replaced]
    return [*before, *(wanted(each, platform) for each in dict.fromkeys(new)), *left]


def _repository(image: Any) -> str:
    return Reference.parse(image if isinstance(image, str) else image["image"]).repository


def found_of(client: Client, name: str) -> SetView | None:
    """Return a set as it is now, None where there is none; raises `ApiError`."""
    from towline.endpoints import sets

    try:
        return client.call(sets.get, name=name)
    except ApiError as error:
        if error.status == NOT_FOUND:
            return None
        raise


def foreseen(client: Client, name: str, body: Mapping[str, Any]) -> SetForeseen:
    """Return what declaring a set would come to; raises `ApiError` where it would be refused."""
    from towline.endpoints import sets

    return cast("SetForeseen", client.call(sets.put, name=name, dry_run=True, **body))


def unchanged_since(found: SetView | None) -> dict[str, Any]:
    """Return the condition of a request that a set is as it was found."""
    if found is None:
        return {"if_none_match": "*"}
    return {"if_match": found.etag}


def declare(
    client: Client, name: str, make: Callable[[SetView | None], Mapping[str, Any]]
) -> tuple[SetView, SetView | None]:
    """Declare a set as `make` makes it of what there is; return it, and what there was.

    Where somebody else changes it meanwhile, it is made of that.

    Raises:
        ApiError: the controller refuses it, or doesn't answer.
    """
    from towline.endpoints import sets

    for left in reversed(range(TIMES)):
        before = found_of(client, name)
        try:
            after = client.call(sets.put, name=name, **make(before), **unchanged_since(before))
            return cast("SetView", after), before
        except ApiError as error:
            if error.status != CHANGED_MEANWHILE or not left:
                raise
    raise AssertionError("the last time has returned or raised")
