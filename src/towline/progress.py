"""How far a pull is: what nodes send while it goes on, and what is made of it."""

from __future__ import annotations

import msgspec

WAITING = "waiting"
DOWNLOADING = "downloading"
DOWNLOADED = "downloaded"
EXTRACTING = "extracting"
DONE = "done"
PRESENT = "present"
"""Was on the node already; how large it is the engine doesn't say."""


class Layer(msgspec.Struct, frozen=True, array_like=True):
    """A layer of an image, as far as it is.

    Attributes:
        id: the first twelve digits of its digest, as the engine names it.
        state: one of the constants above.
        fetched: bytes that have arrived.
        size: bytes that arrive in all, compressed; 0 while the engine has not said.
        extracted: of those bytes so many are unpacked; 0 until it is done where the engine tells
            no bytes (the containerd image store).
    """

    id: str
    state: str
    fetched: int = 0
    size: int = 0
    extracted: int = 0
