"""What clients raise where no controller answers, or something that is none."""

import pytest

from tests.testing.clients import failures
from tests.testing.ports import free_port
from tests.unit.stub import Answer, StubController
from towline.client import ApiError, AsyncClient, AsyncJob, Client, Job, Result, Unreachable
from towline.operations import docker, node


def test_a_controller_that_is_down_is_known_by_its_url() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    error = failures(url, "token")
    assert (error.status, error.job_id) == (0, None)
    assert url in error.error
    assert "refused" in error.error


def test_what_encrypts_nothing_is_known_as_that(controller: StubController) -> None:
    error = failures(controller.url.replace("http:", "https:"), "token")
    assert "does not encrypt" in error.error
    assert "http://" in error.details


@pytest.mark.parametrize(
    ("status", "headers", "unknown"),
    [
        (502, {}, True),
        (503, {"Retry-After": "1"}, True),
        (500, {"Retry-After": "1"}, False),
        (500, {"Retry-After": "1", "Location": "/job/1"}, True),
        (500, {"Location": "/job/1"}, None),
        (500, {}, None),
        (429, {"Retry-After": "1"}, None),
    ],
    ids=str,
)
def test_a_controller_that_was_not_there_is_told_from_one_that_refused(
    controller: StubController, status: int, headers: dict[str, str], unknown: bool | None
) -> None:
    controller.default = Answer({"error": "No."}, status, headers=headers)
    error = failures(controller.url, "token")
    assert (error.unknown if isinstance(error, Unreachable) else None) is unknown


def test_whether_a_request_may_have_been_done_is_known(controller: StubController) -> None:
    refused = failures(f"http://127.0.0.1:{free_port()}", "token")
    assert isinstance(refused, Unreachable)
    controller.default = Answer("{}", 202, length=9)
    lost = failures(controller.url, "token")
    assert isinstance(lost, Unreachable)
    assert (refused.unknown, lost.unknown) == (False, True)


@pytest.mark.parametrize("image", ["", "Nginx", "nginx:", "http://nginx", "a "])
def test_parameters_that_do_not_fit_are_refused_before_any_request(image: str) -> None:
    error = failures(f"http://127.0.0.1:{free_port()}", "token", image=image)
    assert error.status == 400
    assert "image" in str(error)


def test_a_type_checker_refuses_parameters_that_do_not_fit() -> None:
    with Client("http://127.0.0.1:1", "token") as client:
        with pytest.raises(ApiError):
            client.run(docker.pull, on="a", image=7)  # type: ignore[arg-type]
        with pytest.raises(ApiError):
            client.run(docker.pull, on="a")  # type: ignore[call-arg]
        with pytest.raises(ApiError):
            client.run(node.load, on="a", image="nginx")  # type: ignore[call-arg]
        with pytest.raises(ApiError):
            client.run(docker.list_containers, on="a", state="dead")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (502, "text/html", "<h1>Bad Gateway</h1>"),
        (503, "application/json", '["busy"]'),
        (504, "application/json", '{"message": "late"}'),
        (301, "text/html", ""),
        (200, "text/html", "<h1>Welcome</h1>"),
        (200, "application/json", "[]"),
        (200, "application/json", "[" * 100_000),
        (502, "application/json", "[" * 100_000),
        (200, "application/json", "{}"),
        (202, "application/json", '{"job_id": "1", "results": [{}]}'),
        (202, "application/json", '{"job_id": "1", "results": {"hostname": "a"}}'),
        (202, "application/json", '{"job_id": 1, "results": []}'),
        (
            202,
            "application/json",
            '{"job_id": "1", "results": [{"hostname": "a", "status": "ok"}]}',
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_answer_that_is_no_controllers_is_known_by_its_status(
    controller: StubController, status: int, content_type: str, body: str
) -> None:
    controller.default = Answer(body, status, content_type)
    error = failures(controller.url, "token")
    assert error.status == status
    assert error.error


def test_an_answer_that_breaks_off_is_known_by_the_url(controller: StubController) -> None:
    controller.default = Answer('{"job_id": "1", "res', length=1000)
    error = failures(controller.url, "token")
    assert error.status == 0
    assert controller.url in error.error


@pytest.mark.parametrize(
    "body", ["{}", '{"id": "1", "results": [{}]}', '{"id": "1", "results": 7}']
)
async def test_a_wait_that_gets_no_controllers_answer_raises_and_keeps_what_was_known(
    controller: StubController, body: str
) -> None:
    running = {"job_id": "1", "results": [{"hostname": "a", "status": "running"}]}
    controller.answers["POST /node/a/container/docker/pull"] = Answer(running, 202)
    controller.default = Answer(body)
    async with AsyncClient(controller.url, "token") as other:
        with Client(controller.url, "token") as client:
            job: Job[..., docker.Pulled] = client.run(docker.pull, on="a", image="nginx")
            also: AsyncJob[..., docker.Pulled] = await other.run(docker.pull, on="a", image="nginx")
            with pytest.raises(ApiError):
                job.wait()
            with pytest.raises(ApiError):
                await also.wait()
    assert job.results == also.results == [Result("a", "running")]
