import base64
import json
from pathlib import Path

import pytest

from tests.testing.process import wait_until
from towline.agent.docker.pull.docker_config import DockerConfiguration, Unusable, default_path
from towline.wire.credential import Credential

REGISTRY = "registry.internal:5000"
SECRET = "s3cret"
PULLER = Credential("puller", SECRET)
AUTH = {"auth": base64.b64encode(f"puller:{SECRET}".encode()).decode()}
ANSWER = json.dumps({"ServerURL": REGISTRY, "Username": "puller", "Secret": SECRET})


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerConfiguration:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return DockerConfiguration(tmp_path / "config.json")


def write(configuration: DockerConfiguration, **values: object) -> None:
    configuration.path.write_text(json.dumps(values))


def helper(configuration: DockerConfiguration, name: str, script: str) -> None:
    path = configuration.path.with_name(f"docker-credential-{name}")
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_user_without_a_home_has_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    assert default_path() is None
    monkeypatch.setenv("DOCKER_CONFIG", "/etc/docker")
    assert default_path() == Path("/etc/docker/config.json")


async def test_where_there_is_no_file_there_is_no_credential(
    configuration: DockerConfiguration,
) -> None:
    assert await configuration.find(REGISTRY) is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        (REGISTRY, REGISTRY),
        (f"https://{REGISTRY}", REGISTRY),
        (f"http://{REGISTRY}/v1/", REGISTRY),
        ("https://index.docker.io/v1/", "docker.io"),
    ],
)
async def test_the_file_names_registries_in_the_ways_docker_writes_them(
    configuration: DockerConfiguration, key: str, registry: str
) -> None:
    write(configuration, auths={key: AUTH, "other.internal": {}}, HttpHeaders={"X": "Y"})
    assert await configuration.find(registry) == PULLER
    assert await configuration.find("other.internal") is None
    assert await configuration.find("registry.internal") is None


async def test_an_identity_token_of_the_file_is_one(configuration: DockerConfiguration) -> None:
    write(configuration, auths={REGISTRY: {"auth": "", "identitytoken": SECRET}})
    assert await configuration.find(REGISTRY) == Credential(identity_token=SECRET)


async def test_a_registrys_own_helper_comes_before_the_store_and_both_before_the_file(
    configuration: DockerConfiguration,
) -> None:
    for name in ("own", "all"):
        helper(configuration, name, f"read host; printf '%s' '{ANSWER}' | sed s/puller/{name}/")
    write(configuration, auths={REGISTRY: AUTH}, credsStore="all", credHelpers={REGISTRY: "own"})
    assert await configuration.find(REGISTRY) == Credential("own", SECRET)
    write(configuration, auths={REGISTRY: AUTH}, credsStore="all")
    assert await configuration.find(REGISTRY) == Credential("all", SECRET)


async def test_a_helper_is_asked_by_the_name_that_docker_gives_it(
    configuration: DockerConfiguration,
) -> None:
    asked = configuration.path.with_name("asked")
    answer = '{"Username": "<token>", "Secret": "t0ken"}'
    helper(configuration, "all", f"""echo "$1 $(cat)" >> {asked}; echo '{answer}'""")
    write(configuration, credsStore="all")
    for registry in (REGISTRY, "docker.io"):
        assert await configuration.find(registry) == Credential(identity_token="t0ken")
    assert asked.read_text().splitlines() == [
        f"get {REGISTRY}",
        "get https://index.docker.io/v1/",
    ]


async def test_a_helper_that_has_none_is_no_trouble(configuration: DockerConfiguration) -> None:
    helper(configuration, "all", "echo credentials not found in native keychain; exit 1")
    write(configuration, credsStore="all", auths={REGISTRY: AUTH})
    assert await configuration.find(REGISTRY) is None


@pytest.mark.parametrize(
    ("script", "named"),
    [
        (f"echo {SECRET}; exit 3", "status 3"),
        (f"echo {SECRET}", "can't be read"),
        (f"echo '[\"{SECRET}\"]'", "can't be read"),
        (f'printf \'{{"Secret": "{SECRET}\\377"}}\'', "can't be read"),
        (f"head -c 100000 /dev/zero; echo {SECRET}", "can't be read"),
    ],
)
async def test_a_helper_that_fails_is_named_and_its_words_are_not_repeated(
    configuration: DockerConfiguration, script: str, named: str
) -> None:
    helper(configuration, "all", script)
    write(configuration, credsStore="all")
    with pytest.raises(Unusable) as failed:
        await configuration.find(REGISTRY)
    assert "docker-credential-all" in str(failed.value)
    assert named in str(failed.value)
    assert SECRET not in str(failed.value)


async def test_a_helper_that_waits_is_ended_with_all_that_it_started(
    configuration: DockerConfiguration,
) -> None:
    hasty = DockerConfiguration(configuration.path, helper_within=0.5)
    started = configuration.path.with_name("started")
    helper(configuration, "all", f"sleep 100 & echo $! > {started}; wait")
    write(configuration, credsStore="all")
    with pytest.raises(Unusable, match="did not answer within"):
        await hasty.find(REGISTRY)
    pid = started.read_text().strip()
    wait_until(lambda: not running(pid), what="the end of what the helper had started")


def running(pid: str) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"credsStore": "absent"}, "docker-credential-absent"),
        ({"credsStore": "../../bin/sh"}, "no credential helper"),
        ({"auths": {REGISTRY: {"auth": SECRET}}}, REGISTRY),
        ({"auths": [SECRET]}, "config.json"),
    ],
)
async def test_a_configuration_that_can_not_be_used_is_named_and_not_repeated(
    configuration: DockerConfiguration, values: dict[str, object], named: str
) -> None:
    write(configuration, **values)
    with pytest.raises(Unusable) as failed:
        await configuration.find(REGISTRY)
    assert named in str(failed.value)
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize(
    "text",
    [
        b'{"auths": {"%b": {"auth": "\xff"}}}' % REGISTRY.encode(),
        b'{"auths": {"%b": %b}}' % (REGISTRY.encode(), b"[" * 5000 + b"]" * 5000),
        b'{"credsStore": "\xff"}',
    ],
    ids=["an entry is not UTF-8", "an entry is nested too deeply", "it is not UTF-8"],
)
async def test_a_configuration_that_no_program_wrote_can_not_be_used_either(
    configuration: DockerConfiguration, text: bytes
) -> None:
    configuration.path.write_bytes(text)
    with pytest.raises(Unusable, match=r"config\.json"):
        await configuration.find(REGISTRY)
