"""What an attempt logs in with, as controllers answer at the moments that matter."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from tests.testing.tasks import AWAY, Answers, a_task
from towline.agent.docker.errors import EngineRefused, Hopeless, Passing
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt, Login
from towline.agent.docker.pull.credentials import Credentials
from towline.agent.docker.pull.docker_config import DockerConfiguration
from towline.agent.docker.pull.faults import classify
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.releases import Releases
from towline.errors import TaskFailed
from towline.runtime.keys import NodeKey, seal
from towline.wire.credential import Credential, Issued, Supply
from towline.wire.job import Job
from towline.wire.reference import Reference

REGISTRY = "registry.internal"
IMAGE = Reference.parse(f"{REGISTRY}/app:1.0")
PULLER = Credential("puller", "s3cret")
KEY, FORMER = NodeKey(os.urandom(32)), NodeKey(os.urandom(32))
DENIED = "unauthorized: authentication required"


def issued(key: NodeKey = KEY, *, own: bool = False) -> Supply:
    return Supply(seal(msgspec.json.encode(Issued("a", REGISTRY, PULLER, own)), key.public))


class Controllers(Answers):
    """Controllers that give these supplies, each for one question."""

    def __init__(self, *answers: Supply | Exception | None) -> None:
        super().__init__(
            *(answer if isinstance(answer, Exception) else {"supply": answer} for answer in answers)
        )


def a_job(job_id: str) -> Job:
    return Job(job_id, "docker.pull.execute", {"image": str(IMAGE)}, "_all", "tests", 0.0, 0.0)


def attempt(*jobs: str, login: str | None = None, asks: bool = True) -> Attempt:
    """Return an attempt for which controllers are asked, unless it is one of tasks just released.

    `asks` is True for a later attempt than the first.
    """
    tasks = [a_task(a_job(job)) for job in jobs]
    return Attempt(Order(IMAGE, login=login), 1, lambda _: None, lambda: tasks, asks=asks)


def step(controllers: Controllers, configuration: Path | None = None) -> Credentials:
    own = None if configuration is None else DockerConfiguration(configuration)
    return Credentials(
        *(Releases(controllers, time.time), KEY, own),
        patience=0.05,
        settle_within=0.05,
        ask_every=0.0,
    )


@pytest.mark.parametrize("own", [False, True])
async def test_what_came_with_the_task_logs_the_first_attempt_in_and_nobody_is_asked(
    own: bool,
) -> None:
    controllers = Controllers(AWAY)
    first, other = a_task(a_job("a"), supply=issued(own=own)), a_task(a_job("b"), fresh=False)
    order = Order(IMAGE, login="a" if own else None)
    trying = Attempt(order, 1, lambda _: None, lambda: [other, first])
    await step(controllers).prepare(trying)
    assert trying.auth == PULLER.for_engine(REGISTRY)
    assert trying.login is not None
    assert trying.login.source == ("of the request" if own else "kept with Towline")
    assert controllers.asked == []


async def test_where_nothing_came_with_the_task_nothing_is_kept_and_nobody_is_asked() -> None:
    controllers, trying = Controllers(AWAY), attempt("a", asks=False)
    asking = step(controllers)
    await asking.prepare(trying)
    assert (trying.auth, controllers.asked) == (None, [])
    explained = asking.explain(trying, EngineRefused(500, DENIED))
    assert explained.error == f"{DENIED} (no credential is kept for {REGISTRY})"


async def test_a_task_from_the_ledger_has_its_credential_asked_for() -> None:
    controllers = Controllers(issued())
    task = a_task(a_job("a"), fresh=False)
    trying = Attempt(Order(IMAGE), 1, lambda _: None, lambda: [task])
    await step(controllers).prepare(trying)
    assert (trying.auth is not None, controllers.asked) == (True, ["a"])


async def test_what_came_with_a_task_long_ago_is_asked_for_anew() -> None:
    controllers = Controllers(AWAY)
    # It has waited behind another pull of the same image.
    task = a_task(a_job("a"), supply=issued(), time=time.time() - 60)
    trying = Attempt(Order(IMAGE), 1, lambda _: None, lambda: [task])
    await step(controllers).prepare(trying)
    assert (trying.auth, controllers.asked) == (None, ["a"])


async def test_a_pull_is_not_logged_in_with_what_another_job_s_request_brought() -> None:
    controllers = Controllers(issued(own=True))
    tasks = [a_task(a_job("a"), fresh=False), a_task(a_job("b"))]
    trying = Attempt(Order(IMAGE, login="a"), 1, lambda _: None, lambda: tasks)
    await step(controllers).prepare(trying)
    assert (trying.auth is not None, controllers.asked) == (True, ["a"])


@pytest.mark.parametrize(
    "sent",
    [Supply(error="another key", again=True), issued(FORMER)],
    ids=["of a controller that has another key", "to the key of an earlier start"],
)
async def test_what_came_with_the_task_and_is_of_no_use_is_asked_for_again(sent: Supply) -> None:
    controllers = Controllers(issued())
    task = a_task(a_job("a"), supply=sent)
    trying = Attempt(Order(IMAGE), 1, lambda _: None, lambda: [task])
    await step(controllers).prepare(trying)
    assert (trying.auth is not None, controllers.asked) == (True, ["a"])


@pytest.mark.parametrize("own", [False, True])
async def test_what_controllers_give_logs_the_attempt_in(own: bool) -> None:
    controllers, trying = Controllers(issued(own=own)), attempt("a", login="a" if own else None)
    await step(controllers).prepare(trying)
    assert trying.auth == PULLER.for_engine(REGISTRY)
    assert trying.login is not None
    assert trying.login.source == ("of the request" if own else "kept with Towline")


async def test_what_was_removed_while_the_attempt_waited_is_not_used_any_more() -> None:
    controllers, trying = Controllers(issued(), None), attempt("a")
    credentials = step(controllers)
    logins = []
    for _ in range(2):
        await credentials.prepare(trying)
        logins.append((trying.login, trying.auth))
        trying.outdate()
    assert logins == [
        (Login(REGISTRY, PULLER, "kept with Towline"), PULLER.for_engine(REGISTRY)),
        (Login(REGISTRY), None),
    ]


@pytest.mark.parametrize(
    "first",
    [
        Supply(error="another key", again=True),
        issued(FORMER),
        Supply(seal(b"no credential", KEY.public)),
    ],
    ids=[
        "a controller that has another key",
        "an answer to the key of an earlier start",
        "what can't be read once it is unsealed",
    ],
)
async def test_what_the_next_answer_may_settle_is_asked_again(first: Supply) -> None:
    controllers, trying = Controllers(first, issued()), attempt("a")
    await step(controllers).prepare(trying)
    assert trying.auth is not None
    assert controllers.asked == ["a", "a"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Supply(error="the key of credentials is another", again=True), "is another"),
        (Supply(seal(b"no credential", KEY.public)), "JSON is malformed"),
    ],
)
async def test_a_credential_that_no_controller_gives_is_missed_only_where_it_has_to_be_there(
    answer: Supply, reason: str
) -> None:
    with pytest.raises(Passing, match=reason):
        await step(Controllers(answer)).prepare(attempt("a", login="a"))
    asking, trying = step(Controllers(answer)), attempt("a")
    await asking.prepare(trying)
    assert trying.auth is None
    assert reason in asking.explain(trying, EngineRefused(500, DENIED)).error
    # It was denied without: from now on it has to be there.
    with pytest.raises(Passing, match=reason):
        await asking.prepare(attempt("a"))


async def test_a_refusal_counts_once_every_job_that_shares_the_pull_has_had_it() -> None:
    refusal = TaskFailed("job a has ended here")
    controllers, trying = Controllers(refusal, issued()), attempt("a", "b")
    await step(controllers).prepare(trying)
    assert (trying.auth is not None, controllers.asked) == (True, ["a", "b"])
    asking, trying = step(Controllers(refusal)), attempt("a", "b")
    await asking.prepare(trying)
    assert "has ended here" in asking.explain(trying, EngineRefused(500, DENIED)).error
    with pytest.raises(Hopeless, match="has ended here"):
        await asking.prepare(attempt("a", "b"))


async def test_a_pull_asks_for_its_own_job_alone_where_that_brought_a_credential() -> None:
    controllers = Controllers(issued(own=True))
    await step(controllers).prepare(attempt("b", "a", login="a"))
    assert controllers.asked == ["a"]


async def test_without_controllers_a_pull_goes_on_and_its_refusal_may_pass() -> None:
    controllers, trying = Controllers(AWAY), attempt("a")
    asking = step(controllers)
    await asking.prepare(trying)
    assert (trying.auth, len(controllers.asked)) == (None, 1)
    explained = asking.explain(trying, EngineRefused(500, DENIED))
    assert classify(explained, IMAGE).kind is Kind.PASSING
    assert (
        explained.error
        == f"{DENIED} (no controller could be asked for credentials: nobody answers)"
    )
    # From now on it wants to know.
    with pytest.raises(Passing, match="nobody answers"):
        await asking.prepare(attempt("a"))
    assert len(controllers.asked) > 2
    controllers.tasks = [AWAY, {"supply": None}]
    again = attempt("a")
    await asking.prepare(again)
    final = asking.explain(again, EngineRefused(500, DENIED))
    assert classify(final, IMAGE).kind is Kind.REFUSED
    assert final.error == f"{DENIED} (no credential is kept for {REGISTRY})"


async def test_a_job_with_a_credential_of_its_own_goes_nowhere_without_controllers() -> None:
    with pytest.raises(Passing, match="nobody answers"):
        await step(Controllers(AWAY)).prepare(attempt("a", login="a"))


async def test_a_refused_credential_is_named_by_registry_and_user_and_is_final() -> None:
    asking, trying = step(Controllers(issued())), attempt("a")
    await asking.prepare(trying)
    explained = asking.explain(trying, EngineRefused(500, f"{DENIED} for puller:s3cret"))
    assert classify(explained, IMAGE).kind is Kind.REFUSED
    assert explained.error == (
        f"{REGISTRY} refused the user 'puller' (kept with Towline): {DENIED} for puller:***"
    )
    other = asking.explain(trying, EngineRefused(500, "read: connection reset, s3cret"))
    assert (other.error, type(other)) == ("read: connection reset, ***", EngineRefused)
    rest = EngineRefused(500, "toomanyrequests: unauthorized pulls are limited")
    assert classify(asking.explain(trying, rest), IMAGE).kind is Kind.BUSY


@pytest.mark.parametrize(
    "words",
    [
        "failed to register layer: mkdir /var/lib/docker/overlay2/1: permission denied",
        "failed to extract layer: access denied",
        "error parsing HTTP 403 response body: invalid character '<' looking for a value",
        'Get "https://registry.internal/v2/": Forbidden',
        "cannot connect to the Docker Engine at unix:///d.sock: [Permission denied]",
    ],
)
@pytest.mark.parametrize("answer", [issued(), None], ids=["with a user", "without"])
async def test_what_no_registry_said_is_not_told_as_a_refusal_of_one(
    words: str, answer: Supply | None
) -> None:
    asking, trying = step(Controllers(answer)), attempt("a")
    await asking.prepare(trying)
    error = EngineRefused(500, words)
    assert asking.explain(trying, error) is error
    assert error.error == words


async def test_a_node_whose_configuration_can_not_be_used_says_so_when_it_is_denied(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text("{")
    asking, trying = step(Controllers(None), tmp_path / "config.json"), attempt("a")
    await asking.prepare(trying)
    explained = asking.explain(trying, EngineRefused(500, DENIED))
    assert "config.json" in explained.error
    assert classify(explained, IMAGE).kind is Kind.PASSING


async def test_a_pull_outside_a_job_asks_no_controller() -> None:
    controllers, trying = Controllers(AWAY), attempt()
    await step(controllers).prepare(trying)
    assert (trying.auth, controllers.asked) == (None, [])
