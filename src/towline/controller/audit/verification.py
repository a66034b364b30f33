"""Looks whether anything in the audit was changed, removed or put in, and names what.

What is signed with a key that is known is what a controller has stored. Beyond that each entry has
the hash of the one before, and checkpoints say how far each chain was: they are a chain too, so
that none of them can be taken out.
"""

from __future__ import annotations

import msgspec

from towline.controller.audit.entry import (
    AUDITED,
    CHECKPOINT,
    Checkpoint,
    Entry,
    checkpoint_of,
    digest,
    entries_of,
)
from towline.controller.audit.trail import Head
from towline.trust.signing import Verifier, stored_on
from towline.wire import messages
from towline.wire.decoding import Unreadable

CHANGED, REMOVED, PUT_IN = "changed", "removed", "put in"
CLOCKS_APART = 3600.0
"""Seconds that the broker's clock, by which entries grow old, may be ahead of ours."""
MOST_FAULTS = 100
"""Faults that are named."""


class Fault(msgspec.Struct, frozen=True):
    """Something that is not as a controller has stored it.

    Attributes:
        kind: one of the constants.
        chain, controller: whose it is; "" where that can't be said.
        number: of the entry, or of the first of several.
        id, time: of the entry, where it is there.
        error: a sentence.
    """

    kind: str
    error: str
    chain: str = ""
    controller: str = ""
    number: int = 0
    id: str = ""
    time: float | None = None


Read = list[tuple[Entry, str]]
"""The entries of a group, each with its hash."""


class _Chain(msgspec.Struct):
    """A chain, as far as it was read.

    Attributes:
        number, hash: of the newest entry.
        doubles: the hashes of the newest group: it may be stored twice.
        unsigned: the newest entry whose signature nobody can check any more.
        suspects: groups that no key which is known has signed, and whether they name one.
        unknown: the first entry that came before anything was known of the chain.
    """

    controller: str
    number: int = 0
    hash: str = ""
    doubles: set[str] = set()
    unsigned: Entry | None = None
    suspects: list[tuple[Read, bool]] = []
    unknown: Entry | None = None


class Verification:
    """One look at the audit: all checkpoints first, then all groups, each in their order.

    Attributes:
        entries, checkpoints: how many were read.
        forgotten: how many entries are not kept any more, since they are too old.
        faults: what is amiss, in the order in which it was found; `MOST_FAULTS` at most.

    Args:
        age: seconds for which entries are kept.
        now: seconds since 1970.
        full: whether the entries take as much room as they may: then the oldest may be missing.
        many: the same of the checkpoints.
        head, own: the chain and the newest checkpoint of the controller that asks.

    A full stream of checkpoints has forgotten the oldest, also where the entries that they were
    about are kept still.
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        age: float,
        now: float,
        full: bool = False,
        many: bool = False,
        head: Head | None = None,
        own: bytes = b"",
    ) -> None:
        self._verifier = verifier
        self._kept_since = now - age + CLOCKS_APART
        self._full = full
        self._many = many
        self._head = head
        self._own = digest(own) if own else ""
        self._link: str | None = None
        self._unvouched: Checkpoint | None = None
        self._said: dict[str, dict[int, Checkpoint]] = {}
        self._chains: dict[str, _Chain] = {}
        self.entries = self.checkpoints = self.forgotten = 0
        self.faults: list[Fault] = []

    @property
    def chains(self) -> int:
        """How many chains there are."""
        return len(self._chains)

    # Checkpoints

    def take_checkpoint(self, data: bytes) -> None:
        """Look at the next checkpoint."""
        self.checkpoints += 1
        mark = digest(data)
        if mark == self._own:
            self._own = ""
        try:
            body, known = self._open(data, CHECKPOINT)
            found = checkpoint_of(body)
        except Unreadable as error:
            self._fault(
                CHANGED, f"The checkpoint {self.checkpoints} was changed or put in: {error}"
            )
            self._link = mark
            return
        before, self._link = self._link, mark
        if before is None and found.previous and not self._many:
            self._checkpoint_fault(REMOVED, found, "of the first checkpoints some were removed")
        elif before is not None and found.previous != before:
            self._checkpoint_fault(REMOVED, found, "the one before was removed or changed")
        # One by a later controller has its hash, and so vouches for it.
        self._unvouched = None if known else self._unvouched or found
        self._said.setdefault(found.chain, {})[found.number] = found

    def _checkpoint_fault(self, kind: str, found: Checkpoint, why: str) -> None:
        error = f"At the checkpoint of {found.controller} after {found.number} entries: {why}."
        self._fault(kind, error, found.chain, found.controller, found.number)

    # Entries

    def take_group(self, data: bytes, *, new: bool = False) -> None:
        """Look at the next group.

        Args:
            new: whether it was stored after the checkpoints were read.
        """
        known, forged = False, False
        try:
            body, known = self._open(data, AUDITED)
        except Unreadable:
            forged = True
        try:
            read = entries_of(messages.envelope(data).body if forged else body)
        except Unreadable as error:
            self._fault(CHANGED, f"A message of the audit was changed or put in: {error}.")
            return
        if not read:
            return
        self.entries += len(read)
        first = read[0][0]
        said = self._said.get(first.chain, {})
        chain = self._chains.get(first.chain)
        if chain is None:
            chain = self._chains[first.chain] = _Chain(first.controller)
            if not said and not new and not (known and self._many):
                chain.unknown = first
        if not known:
            chain.suspects.append((read, forged))
            # What a checkpoint has the hash of was stored so.
            if not forged and any(
                each.number in said and said[each.number].hash == mark for each, mark in read
            ):
                self._clear(chain, None)
            return
        self._clear(chain, first)
        for each, mark in read:
            self._walk(chain, each, mark)
        chain.unsigned = None
        chain.doubles = {mark for _, mark in read}

    def _walk(self, chain: _Chain, each: Entry, mark: str) -> None:
        """Look whether an entry of a group that may be believed is the next one of its chain."""
        if each.number <= chain.number:
            if mark not in chain.doubles:
                self._entry_fault(PUT_IN, each)
            return
        if each.number > chain.number + 1:
            self._missing(chain, each.chain, each.number - 1, each.after)
        elif each.previous != chain.hash:
            before = chain.unsigned
            known = before is None or before.number != chain.number
            self._entry_fault(CHANGED, each if known or before is None else before)
        said = self._said.get(each.chain, {}).get(each.number)
        if said is not None and said.hash != mark:
            self._entry_fault(CHANGED, each)
        chain.number, chain.hash = each.number, mark

    def _missing(self, chain: _Chain, name: str, last: int, time: float | None) -> None:
        """Say that a chain has no entries up to `last`, unless these were too old."""
        first = chain.number + 1
        begins = not chain.number
        if begins and (self._full or (time is not None and time < self._kept_since)):
            self.forgotten += last
            return
        several = f"the entries {first} to {last} were" if last > first else f"entry {first} was"
        error = f"In the chain of {chain.controller} {several} removed."
        self._fault(REMOVED, error, name, chain.controller, first)

    def _clear(self, chain: _Chain, following: Entry | None) -> None:
        """Say what the groups are that no controller has signed, by what follows them."""
        suspects, chain.suspects = chain.suspects, []
        for read, forged in suspects:
            if (
                following is not None
                and following.number == chain.number + 1
                and following.previous == chain.hash
            ):
                self._entry_fault(PUT_IN, read[0][0])
            elif forged:
                self._blame(chain, read, following)
                chain.number, chain.hash = read[-1][0].number, read[-1][1]
                if following is not None and following.number == chain.number + 1:
                    chain.hash = following.previous  # that it is another one has been said
            else:
                for each, mark in read:
                    self._walk(chain, each, mark)
                chain.unsigned = read[-1][0]

    def _blame(self, chain: _Chain, read: Read, following: Entry | None) -> None:
        """Name the first entry of a forged group that isn't the one which was stored."""
        links = [each.previous for each, _ in read[1:]]
        links.append(following.previous if following is not None else "")
        for at, ((each, mark), link) in enumerate(zip(read, links, strict=True)):
            if each.number > chain.number + 1:
                self._missing(chain, each.chain, each.number - 1, each.after)
                return
            if chain.number and each.previous != chain.hash:
                # What follows has the hash of this one, unless this one is another, too.
                self._entry_fault(CHANGED, read[at - 1][0] if at and link in (mark, "") else each)
                return
            chain.number, chain.hash = each.number, mark
        if following is None or following.number <= chain.number + 1:
            self._entry_fault(CHANGED, read[-1][0])

    # The end

    def end(self) -> list[Fault]:
        """Return what is amiss, once everything was read."""
        for chain in self._chains.values():
            if chain.unknown is not None:
                self._entry_fault(PUT_IN, chain.unknown)
            self._put_in_behind(chain)
            self._clear(chain, None)
        for name, said in self._said.items():
            last = said[max(said)]
            chain = self._chains.get(name) or _Chain(last.controller)
            if chain.number < last.number:
                self._ends_early(chain, name, last.number, last.entered)
            elif chain.unsigned is not None and chain.unsigned.number > last.number:
                self._entry_fault(PUT_IN, chain.unsigned)
        head = self._head
        if head is not None and head.number:
            chain = self._chains.get(head.chain) or _Chain(head.controller)
            said = self._said.get(head.chain, {})
            if chain.number < head.number and max(said, default=0) < head.number:
                self._ends_early(chain, head.chain, head.number, head.time)
        if self._own and not self._many:
            self._fault(REMOVED, "The newest checkpoint of this controller was removed.")
        if self._unvouched is not None:
            found = self._unvouched
            self._checkpoint_fault(PUT_IN, found, "it is signed with a key that is not known")
        return self.faults

    def _put_in_behind(self, chain: _Chain) -> None:
        """Name what stands behind all that a controller vouches for, and that none has signed."""
        suspects, chain.suspects = chain.suspects, []
        for read, forged in suspects:
            first = read[0][0]
            if not forged and first.number > max(self._said.get(first.chain, {}), default=0):
                self._entry_fault(PUT_IN, first)
            else:
                chain.suspects.append((read, forged))

    def _ends_early(self, chain: _Chain, name: str, last: int, time: float | None) -> None:
        # The last ones grow old last: where one is too old, so are those before it.
        if self._full or (time is not None and time < self._kept_since):
            self.forgotten += last - chain.number
            return
        several = f"{chain.number + 1} to {last}" if last > chain.number + 1 else f"{last}"
        error = f"In the chain of {chain.controller} the last entries, {several}, were removed."
        self._fault(REMOVED, error, name, chain.controller, chain.number + 1)

    def _open(self, data: bytes, subject: str) -> tuple[bytes, bool]:
        """Return what a message holds, and whether the key that has signed it is known.

        Raises:
            Unreadable: the signature is of something else.
        """
        envelope = messages.envelope(data)
        if not self._verifier.knows(envelope.kid):
            return bytes(envelope.body), False
        return self._verifier.open(data, stored_on(subject)), True

    def _entry_fault(self, kind: str, each: Entry) -> None:
        error = f"In the chain of {each.controller} entry {each.number} was {kind}."
        self._fault(kind, error, each.chain, each.controller, each.number, each.id, each.time)

    def _fault(self, *what: object) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(*what))  # type: ignore[arg-type]
