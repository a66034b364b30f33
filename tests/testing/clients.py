"""What both clients have in common, for tests of them."""

import asyncio

import pytest

from towline.client import ApiError, AsyncClient, Client
from towline.operations import docker


def failures(url: str, token: str, *, on: str = "web-01", image: str = "nginx") -> ApiError:
    """Return how a pull fails, which both clients say in the same way."""

    async def awaited() -> ApiError:
        async with AsyncClient(url, token) as client:
            with pytest.raises(ApiError) as raised:
                await client.run(docker.pull, on=on, image=image)
        return raised.value

    with Client(url, token) as client, pytest.raises(ApiError) as raised:
        client.run(docker.pull, on=on, image=image)
    error, other = raised.value, asyncio.run(awaited())
    assert error.status == other.status
    if error.status:
        assert error.error == other.error
    else:
        # No answer: why not, the two connections say in words of their own.
        assert error.error.partition(": ")[0] == other.error.partition(": ")[0]
    assert (error.job_id is None) is (other.job_id is None)
    return error
