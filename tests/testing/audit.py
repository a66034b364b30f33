"""An audit as controllers store it, and what somebody does to it who has the broker."""

import time
from collections.abc import Callable, Sequence

import msgspec

from tests.testing.signing import SIGNER
from towline.controller.audit.entry import (
    AUDITED,
    CHECKPOINT,
    Checkpoint,
    Entry,
    Request,
    digest,
    entries_of,
    group_of,
)
from towline.controller.audit.trail import Head
from towline.controller.audit.verification import Fault, Verification
from towline.trust.signing import Signer, Verifier, stored_on
from towline.wire import messages
from towline.wire.job import new_id

DAY = 86400.0
VERIFIER = Verifier(SIGNER.public)
STRANGER = Signer([b"stranger" * 4])
"""Whoever has the broker signs with a key of his own."""

Change = Callable[[list[bytes], list[bytes]], None]
"""Changes the messages of the entries, and those of the checkpoints."""


def request(**fields: object) -> Request:
    """Return a request that was answered."""
    usual = {"time": time.time(), "method": "POST", "path": "/job/x/cancel", "status": 200}
    return msgspec.convert({**usual, **fields}, Request)


class Store:
    """Two streams in memory, as the trails of some controllers have written them."""

    def __init__(self, signer: Signer = SIGNER) -> None:
        self.signer = signer
        self.groups: list[bytes] = []
        self.checkpoints: list[bytes] = []
        self.heads: dict[str, Head] = {}

    def add(self, controller: str, count: int, *, moment: float | None = None) -> None:
        """Store a group of entries of a controller."""
        head = self.heads.get(controller)
        if head is None:
            head = Head(controller * 4, controller)
            self.heads[controller] = head
            self.check(controller)
        made = []
        for _ in range(count):
            when = time.time() if moment is None else moment
            entry = Entry(
                **msgspec.structs.asdict(request(time=when)),
                id=new_id(),
                chain=head.chain,
                controller=controller,
                number=head.number + 1,
                previous=head.hash,
                after=head.time,
            )
            made.append(msgspec.json.encode(entry))
            head = Head(head.chain, controller, entry.number, digest(made[-1]), when)
        self.heads[controller] = head
        self.groups.append(self.signer.seal(group_of(made), stored_on(AUDITED)))

    def check(self, controller: str) -> None:
        """Store a checkpoint of a controller."""
        head = self.heads[controller]
        made = Checkpoint(
            chain=head.chain,
            controller=controller,
            number=head.number,
            hash=head.hash,
            time=time.time(),
            entered=head.time,
            previous=digest(self.checkpoints[-1]) if self.checkpoints else "",
        )
        self.checkpoints.append(self.signer.seal(made, stored_on(CHECKPOINT)))

    def faults(self, verifier: Verifier = VERIFIER, **known: object) -> list[Fault]:
        """Return what is amiss."""
        options: dict[str, object] = {"age": DAY, "now": time.time(), **known}
        looked = Verification(verifier, **options)  # type: ignore[arg-type]
        for each in self.checkpoints:
            looked.take_checkpoint(each)
        for each in self.groups:
            looked.take_group(each)
        return looked.end()


def altered(data: bytes, at: int = 0, **fields: object) -> bytes:
    """Return a group in which an entry has other values; its signature is that of the old one."""
    entries = [each for each, _ in entries_of(messages.envelope(data).body)]
    entries[at] = msgspec.structs.replace(entries[at], **fields)
    return resigned(entries, data)


def resigned(entries: Sequence[Entry], data: bytes | None = None) -> bytes:
    """Return a group with the signature of another one, or with a stranger's."""
    sealed = STRANGER.seal(
        group_of([msgspec.json.encode(each) for each in entries]), stored_on(AUDITED)
    )
    if data is None:
        return sealed
    old, new = messages.envelope(data), messages.envelope(sealed)
    return msgspec.json.encode(msgspec.structs.replace(old, body=new.body))


def entry_of(data: bytes, at: int = 0) -> Entry:
    """Return an entry of a group."""
    return entries_of(messages.envelope(data).body)[at][0]
