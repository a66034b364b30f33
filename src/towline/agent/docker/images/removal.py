"""Removing images and their names: never what a container uses, nor the name it was started by.

Engines take any tag as long as the image has another, also that by which a container was started
(moby#36295, #53706): then what makes that container anew finds no image. And made to (`force`),
they remove an image of which there is a container that doesn't run. So what may go is decided here,
and no engine is made to do anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.held import references
from towline.agent.docker.images.stock import Stocked, short, take_stock, told
from towline.errors import TaskFailed
from towline.operations.image import ImageId
from towline.operations.image_results import Removed
from towline.wire.reference import Reference

MOST_NAMED = 5
"""Names and containers that a text lists."""


class Going(msgspec.Struct, frozen=True):
    """What goes of an image.

    Attributes:
        names, digests: those that are taken from it.
        whole: whether nothing of it stays.
    """

    image: Stocked
    names: tuple[str, ...]
    digests: tuple[str, ...]
    whole: bool


def what_goes(image: Stocked, meant: Reference | ImageId, *, force: bool = False) -> Going:
    """Return what goes of an image that is to be removed by a reference or an id.

    Raises:
        TaskFailed: a container uses it, or more would go than one name; the text says which.
    """
    if not isinstance(meant, Reference):
        names, digests = tuple(image.names), tuple(image.digests)
    elif meant.digest is not None:
        names = tuple(each for each in image.names if _is_of(each, meant.repository))
        digests = tuple(each for each in image.digests if _is_of(each, meant.repository))
    else:
        names = (meant.name,)
        others = [each for each in image.names if each != meant.name]
        # With a repository's last tag engines take its digests.
        last = not any(_is_of(each, meant.repository) for each in others)
        digests = tuple(each for each in image.digests if last and _is_of(each, meant.repository))
    whole = not {*image.names} - {*names} and not {*image.digests} - {*digests}
    for user in (*image.users, *image.awaiting):
        if user.by in (*names, *digests):
            raise TaskFailed(
                f"{_shown(user.by)} is what the container {user.container} was started by: remove "
                "that container first, or start it by another name of the image",
            )
    if whole and image.users:
        containers = _listed(user.container for user in image.users)
        raise TaskFailed(
            f"{image.familiar} would go as a whole, and it is used by {containers}: remove "
            f"{'that container' if len(image.users) == 1 else 'those containers'} first"
        )
    by_digest = isinstance(meant, Reference) and meant.digest is not None
    if len(names) > (0 if by_digest else 1) and not force:
        raise TaskFailed(
            f"the image is also called {_listed(map(_shown, names))}: remove it by "
            f"{'one of these names' if len(names) > 1 else 'that name'}, or with force, with which "
            "they all go"
        )
    return Going(image, names, digests, whole)


async def remove(engine: Engine, meant: Reference | ImageId, *, force: bool) -> Removed:
    """Remove an image, or one of its names; see `image.remove`.

    Raises:
        TaskFailed: as `what_goes`; or the engine refused.
    """
    async with engine.naming:
        stock = await take_stock(engine, started={})
        image = stock.find(meant)
        if image is None:
            return Removed(f"there is no {told(meant)} on this node", False)
        going = what_goes(image, meant, force=force)
        await take(engine, going)
    return Removed(_message(going), True, image.id)


async def take(engine: Engine, going: Going) -> None:
    """Have an engine remove what goes of an image.

    Raises:
        EngineRefused: it refused, as it does where a container was made of it meanwhile.
        TaskFailed: it could not be asked.
    """
    image = going.image
    for name in going.names:
        await _delete(engine, name)
    left = await engine.image(image.id)
    if left is None:
        return
    names, digests = references((*left.tags, *(left.repo_digests or ())))
    # Podman says the digests of a repository as long as it has any name, and takes none by itself.
    digests = {each for each in digests if not any(_is_of(n, _repository(each)) for n in names)}
    taken = [each for each in going.digests if each in digests]
    if going.whole and len({_repository(each) for each in taken}) <= 1:
        await _delete(engine, image.id)
        return
    for each in taken:
        await _delete(engine, each)


async def _delete(engine: Engine, name: str) -> None:
    try:
        await engine.ask(list[Any], "DELETE", f"images/{name}")
    except EngineRefused as error:
        # With another name it may have gone already.
        if error.status != 404:
            raise


def _is_of(name: str, repository: str) -> bool:
    return _repository(name) == repository


def _repository(name: str) -> str:
    return Reference.parse(name).repository


def _message(going: Going) -> str:
    """Return what was done, in words."""
    image, taken = going.image, _listed(map(_shown, going.names or going.digests))
    if going.whole:
        return f"the image {short(image.id)} is gone" + (f", with {taken}" if taken else "")
    stay = [each for each in (*image.names, *image.digests) if each not in going.names]
    stay = [each for each in stay if each not in going.digests]
    return f"{taken} is gone, the image stays as {_listed(map(_shown, stay))}"


def _shown(name: str | None) -> str:
    return "" if name is None else Reference.parse(name).familiar


def _listed(words: Iterable[str]) -> str:
    """Return words as one text, the first few of many."""
    found = list(words)
    more = len(found) - MOST_NAMED
    return ", ".join(found[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
