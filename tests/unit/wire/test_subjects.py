"""The subjects of events: what there is one of, and what there may be many of."""

from towline.wire.event import COMPLETED, FAILED, STARTED, STEP, Event
from towline.wire.subjects import event_id, event_subject


def event(kind: str, moment: float = 1.0, step: str | None = None) -> Event:
    return Event("job", "machine", "web-01", kind, moment, step=step)


def test_a_task_has_one_start_and_one_end_however_it_ends() -> None:
    assert event_subject(event(STARTED, 1.0)) == event_subject(event(STARTED, 2.0))
    assert event_subject(event(COMPLETED)) == event_subject(event(FAILED))
    assert event_subject(event(STARTED)) != event_subject(event(FAILED))


def test_a_task_may_have_many_steps_and_a_second_delivery_is_none() -> None:
    first, second = event(STEP, 1.0, "attempt"), event(STEP, 2.0, "attempt")
    assert event_subject(first) != event_subject(second)
    assert event_id(first) != event_id(second)
    assert event_id(first) == event_id(event(STEP, 1.0, "attempt"))


def test_what_a_step_is_called_is_no_part_of_its_subject() -> None:
    assert event_subject(event(STEP, 1.5, "any name > at all")) == (
        "event.machine.job.step-1500000"
    )
