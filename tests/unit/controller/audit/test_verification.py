"""Whatever whoever has the broker does to the audit: it is named."""

import time

import msgspec
import pytest

from tests.testing.audit import DAY, STRANGER, VERIFIER, Store, altered, entry_of, resigned
from towline.controller.audit.entry import AUDITED, CHECKPOINT, entries_of, group_of
from towline.controller.audit.verification import CHANGED, PUT_IN, REMOVED, Fault
from towline.trust.signing import Signer, Verifier, stored_on
from towline.wire import messages
from towline.wire.job import new_id

GROUPS = 6


@pytest.fixture
def store() -> Store:
    """The entries of two controllers, in turn: groups of one and of three."""
    made = Store()
    for number in range(GROUPS):
        made.add("ab", 1 if number % 2 else 3)
        made.add("cd", 1)
    made.check("ab")
    made.check("cd")
    return made


def named(faults: list[Fault]) -> list[tuple[str, str, int]]:
    return [(each.kind, each.controller, each.number) for each in faults]


def test_what_was_stored_is_intact(store: Store) -> None:
    assert store.faults() == []
    assert store.faults(head=store.heads["ab"], own=store.checkpoints[-2]) == []


@pytest.mark.parametrize("at", range(2 * GROUPS))
def test_an_entry_that_was_changed_is_named(store: Store, at: int) -> None:
    for within in range(len(entries_of(messages.envelope(store.groups[at]).body))):
        whole = list(store.groups)
        entry = entry_of(whole[at], within)
        store.groups[at] = altered(whole[at], within, caller="somebody else")
        assert named(store.faults()) == [(CHANGED, entry.controller, entry.number)]
        store.groups[at] = altered(whole[at], within, previous="0" * 64)
        (first, *_) = named(store.faults())
        assert first == (CHANGED, entry.controller, entry.number)
        store.groups = whole


@pytest.mark.parametrize("at", range(2 * GROUPS))
def test_a_message_that_was_removed_is_named_by_its_first_entry(store: Store, at: int) -> None:
    entry = entry_of(store.groups.pop(at))
    assert named(store.faults()) == [(REMOVED, entry.controller, entry.number)]


@pytest.mark.parametrize("at", range(0, 2 * GROUPS, 4))
def test_an_entry_that_was_taken_out_of_its_message_is_named(store: Store, at: int) -> None:
    entries = [each for each, _ in entries_of(messages.envelope(store.groups[at]).body)]
    assert len(entries) == 3
    whole = list(store.groups)
    for entry in entries:
        store.groups[at] = resigned([each for each in entries if each is not entry], whole[at])
        assert named(store.faults()) == [(REMOVED, "ab", entry.number)]


@pytest.mark.parametrize("at", range(2 * GROUPS + 1))
@pytest.mark.parametrize("key", ["a key of his own", "the signature of another"])
def test_an_entry_that_was_put_in_is_named(store: Store, at: int, key: str) -> None:
    before = [entry_of(each, -1) for each in store.groups[:at] if entry_of(each).controller == "ab"]
    marks = [
        mark
        for each in store.groups[:at]
        for entry, mark in entries_of(messages.envelope(each).body)
        if entry.controller == "ab"
    ]
    number = before[-1].number + 1 if before else 1
    forged = msgspec.structs.replace(
        entry_of(store.groups[0]),
        id=new_id(),
        number=number,
        previous=marks[-1] if marks else "",
        caller="nobody did this",
    )
    store.groups.insert(
        at, resigned([forged], store.groups[0] if key == "the signature of another" else None)
    )
    (first, *_) = store.faults()
    assert (first.controller, first.number) == ("ab", number)
    assert first.id == forged.id
    assert first.kind == PUT_IN or at >= 2 * GROUPS - 1


def test_one_of_a_chain_that_no_controller_has_is_named(store: Store) -> None:
    forged = msgspec.structs.replace(
        entry_of(store.groups[0]), id=new_id(), chain="efefefef", controller="ef"
    )
    store.groups.insert(3, resigned([forged]))
    assert (PUT_IN, "ef", 1) in named(store.faults())


def test_a_message_that_was_stored_twice_is_no_fault_and_one_moved_is(store: Store) -> None:
    store.groups.insert(1, store.groups[0])
    assert store.faults() == []
    store.groups.append(store.groups[0])
    assert named(store.faults()) == [(PUT_IN, "ab", number) for number in (1, 2, 3)]


def test_a_chain_that_was_removed_whole_is_named(store: Store) -> None:
    store.groups = [each for each in store.groups if entry_of(each).controller == "ab"]
    assert named(store.faults()) == [(REMOVED, "cd", 1)]
    store.checkpoints = [each for each in store.checkpoints if b'"chain":"cdcdcdcd"' not in each]
    store.check("ab")  # by a controller that doesn't know
    assert REMOVED in {each.kind for each in store.faults()}


@pytest.mark.parametrize("at", range(4))
def test_a_checkpoint_that_was_removed_or_changed_is_noticed(store: Store, at: int) -> None:
    newest, removed = store.checkpoints[-1], store.checkpoints.pop(at)
    assert any("checkpoint" in each.error for each in store.faults(own=newest))
    forged = messages.envelope(removed)
    body = bytes(forged.body).replace(b'"number":', b'"number":1')
    changed = msgspec.structs.replace(forged, body=msgspec.Raw(body))
    store.checkpoints.insert(at, msgspec.json.encode(changed))
    assert any("checkpoint" in each.error for each in store.faults())


def test_a_checkpoint_by_a_strange_key_is_noticed(store: Store) -> None:
    body = messages.envelope(store.checkpoints[-1]).body
    store.checkpoints[-1] = STRANGER.seal(_checkpoint(body), stored_on(CHECKPOINT))
    assert [each.kind for each in store.faults()] == [PUT_IN]


def _checkpoint(body: msgspec.Raw) -> msgspec.Struct:
    from towline.controller.audit.entry import checkpoint_of

    return checkpoint_of(body)


def test_the_newest_are_missed_by_the_controller_that_has_stored_them(store: Store) -> None:
    store.add("ab", 2)
    assert store.faults(head=store.heads["ab"]) == []
    store.groups.pop()
    assert store.faults() == []
    number = store.heads["ab"].number - 1
    assert named(store.faults(head=store.heads["ab"])) == [(REMOVED, "ab", number)]


def test_what_is_too_old_to_be_kept_is_not_missed() -> None:
    store = Store()
    store.add("ab", 2, moment=time.time() - 2 * DAY)
    store.check("ab")
    store.add("ab", 2)
    old = store.groups.pop(0)
    assert store.faults() == []
    assert store.faults(age=3 * DAY) != []
    store.groups = [old]
    assert named(store.faults(head=store.heads["ab"])) == [(REMOVED, "ab", 3)]


def test_for_want_of_room_the_oldest_may_be_missing_and_none_between(store: Store) -> None:
    del store.groups[:2], store.checkpoints[:1]
    assert store.faults(full=True, many=True) == []
    assert len(store.faults()) == 3
    entry = entry_of(store.groups.pop(3))
    assert named(store.faults(full=True, many=True)) == [(REMOVED, "cd", entry.number)]


def test_for_want_of_room_checkpoints_may_be_missing_of_what_is_kept(store: Store) -> None:
    own = store.checkpoints[-2]
    store.check("cd")
    del store.checkpoints[:-1]
    head = store.heads["ab"]
    assert store.faults(many=True, head=head, own=own) == []
    assert {each.kind for each in store.faults(head=head, own=own)} == {REMOVED, PUT_IN}
    forged = msgspec.structs.replace(entry_of(store.groups[0]), id=new_id())
    store.groups = [resigned([forged]), *store.groups[1:]]
    assert (PUT_IN, "ab", 1) in named(store.faults(many=True))


def test_after_a_change_of_the_key_what_the_old_one_has_signed_still_counts() -> None:
    old, new = Signer([b"o" * 32]), Signer([b"n" * 32])
    store = Store(old)
    for _ in range(3):
        store.add("ab", 2)
        store.check("ab")
    store.signer = new
    store.add("cd", 2)
    store.check("cd")
    known = Verifier(new.public)
    assert store.faults(known) == []
    # What nobody vouches for any more counts for nothing.
    store.signer = old
    store.add("ab", 1)
    assert named(store.faults(known)) == [(PUT_IN, "ab", 7)]
    # Where the old key was retired it verifies what it has signed, and nobody has to vouch for it.
    assert store.faults(Signer([b"n" * 32], old.public).verifier()) == []
    store.groups.pop()
    store.groups[1] = altered(store.groups[1], 0, caller="somebody else")
    assert named(store.faults(known))[0][:2] == (CHANGED, "ab")


def test_what_can_not_be_read_is_a_fault_and_no_end(store: Store) -> None:
    whole = list(store.groups)
    for data in (b"", b"{}", b"\xff", b"[" * 100_000):
        store.groups = [*whole[:3], data, *whole[3:]]
        assert [each.kind for each in store.faults()] == [CHANGED]
    store.groups = [*whole[:3], STRANGER.seal(group_of([b'{"x":1}']), stored_on(AUDITED))]
    assert store.faults()[0].kind == CHANGED
    assert VERIFIER.knows(messages.envelope(whole[0]).kid)
