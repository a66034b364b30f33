"""Docker's configuration file, whatever is in it: a credential, none, or words without a secret."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from towline.agent.docker.pull.docker_config import DockerConfiguration, Unusable
from towline.wire.credential import Credential

REGISTRY = "registry.example:5000"
SECRET = "s3cr3t-that-nobody-sees"
USERS = st.text(min_size=1, max_size=20).filter(lambda text: ":" not in text)
PASSWORDS = st.text(min_size=1, max_size=20).filter(lambda text: not text.endswith("\0"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from([REGISTRY, f"https://{REGISTRY}/v1/", "docker.io", ""]) | st.text(max_size=9)
ENTRIES = JSON | st.dictionaries(
    st.sampled_from(["auth", "username", "password", "identitytoken"]), JSON, max_size=4
)
# A helper of such a name can't be there: none is run. What one is called is no secret.
ODD = st.none() | st.booleans() | st.integers() | st.lists(st.integers(), max_size=2)
HELPERS = ODD | st.dictionaries(KEYS, st.just("not-there-at-all") | ODD, max_size=2)
FILES = JSON | st.fixed_dictionaries(
    {},
    optional={
        "auths": JSON | st.dictionaries(KEYS, ENTRIES, max_size=3),
        "credsStore": st.just("not-there-at-all") | ODD,
        "credHelpers": HELPERS,
    },
)
one_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


async def found(path: Path, data: bytes) -> Credential | str | None:
    """Return what a file has, or the words by which it is unusable: there is no secret in them."""
    await asyncio.to_thread(path.write_bytes, data)
    try:
        return await DockerConfiguration(path).find(REGISTRY)
    except Unusable as error:
        words = str(error)
    assert SECRET not in words
    return words


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@one_file
@given(user=USERS, password=PASSWORDS, key=st.sampled_from([REGISTRY, f"https://{REGISTRY}/v2/"]))
async def test_what_docker_login_writes_is_found(
    path: Path, user: str, password: str, key: str
) -> None:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    data = json.dumps({"auths": {key: {"auth": auth}, "other.example": {}}}).encode()
    assert await found(path, data) == Credential(user, password)


@one_file
@given(value=FILES)
@example(value={"auths": {REGISTRY: {"auth": SECRET}}})
@example(value={"auths": {REGISTRY: {"username": SECRET, "password": [SECRET]}}})
@example(value={"credHelpers": {REGISTRY: "../x"}})
async def test_any_json_is_read_or_unusable(path: Path, value: Any) -> None:
    await found(path, json.dumps(value).encode())


@one_file
@given(data=st.binary())
@example(data=b"[" * 100_000)
@example(data=b'{"auths": {"registry.example:5000": ' + b"[" * 60 + b"]" * 60 + b"}}")
@example(data=b'{"auths": {"registry.example:5000": {"auth": "\xff"}}}')
async def test_any_bytes_are_read_or_unusable(path: Path, data: bytes) -> None:
    await found(path, data)
