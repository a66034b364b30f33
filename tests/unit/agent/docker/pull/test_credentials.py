"""What an attempt logs in with, as controllers answer at the moments that matter."""

import os
from pathlib import Path

import msgspec
import pytest
from nats.aio.msg import Msg

from towline.agent.docker.errors import EngineRefused, Hopeless, Passing
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.credentials import Credentials
from towline.agent.docker.pull.docker_config import DockerConfiguration
from towline.agent.docker.pull.faults import classify
from towline.agent.docker.pull.order import Order
from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.errors import BrokerUnreachable
from towline.runtime.keys import NodeKey, seal
from towline.wire.credential import Answer, Credential, Issued, Question
from towline.wire.job import Job
from towline.wire.reference import Reference

REGISTRY = "registry.internal"
IMAGE = Reference.parse(f"{REGISTRY}/app:1.0")
PULLER = Credential("puller", "s3cret")
KEY, FORMER = NodeKey(os.urandom(32)), NodeKey(os.urandom(32))
DENIED = "unauthorized: authentication required"


class Controllers(Connection):
    """What answers questions: each with the next of `answers`, the last one again and again.

    None stands for nobody who answers, bytes for themselves.
    """

    def __init__(self, *answers: Answer | bytes | None) -> None:
        super().__init__(Settings(["nats://127.0.0.1:1"]), "tests")
        self.answers = list(answers)
        self.asked: list[str] = []

    @property
    def connected(self) -> bool:
        return True

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Msg:
        assert subject == "credentials.machine"
        self.asked.append(msgspec.json.decode(payload, type=Question).job)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise BrokerUnreachable("The broker is out of reach.", "nobody answers")
        data = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        return Msg(_client=None, data=data)  # type: ignore[arg-type]


def issued(key: NodeKey = KEY, *, own: bool = False) -> Answer:
    return Answer(seal(msgspec.json.encode(Issued("a", REGISTRY, PULLER, own)), key.public))


def a_job(job_id: str) -> Job:
    return Job(job_id, "docker.pull", {"image": str(IMAGE)}, "_all", "tests", 0.0, 0.0)


def attempt(*jobs: str, login: str | None = None) -> Attempt:
    order = Order(IMAGE, login=login)
    return Attempt(order, 1, lambda _: None, lambda: [a_job(job) for job in jobs])


def step(controllers: Controllers, configuration: Path | None = None) -> Credentials:
    own = None if configuration is None else DockerConfiguration(configuration)
    return Credentials(
        *(controllers, "machine", KEY, own), patience=0.05, settle_within=0.05, ask_every=0.0
    )


@pytest.mark.parametrize("own", [False, True])
async def test_what_controllers_give_logs_the_attempt_in(own: bool) -> None:
    controllers, trying = Controllers(issued(own=own)), attempt("a", login="a" if own else None)
    await step(controllers).prepare(trying)
    assert trying.auth == PULLER.for_engine(REGISTRY)
    assert trying.login is not None
    assert trying.login.source == ("of the request" if own else "kept with Towline")


async def test_what_was_removed_while_the_attempt_waited_is_not_used_any_more() -> None:
    controllers, trying = Controllers(issued(), Answer()), attempt("a")
    credentials = step(controllers)
    await credentials.prepare(trying)
    await credentials.prepare(trying)
    assert trying.login is not None
    assert (trying.login.credential, trying.auth) == (None, None)


@pytest.mark.parametrize(
    "first",
    [
        Answer(error="another key", again=True),
        issued(FORMER),
        b"no answer",
        Answer(seal(b"no credential", KEY.public)),
    ],
    ids=[
        "a controller that has another key",
        "an answer to the key of an earlier start",
        "what can't be read",
        "what can't be read once it is unsealed",
    ],
)
async def test_what_the_next_answer_may_settle_is_asked_again(first: Answer | bytes) -> None:
    controllers, trying = Controllers(first, issued()), attempt("a")
    await step(controllers).prepare(trying)
    assert trying.auth is not None
    assert controllers.asked == ["a", "a"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(error="the key of credentials is another", again=True), "is another"),
        (b"no answer", "JSON is malformed"),
        (Answer(seal(b"no credential", KEY.public)), "JSON is malformed"),
    ],
)
async def test_a_credential_that_no_controller_gives_is_missed_only_where_it_has_to_be_there(
    answer: Answer | bytes, reason: str
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
    refusal = Answer(error="job a has ended here")
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
    controllers, trying = Controllers(None), attempt("a")
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
    controllers.answers = [None, Answer()]
    again = attempt("a")
    await asking.prepare(again)
    final = asking.explain(again, EngineRefused(500, DENIED))
    assert classify(final, IMAGE).kind is Kind.REFUSED
    assert final.error == f"{DENIED} (no credential is kept for {REGISTRY})"


async def test_a_job_with_a_credential_of_its_own_goes_nowhere_without_controllers() -> None:
    with pytest.raises(Passing, match="nobody answers"):
        await step(Controllers(None)).prepare(attempt("a", login="a"))


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
@pytest.mark.parametrize("answer", [issued(), Answer()], ids=["with a user", "without"])
async def test_what_no_registry_said_is_not_told_as_a_refusal_of_one(
    words: str, answer: Answer
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
    asking, trying = step(Controllers(Answer()), tmp_path / "config.json"), attempt("a")
    await asking.prepare(trying)
    explained = asking.explain(trying, EngineRefused(500, DENIED))
    assert "config.json" in explained.error
    assert classify(explained, IMAGE).kind is Kind.PASSING


async def test_a_pull_outside_a_job_asks_no_controller() -> None:
    controllers, trying = Controllers(None), attempt()
    await step(controllers).prepare(trying)
    assert (trying.auth, controllers.asked) == (None, [])
