"""The images that an engine has, with their names in full, and the containers made of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from towline.agent.docker.answers import ListedImage
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.held import full_id, held
from towline.agent.docker.images.answers import InspectedContainer, MadeOfImage
from towline.errors import TaskFailed
from towline.operations.image import ImageId
from towline.wire.inventory import ImageHeld
from towline.wire.platform import Platform
from towline.wire.reference import InvalidReference, Reference


class User(msgspec.Struct, frozen=True):
    """A container that was made of an image.

    Attributes:
        container: what people call it.
        by: the reference in full that it was started by; None for an id.
    """

    container: str
    by: str | None = None


class Stocked(msgspec.Struct, frozen=True):
    """An image that an engine has.

    Attributes:
        held: what inventories say of it.
        shared: bytes of it that other images have as well; None where the engine doesn't say.
        users: the containers that were made of it, running or not.
        awaiting: those that were made of others, by a name that is this one's by now: whatever
            makes them anew takes this one.
    """

    held: ImageHeld
    shared: int | None = None
    users: tuple[User, ...] = ()
    awaiting: tuple[User, ...] = ()

    @property
    def id(self) -> str:
        """The engine's, `sha256:…`."""
        return self.held.id

    @property
    def names(self) -> list[str]:
        """Those with a tag, in full."""
        return self.held.names

    @property
    def digests(self) -> list[str]:
        """What registries know it by, `DOMAIN/PATH@sha256:…` in full."""
        return self.held.digests

    @property
    def familiar(self) -> str:
        """What people know it by: its first name, or its id as they are shown it."""
        return Reference.parse(self.names[0]).familiar if self.names else short(self.id)


class Stock:
    """The images of an engine.

    Attributes:
        images: the newest first.
        unlisted: ids of what containers were made of and the engine doesn't list, such as a step of
            a build.
    """

    def __init__(self, images: Iterable[Stocked], unlisted: Iterable[str] = ()) -> None:
        self.images = sorted(images, key=lambda each: (-(each.held.created or 0.0), each.id))
        self.unlisted = frozenset(unlisted)

    def find(self, image: Reference | ImageId) -> Stocked | None:
        """Return the image that is meant, or None where there is none.

        What has lost its name in the containerd store is known by its digest as its id alone.

        Raises:
            TaskFailed: an id that is not whole is the beginning of several.
        """
        if isinstance(image, Reference):
            named = (each for each in self.images if image.pulled in (*each.names, *each.digests))
            nameless = (
                each
                for each in self.images
                if each.id == image.digest and not each.names and not each.digests
            )
            return next(named, None) or next(nameless, None)
        found = [each for each in self.images if each.id.startswith(image)] or [
            each
            for each in self.images
            if any(known.partition("@")[2].startswith(image) for known in each.digests)
        ]
        if len(found) > 1:
            raise TaskFailed(
                f"{len(found)} images on this node have an id that begins with {image}: write more "
                f"of it. They are {', '.join(each.id for each in found[:5])}"
            )
        return found[0] if found else None


async def take_stock(
    engine: Engine, *, shared: bool = False, started: dict[str, str] | None = None
) -> Stock:
    """Return what an engine has now.

    Args:
        shared: whether it is to reckon what of an image others have as well.
        started: what containers were started by, by their ids, as far as it was asked: then what
            is missing is asked and added. None where what has moved since doesn't count.

    Raises:
        TaskFailed: it could not be asked.
    """
    if shared:
        parameters = {"manifests": "1", "shared-size": "1"}
        listed = await engine.ask_each(ListedImage, "images/json", parameters)
    else:
        listed = await engine.images()
    # Last: of what was made meanwhile the image is known to be used.
    users = await engine.ask(list[MadeOfImage], "GET", "containers/json", {"all": "1"})
    if started is not None:
        users = [await _as_started(engine, each, started) for each in users]
    return stock_of(listed, users, engine.platform)


async def _as_started(engine: Engine, user: MadeOfImage, started: dict[str, str]) -> MadeOfImage:
    """Return a container with what it was started by: once that names another image than its own,
    Docker lists an id."""
    if full_id(user.image) != full_id(user.image_id):
        return user
    if user.id not in started:
        try:
            found = await engine.ask(InspectedContainer, "GET", f"containers/{user.id}/json")
        except EngineRefused as error:
            if error.status != 404:
                raise
            return user  # it has gone
        started[user.id] = found.config.image if found.config is not None else ""
    return msgspec.structs.replace(user, image=started[user.id])


def stock_of(
    listed: Iterable[ListedImage],
    users: Iterable[MadeOfImage],
    preferred: Platform | None = None,
) -> Stock:
    """Return what lists of images and containers come to.

    Args:
        preferred: the engine's own platform.
    """
    images = list(listed)
    # Engines that don't reckon it say -1, or 0 of every image.
    shared = {full_id(each.id): each.shared_size for each in images if each.shared_size > 0}
    made: dict[str, list[User]] = {}
    for container in users:
        id = full_id(container.image_id)
        # Podman has containers of a directory, and what holds a pod together: of no image.
        if id.removeprefix("sha256:"):
            made.setdefault(id, []).append(User(container.name, _reference(container.image)))
    counts = {id: len(each) for id, each in made.items()}
    # What is decided on is all of it: a name that is left out would go unseen.
    found = held(images, counts, {}, preferred, sent=False)
    by_name: dict[str | None, list[tuple[str, User]]] = {}
    for id, each in made.items():
        for user in each:
            by_name.setdefault(user.by, []).append((id, user))

    def awaiting(image: ImageHeld) -> Iterator[User]:
        for name in (*image.names, *image.digests):
            yield from (user for id, user in by_name.get(name, ()) if id != image.id)

    return Stock(
        (
            Stocked(image, shared.get(id), tuple(made.get(id, ())), tuple(awaiting(image)))
            for id, image in found.items()
        ),
        made.keys() - found.keys(),
    )


def told(meant: Reference | ImageId) -> str:
    """Return what was meant, in the words of an error."""
    return meant.familiar if isinstance(meant, Reference) else f"image {meant}"


def short(id: str) -> str:
    """Return an id or a digest as people are shown it."""
    algorithm, _, digits = id.rpartition(":")
    return f"{algorithm}:{digits[:12]}" if algorithm else digits[:12]


def _reference(text: str) -> str | None:
    """Return a reference in full; None for what is none, such as an id."""
    try:
        return None if text.startswith("sha256:") else Reference.parse(text).pulled
    except InvalidReference:
        return None
