import pytest

from towline import errors
from towline.broker.answers import BrokerRefused
from towline.client import ApiError
from towline.errors import TowlineError

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
    error = ApiError("Gone.", "", 404)
    assert isinstance(error, TowlineError)
    assert error.status == 404
