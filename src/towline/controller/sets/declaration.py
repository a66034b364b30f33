"""What a request declares of a set, and what it expects of the one that is there. Pure."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import msgspec

from towline.controller.sets.record import Follow, SetRecord, WantedImage
from towline.controller.sets.sets import MOST_IMAGES, NAME
from towline.errors import InvalidRequest, PreconditionFailed
from towline.wire.reference import Reference
from towline.wire.rollout import Waves
from towline.wire.target import Target, is_any


class Declaration(msgspec.Struct, frozen=True):
    """What a request declares; see `SetRecord`."""

    target: Target
    images: list[WantedImage]
    follow: Follow = "tag"
    every: float = 900.0
    window: str = ""
    keep: int | None = None
    options: Waves | None = None
    source: str = ""

    def record(self, name: str, by: str, before: SetRecord | None) -> SetRecord:
        """Return the set that is declared; that before, where it is declared so already."""
        now = time.time()
        if before is None:
            before = SetRecord(name, secrets.token_hex(8), 0, "", [], now, by, now, by)
        declared = {each: getattr(self, each) for each in self.__struct_fields__}
        declared["target"] = str(self.target)
        after = msgspec.structs.replace(before, **declared)
        if after == before:
            return before
        return msgspec.structs.replace(
            after, generation=before.generation + 1, changed=now, changed_by=by
        )


def expect(
    name: str,
    record: SetRecord | None,
    match: Sequence[str] | None,
    none_match: Sequence[str] | None = None,
) -> None:
    """Refuse a request about a set that is not as it expects (RFC 9110, 13.1).

    Args:
        match: the tags of which the set must have one, `*` for any; None for nothing.
        none_match: those of which it must have none.

    Raises:
        PreconditionFailed: it is another, or there is one, or none.
    """
    if match is not None and not _among(record, match):
        if record is None:
            raise PreconditionFailed(
                f"There is no set {name!r}, and the request is only for one that is there.",
                "It was removed, or never declared: leave out If-Match to declare it",
            )
        raise PreconditionFailed(
            f"The set {name!r} is another by now: {record.changed_by} has declared generation "
            f"{record.generation}.",
            f"GET /set/{name} shows what it is by now; send its ETag as If-Match",
        )
    if none_match is not None and _among(record, none_match):
        raise PreconditionFailed(
            f"There is a set {name!r} already.",
            "Leave out If-None-Match to replace it, or name another",
        )


def _among(record: SetRecord | None, tags: Sequence[str]) -> bool:
    return record is not None and ("*" in tags or record.etag in tags)


def check(name: str, declared: Declaration) -> None:
    """Raise `InvalidRequest` where something can't be declared."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:80]!r} is no name of a set.",
            "Write 1 to 63 lower-case letters, digits, '.', '_' and '-', a letter or digit first",
        )
    if is_any(declared.target):
        raise InvalidRequest(
            f"The target {str(declared.target)[:80]!r} means any one node, and a set is for all "
            "that its target means.",
            "Write _all, a label such as group:web, or a hostname",
        )
    if len(declared.images) > MOST_IMAGES:
        raise InvalidRequest(
            f"The set has {len(declared.images)} images, and it may have {MOST_IMAGES}.",
            "Declare several sets",
        )
    seen: set[str] = set()
    for each in declared.images:
        reference = Reference.parse(each.image)
        if reference.pulled in seen:
            raise InvalidRequest(
                f"The image {reference.familiar} stands there twice.",
                "Under one name a node has one image, be it for another platform: leave one out",
            )
        seen.add(reference.pulled)
