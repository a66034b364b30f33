"""A flood of refused requests is a few entries, with a count."""

from tests.testing.audit import request
from tests.testing.signing import SIGNER
from towline.controller.audit.entry import Request
from towline.controller.audit.refusals import Refusals
from towline.controller.audit.trail import Keeping, Trail


def test_the_first_is_recorded_at_once_and_the_rest_together() -> None:
    recorded: list[Request] = []
    refusals = Refusals(recorded.append, together=60.0)
    for number in range(1000):
        refusals.add(request(status=401, path=f"/job/{number}"), "192.0.2.1", 0.0)
    assert [(each.count, each.path) for each in recorded] == [(1, "/job/0")]
    assert refusals.next == 60.0
    refusals.look(59.0)
    assert len(recorded) == 1
    refusals.look(60.0)
    assert [(each.count, each.path) for each in recorded[1:]] == [(999, "/job/999")]
    # While it goes on it is one entry a minute, and then none.
    refusals.add(request(status=401), "192.0.2.1", 61.0)
    refusals.look(120.0)
    assert [each.count for each in recorded] == [1, 999, 1]
    refusals.look(180.0)
    assert refusals.next is None
    refusals.add(request(status=401), "192.0.2.1", 181.0)
    assert len(recorded) == 4


def test_requests_of_different_kinds_are_told_apart() -> None:
    recorded: list[Request] = []
    refusals = Refusals(recorded.append)
    different: list[dict[str, object]] = [
        {"caller": "ann"},
        {"caller": "ben"},
        {"token": "t1"},
        {"operation": "job.cancel"},
        {"status": 403},
        {"method": "DELETE"},
    ]
    for fields in different:
        refusals.add(request(**{"status": 401, **fields}), "192.0.2.1", 0.0)
    refusals.add(request(status=401, caller="ann"), "192.0.2.2", 0.0)
    assert len(recorded) == len(different) + 1


def test_who_comes_from_thousands_of_addresses_fills_no_journal_and_is_counted() -> None:
    recorded: list[Request] = []
    refusals = Refusals(recorded.append, most_nameless=10)
    for number in range(5000):
        address = f"192.0.{number // 256}.{number % 256}"
        refusals.add(request(status=401, address=address), address, 0.0)
    refusals.close()
    assert len(recorded) == 12
    assert sum(each.count for each in recorded) == 5000
    assert [each.address for each in recorded[-2:]] == ["", ""]


def test_who_has_no_token_hides_no_caller() -> None:
    recorded: list[Request] = []
    refusals = Refusals(recorded.append, together=60.0, most=5, most_nameless=10)
    for minute in range(3):
        now = 100.0 * minute
        for number in range(100):
            refusals.add(request(status=401), f"192.0.2.{number}", now)
        refusals.add(request(status=403, caller="ann", path="/a"), "192.0.2.7", now)
        assert (recorded[-1].caller, recorded[-1].path) == ("ann", "/a")
        refusals.look(now + 60.0)  # the others' count
        refusals.look(now + 200.0)
        assert refusals.next is None
        assert [each.count for each in recorded] == [*[1] * 12, 89]
        del recorded[:]
    for number in range(20):
        refusals.add(request(status=403, caller=f"caller {number}"), "192.0.2.7", 600.0)
    assert [each.caller for each in recorded[-2:]] == ["caller 4", ""]


def test_what_took_no_token_is_few_entries_though_it_did_not_fail() -> None:
    trail = Trail(None, SIGNER, "ctl-1", Keeping())  # type: ignore[arg-type]
    for _ in range(100):
        trail.add(request(operation="join.join"), "192.0.2.1")
    assert trail.waiting == 1
    for _ in range(100):
        trail.add(request(operation="job.cancel", caller="ann"), "192.0.2.1")
    assert trail.waiting == 101
