"""What the client takes of an answer, whoever gave it."""

import httpx
import pytest

from towline.client.connection import body
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
