"""What a node believes of what it is sent, and what time it takes from that."""

import time
from collections.abc import Callable

import msgspec
import pytest

from tests.testing.doubles import ConnectionDouble, believed
from tests.testing.ledger import a_task, an_end
from tests.testing.messages import MACHINE, RELEASE, START
from tests.testing.signing import SIGNER, STRANGER, sealed
from towline.agent.asking import AHEAD, FRESH_FOR, Controllers
from towline.broker.clock import Clock, running
from towline.broker.listener import Received
from towline.errors import BrokerUnreachable
from towline.trust.signing import answer_to
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.release import BeatNow, Cancellation, Order, Refresh
from towline.wire.report import STORED, Receipt
from towline.wire.subjects import ALL_NODES, report_subject, task_subject

OWN = task_subject(MACHINE, START)
THERE = 2_000_000_000.0
"""What the controllers' clock shows: another time than this machine's."""


@pytest.fixture
def connection() -> ConnectionDouble:
    return ConnectionDouble()


@pytest.fixture
def controllers(connection: ConnectionDouble) -> Controllers:
    """The controllers, whose time the node knows."""
    clock = Clock()
    clock.observe(THERE, running())
    return believed(connection, MACHINE, clock)


def receive(controllers: Controllers, order: Order, subject: str = OWN) -> Order:
    return controllers.order(Received(subject, sealed(order, subject), ""))


ORDERS: list[Callable[[float], Order]] = [
    lambda sent: msgspec.structs.replace(RELEASE, time=sent),
    lambda sent: Cancellation(RELEASE.id, MACHINE, "ann", sent, THERE - 1e6, THERE - 1e5),
    lambda sent: Refresh(RELEASE.id, MACHINE, sent),
    lambda sent: BeatNow(sent, 5.0),
]


@pytest.mark.parametrize("make", ORDERS, ids=["release", "cancellation", "refresh", "beat"])
@pytest.mark.parametrize(
    ("age", "taken"),
    [
        (0.0, True),
        (FRESH_FOR - 5, True),
        (5 - AHEAD, True),
        (FRESH_FOR + 5, False),
        (-5 - AHEAD, False),
        (1e6, False),
        (-1e6, False),
    ],
)
def test_an_order_counts_for_a_minute_by_the_controllers_time(
    controllers: Controllers, make: Callable[[float], Order], age: float, taken: bool
) -> None:
    order = make(THERE - age)
    subject = ALL_NODES if isinstance(order, BeatNow) else OWN
    if taken:
        assert receive(controllers, order, subject) == order
        assert not controllers.clock_doubted
    else:
        with pytest.raises(Unreadable, match="it was sent"):
            receive(controllers, order, subject)
        # So it asks what time it is.
        assert controllers.clock_doubted
    assert controllers.clock.now() == pytest.approx(max(THERE, THERE - age * taken), abs=2)


def test_a_job_is_not_made_in_the_future(controllers: Controllers) -> None:
    assert RELEASE.job is not None
    job = msgspec.structs.replace(RELEASE.job, created=THERE + AHEAD + 5)
    with pytest.raises(Unreadable, match="in the future"):
        receive(controllers, msgspec.structs.replace(RELEASE, time=THERE, job=job))


def test_what_is_not_signed_sets_no_clock(controllers: Controllers) -> None:
    later = BeatNow(THERE + 30, 5.0)
    for data in (
        msgspec.json.encode(later),
        sealed(later, ALL_NODES, by=STRANGER),
        sealed(later, OWN),
    ):
        with pytest.raises(Unreadable):
            controllers.order(Received(ALL_NODES, data, ""))
    assert controllers.clock.now() == pytest.approx(THERE, abs=2)
    assert not controllers.clock_doubted
    receive(controllers, later, ALL_NODES)
    assert controllers.clock.now() == pytest.approx(THERE + 30, abs=2)


@pytest.mark.parametrize(
    "forge",
    [
        lambda receipt, purpose: msgspec.json.encode(receipt),
        lambda receipt, purpose: STRANGER.seal(receipt, purpose),
        lambda receipt, purpose: SIGNER.seal(receipt, purpose + b"1"),
        lambda receipt, purpose: SIGNER.seal(receipt, answer_to("report.b", b"", "_INBOX.1")),
    ],
    ids=["unsigned", "a stranger", "another question", "another node"],
)
async def test_an_answer_that_is_not_believed_is_none_and_sets_no_clock(
    controllers: Controllers,
    connection: ConnectionDouble,
    forge: Callable[[Receipt, bytes], bytes],
) -> None:
    forged = Receipt(STORED, THERE + 1e6, leave=True)
    connection.junk = lambda purpose: forge(forged, purpose)
    body = msgspec.json.encode(an_end(a_task()))
    with pytest.raises(BrokerUnreachable, match="is not believed"):
        await controllers.ask(report_subject("a"), body, 1.0, messages.receipt)
    assert controllers.refused == 1
    assert controllers.refusal
    assert controllers.clock.now() == pytest.approx(THERE, abs=2)


async def test_an_answer_says_what_time_it_is(
    controllers: Controllers, connection: ConnectionDouble
) -> None:
    controllers.clock_doubted = True
    now = time.time()
    connection.controllers.receipt = lambda _: Receipt(STORED, now)
    body = msgspec.json.encode(an_end(a_task()))
    await controllers.ask(report_subject("a"), body, 1.0, messages.receipt)
    assert controllers.clock.now() == pytest.approx(now, abs=2)
    assert not controllers.clock_doubted


def test_why_a_message_is_refused_is_short(controllers: Controllers) -> None:
    controllers.refuse(Unreadable("a" * 10_000))
    assert len(controllers.refusal) == 500
