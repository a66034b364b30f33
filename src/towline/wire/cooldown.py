"""Cooldowns: registries that the whole fleet leaves alone after too many requests. Pure data."""

from __future__ import annotations

import hashlib

import msgspec

from towline.wire.fields import Count, Moment, Name, Text

BUCKET = "cooldowns"
"""The bucket with the cooldown of each registry."""
LONGEST_ASKED = 6 * 3600.0
"""Seconds of a cooldown at most that a registry asks for: Docker Hub counts over six hours."""


class Cooldown(msgspec.Struct, frozen=True):
    """That a registry is to be left alone.

    Attributes:
        registry: `host[:port]`.
        since, until: by the controllers' clock. No two of a registry begin at the same moment.
        over: from when on nodes need not begin one after another any more, likewise.
        row: how many cooldowns in a row this is the last of.
        by: the hostname of the node whose request was refused.
        reason: in the words of its engine.
    """

    registry: Name
    since: Moment
    until: Moment
    over: Moment
    row: Count
    by: Name
    reason: Text


def cooldown_key(registry: str) -> str:
    """Return the key of a registry's cooldown: a host has dots, and an address brackets."""
    return hashlib.sha256(msgspec.json.encode([registry])).hexdigest()[:32]
