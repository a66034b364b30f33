"""Platforms: what an image is made for."""

from __future__ import annotations

import re
from typing import Self

import msgspec

from towline.wire.text import quoted

_FORM = re.compile(r"[a-z][a-z0-9]*/[a-z0-9][a-z0-9_]*(?:/[a-z0-9][a-z0-9.]*)?")
_LONGEST = 64
_OTHER_NAMES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "armhf": "arm/v7",
    "armel": "arm/v6",
    "armv7l": "arm/v7",
    "armv6l": "arm/v6",
}
"""What people write for an architecture, by what it is called in platforms."""
_DEFAULT_VARIANTS = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
"""The variant that an architecture means without one."""


class InvalidPlatform(ValueError):
    """The text is not a platform; the message shows it and says how to mend it."""


class Platform(msgspec.Struct, frozen=True):
    """An operating system and an architecture, perhaps in one of its variants.

    Made by `parse` or `of`, by which equal platforms are equal whatever they were written as.

    Attributes:
        os: for example `linux`.
        architecture: as Go calls it, for example `amd64`, `arm64`, `arm`.
        variant: for example `v6`; "" for the one that the architecture means without.

    Source: the OCI image specification, "Image Index", and Go's `GOOS` and `GOARCH`.
    """

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Self:
        """Return a platform whose parts are known."""
        default = _DEFAULT_VARIANTS.get(architecture)
        return cls(os, architecture, "" if variant == default else variant)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a platform.

            >>> Platform.parse("linux/arm64/v8")
            Platform(os='linux', architecture='arm64', variant='')
            >>> str(Platform.parse("linux/arm/v6"))
            'linux/arm/v6'

        Raises:
            InvalidPlatform: it is none.
        """
        os, _, architecture = text.partition("/")
        written, _, variant = architecture.partition("/")
        meant = _OTHER_NAMES.get(written.lower())
        if meant is not None:
            mend = f"{os}/{meant}" if "/" in meant or not variant else f"{os}/{meant}/{variant}"
            raise InvalidPlatform(
                f"{quoted(text)} is not a platform: {quoted(written)} is called "
                f"{quoted(meant)} there, write {quoted(mend)}"
            )
        if len(text) > _LONGEST or not _FORM.fullmatch(text):
            raise InvalidPlatform(
                f"{quoted(text[:_LONGEST])} is not a platform, write "
                "OS/ARCHITECTURE[/VARIANT] in lower case, such as 'linux/arm64' or 'linux/arm/v7'"
            )
        return cls.of(*text.split("/"))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
