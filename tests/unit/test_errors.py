import pytest

from towline import errors
from towline.broker.answers import BrokerRefused
from towline.client import ApiError
from towline.errors import InvalidRequest, TowlineError, did_you_mean

FAMILY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TowlineError)
]


def test_an_error_carries_what_failed_why_and_which_job() -> None:
    error = TowlineError("It broke.", "the disk is full", job_id="0199")
    assert (error.error, error.details, error.job_id) == ("It broke.", "the disk is full", "0199")
    assert str(error) == "It broke. the disk is full"
    assert str(TowlineError("It broke.")) == "It broke."
    assert TowlineError("It broke.").job_id is None


def test_the_sentence_of_an_error_has_the_cause_and_the_details_say_how_to_mend_it() -> None:
    error = InvalidRequest.because("The body is not valid", ValueError("no\n image"), "Send one")
    assert (error.error, error.details) == ("The body is not valid: no image", "Send one")
    assert str(error) == "The body is not valid: no image Send one"


def test_of_a_long_cause_the_sentence_has_the_beginning_and_the_details_all() -> None:
    words = "manifest unknown " * 100
    error = InvalidRequest.because("It failed", words, "Look")
    assert len(error.error) == len("It failed: ") + errors.LONGEST_CAUSE
    assert error.error.startswith("It failed: manifest unknown manifest")
    assert error.details == f"{words}; Look"
    assert InvalidRequest.because("It failed", words).details == words


def test_details_that_the_sentence_has_already_are_not_repeated() -> None:
    assert str(TowlineError("It broke: no disk", "no disk")) == "It broke: no disk"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidRequest, 400),
        (errors.Unauthorized, 401),
        (errors.Forbidden, 403),
        (errors.NotFound, 404),
        (errors.MethodNotAllowed, 405),
        (errors.BodyTooLarge, 413),
        (errors.UnsupportedMediaType, 415),
        (errors.NoNodes, 500),
        (errors.BrokerUnreachable, 500),
        (errors.TaskFailed, 500),
        (errors.ProviderUnreachable, 500),
        (BrokerRefused, 500),
    ],
)
def test_each_kind_of_error_has_the_status_that_the_api_answers(
    kind: type[TowlineError], code: int
) -> None:
    assert kind.code == code


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_says_what_it_is_for(kind: type[TowlineError]) -> None:
    assert kind.__doc__
    assert 400 <= kind.code <= 599
    assert kind("a", "b", "c").job_id == "c"


def test_a_provider_out_of_reach_is_a_task_that_failed() -> None:
    assert issubclass(errors.ProviderUnreachable, errors.TaskFailed)


def test_what_the_broker_refused_names_its_number() -> None:
    refused = BrokerRefused(10071, "wrong last sequence: 1")
    assert refused.number == 10071
    assert "wrong last sequence: 1 (JetStream error 10071)" in str(refused)


def test_an_error_of_the_api_is_of_the_family_too() -> None:
    error = ApiError("Gone.", status=404)
    assert isinstance(error, TowlineError)
    assert error.status == 404


def test_for_a_name_that_there_is_not_the_nearest_are_suggested() -> None:
    known = ["docker.list", "docker.pull", "node.load", "node.Ready"]
    assert did_you_mean("docker.pul", known) == "Did you mean docker.pull or docker.list?"
    assert did_you_mean("NODE.LAOD", known).startswith("Did you mean node.load")
    assert "node.Ready" in did_you_mean("node.ready", known)
    assert did_you_mean("uptime", known) == did_you_mean("", known) == did_you_mean("x", []) == ""
