"""Jobs as they are written and read, and their ids."""

import time
import uuid
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.jobs import a_job, an_event
from towline.wire.event import STARTED
from towline.wire.job import Job, first_id, new_id, own_id, time_of
from towline.wire.rollout import Waves

JOB = a_job()


def test_a_job_and_its_events_leave_out_what_is_not_known() -> None:
    assert b"null" not in msgspec.json.encode(JOB.order)
    assert b"null" not in msgspec.json.encode(an_event(JOB, STARTED))
    assert msgspec.json.decode(msgspec.json.encode(JOB), type=Job) == JOB


def test_a_job_from_a_newer_version_is_read_without_what_is_new() -> None:
    newer = {**msgspec.to_builtins(JOB), "priority": 7}
    assert msgspec.json.decode(msgspec.json.encode(newer), type=Job) == JOB


def test_an_id_is_a_uuid_of_version_7_that_says_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    text = new_id()
    after = time.time_ns() // 1_000_000
    made = uuid.UUID(text)
    assert str(made) == text
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


@given(st.integers(1, 2**42))
def test_the_first_id_of_a_moment_divides_the_ids_before_from_those_after(moment: int) -> None:
    for made, before in ((moment - 1, True), (moment, False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda made=made: made * 1_000_000)
            assert (new_id() < first_id((moment + 0.5) / 1000)) == before


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=20, unique=True))
def test_ids_sort_by_the_millisecond_they_were_made_in(moments: list[int]) -> None:
    moments.sort()
    ids = []
    for moment in moments:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda moment=moment: moment * 1_000_000)
            ids.append(new_id())
    assert ids == sorted(ids)


@given(st.uuids(), st.sampled_from([str, lambda each: str(each).upper()]))
def test_a_key_is_a_job_s_id_if_it_is_a_uuid_of_version_7(
    drawn: uuid.UUID, write: Callable[[uuid.UUID], str]
) -> None:
    seven = uuid.UUID(int=drawn.int & ~(0xF << 76) | 0x7 << 76)
    made = seven.version == 7  # None for another variant
    assert own_id(write(seven)) == (str(seven) if made else None)
    other = uuid.UUID(int=drawn.int & ~(0xF << 76) | 0x4 << 76)
    assert own_id(write(other)) is None
    for form in (f"{{{seven}}}", seven.urn, seven.hex, f" {seven}", f"{seven}\n", f"{seven}0"):
        assert own_id(form) is None


@given(st.floats(0, 4e9))
def test_an_id_says_when_it_was_made(moment: float) -> None:
    assert abs(time_of(first_id(moment)) - moment) < 0.002


def test_no_two_ids_are_the_same_though_made_in_one_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({new_id() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("effect", "target", "waves", "leave", "answered"),
    [
        ("read", "_all", None, False, True),
        ("read", "_any", None, False, True),
        ("read", "_all", Waves(canary="1"), True, False),
        ("once", "_any", None, True, False),
        ("converge", "_any", None, True, False),
        ("converge", "_all", None, False, False),
        ("once", "_all", Waves(max_parallel="1"), True, False),
    ],
)
def test_what_a_job_needs_follows_from_its_effect_its_target_and_its_waves(
    effect: str,
    target: str,
    waves: Waves | None,
    leave: bool,
    answered: bool,
) -> None:
    job = a_job(effect=effect, target=target, waves=waves)
    assert (job.needs_leave, job.answered) == (leave, answered)


def test_a_node_is_sent_all_but_the_plan() -> None:
    assert JOB.plan
    assert JOB.order == msgspec.structs.replace(JOB, plan=[])
