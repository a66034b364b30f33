"""What the client takes of an answer, whoever gave it."""

import json

import httpx
import pytest

from towline.client import calls
from towline.client.connection import body
from towline.client.options import USUAL
from towline.endpoints import health
from towline.errors import ApiError

REQUEST = httpx.Request("GET", "http://towline.test/job")


@pytest.mark.parametrize(
    ("location", "job_id"),
    [("/job/01a2", "01a2"), ("https://login.test/", None), ("https://x.test/job/1", None)],
)
def test_only_the_place_of_a_job_names_one(location: str, job_id: str | None) -> None:
    answer = httpx.Response(502, headers={"Location": location}, request=REQUEST)
    with pytest.raises(ApiError) as raised:
        body(answer)
    assert raised.value.job_id == job_id


def test_an_answer_without_a_body_is_nothing() -> None:
    assert body(httpx.Response(202, request=REQUEST)) is None
    with pytest.raises(ApiError, match="no controller"):
        body(httpx.Response(200, text="<html>", request=REQUEST))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": "it stops", "details": "", "code": 503}, "it stops"),
        ("<html>", "503 from towline.test"),
    ],
)
def test_an_error_is_one_whatever_statuses_an_endpoint_has(answer: object, error: str) -> None:
    content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
    call = calls.of(health.ready, {}, USUAL)
    with pytest.raises(ApiError, match=error) as raised:
        call.read(httpx.Response(503, content=content, request=REQUEST))
    assert raised.value.status == 503
