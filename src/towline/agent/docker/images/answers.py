"""What an engine answers about its images as a whole. Pure data; the rest is left unread."""

from __future__ import annotations

import msgspec


class MadeOfImage(msgspec.Struct, frozen=True, rename={"image_id": "ImageID"}):
    """One of `GET /containers/json`, as far as it uses an image.

    Attributes:
        image_id: of the image that it was made of.
        image: what it was made by, as long as that names this image; an id afterwards.
        names: each with a slash before it.
    """

    id: str = msgspec.field(name="Id")
    image_id: str
    image: str = msgspec.field(name="Image", default="")
    names: list[str] | None = msgspec.field(name="Names", default=None)

    @property
    def name(self) -> str:
        """What people call it."""
        return (self.names or [""])[0].removeprefix("/") or self.id[:12]
