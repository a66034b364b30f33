"""`If-Match` and `If-None-Match`: that what is changed is what whoever changes it has seen."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from msgspec import Meta

from towline.signature import Flag, Header

ANY = "*"
_TAG = re.compile(r'(?:W/)?"[!#-~]*"')
_SCHEMA = {"type": "string", "minLength": 1}
_MEND = 'Send what an answer has had as ETag, with its quotation marks: "…", or *'


def _read(lines: list[str]) -> str:
    text = ", ".join(line.strip() for line in lines)
    tags_of(text)
    return text


def tags_of(text: str) -> list[str]:
    """Return the tags that a header names, or `*`; weak ones match none, and are left out.

    Raises:
        ValueError: it names none.

    Source: RFC 9110, sections 13.1.1 and 13.1.2.
    """
    if text == ANY:
        return [ANY]
    found = [each.strip() for each in text.split(",")]
    if not all(_TAG.fullmatch(each) for each in found):
        raise ValueError(f"{text[:80]!r} is no list of tags")
    return [each for each in found if each.startswith('"')]


IfMatch: TypeAlias = Annotated[
    str,
    Header("If-Match", read=_read, schema=_SCHEMA, mend=_MEND),
    Meta(description="Only where it is still what this ETag was of; * for only if it is there."),
    Flag("ETAG"),
]
IfNoneMatch: TypeAlias = Annotated[
    str,
    Header("If-None-Match", read=_read, schema=_SCHEMA, mend=_MEND),
    Meta(description="* for only if there is none; an ETag for only if it is not that any more."),
    Flag("ETAG"),
]
