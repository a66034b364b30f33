import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from towline.errors import InvalidConfiguration
from towline.runtime.config import Settings, load

Write = Callable[[str], str]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TOWLINE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file and return its path."""

    def write(text: str) -> str:
        path = tmp_path / "towline.toml"
        path.write_text(text)
        return str(path)

    return write


def refusal(path: str | None, **flags: Any) -> InvalidConfiguration:
    with pytest.raises(InvalidConfiguration) as refused:
        load(path, **flags)
    return refused.value


def test_without_anything_every_setting_has_its_default(write: Write) -> None:
    assert load(write("")) == Settings()


def test_a_flag_beats_the_environment_and_the_environment_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write('listen = "file"\nwait = "1s"\nexpires = "1h"')
    monkeypatch.setenv("TOWLINE_LISTEN", "environment")
    monkeypatch.setenv("TOWLINE_WAIT", "2s")
    settings = load(path, listen="flag", wait=None, expires=None)
    assert (settings.listen, settings.wait, settings.expires) == ("flag", "2s", "1h")


def test_a_list_is_replaced_as_a_whole_and_an_empty_one_says_nothing(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write('labels = ["group:file", "rack:r1"]')
    assert load(path, labels=[]).labels == ["group:file", "rack:r1"]
    monkeypatch.setenv("TOWLINE_LABELS", "group:environment")
    assert load(path, labels=[]).labels == ["group:environment"]
    assert load(path, labels=["group:flag"]).labels == ["group:flag"]


LISTS = [
    field.name
    for field in msgspec.structs.fields(Settings)
    if field.type in (list[str], list[str] | None)
]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:b", ["a:b"]),
        ("a:b,c:d", ["a:b", "c:d"]),
        ("a:b, c:d", ["a:b", "c:d"]),
        (",a:b,,", ["a:b"]),
        ("", None),
    ],
)
def test_a_list_in_the_environment_is_separated_by_commas(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: list[str] | None
) -> None:
    monkeypatch.setenv(f"TOWLINE_{name.upper()}", text)
    without = getattr(Settings(), name)
    assert getattr(load(write("")), name) == (without if expected is None else expected)


@pytest.mark.parametrize(
    "field",
    [
        each
        for each in msgspec.structs.fields(Settings)
        if each.name not in ("roles", "token_keys", "oidc_groups")
    ],
    ids=lambda field: field.name,
)
def test_each_setting_can_stand_in_the_file_the_environment_and_a_flag(
    write: Write, monkeypatch: pytest.MonkeyPatch, field: msgspec.structs.FieldInfo
) -> None:
    value: object
    if field.name == "replicas" or field.name.startswith("max_"):
        toml, text, value = "3", "3", 3
    elif field.type is bool:
        toml, text, value = "true", "true", True
    elif field.name in LISTS:
        toml, text, value = '["x"]', "x", ["x"]
    else:
        toml, text, value = '"x"', "x", "x"
    key = field.name.replace("_", "-")
    assert getattr(load(write(f"{key} = {toml}")), field.name) == value
    assert getattr(load(write(""), **{field.name: value}), field.name) == value
    monkeypatch.setenv(f"TOWLINE_{field.name.upper()}", text)
    assert getattr(load(write("")), field.name) == value


def test_roles_stand_in_the_file_only(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_ROLES", "admin")
    path = write('[roles]\ndeployer = ["docker:read", "docker:write"]')
    assert load(path).roles == {"deployer": ["docker:read", "docker:write"]}


def test_keys_of_clients_stand_in_the_file_only(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWLINE_TOKEN_KEYS", "portal")
    key = '[token-keys.portal]\nfile = "/key"\n'
    (portal,) = load(write(f'{key}roles = ["read"]')).token_keys.values()
    assert (portal.file, portal.roles, portal.longest) == ("/key", ["read"], "365d")
    for text in (key, f"{key}roles = []", f'{key}roles = ["read"]\nlongst = "1d"'):
        assert "$.token-keys" in refusal(write(text)).details
    refusal(write('[token-keys."a/b"]\nfile = "/key"\nroles = ["read"]'))


def test_an_unknown_key_is_named_with_the_file_and_the_known_ones(write: Write) -> None:
    path = write('wait = "1s"\nlongest_wait = "1h"')
    refused = refusal(path)
    assert repr(path) in refused.error
    assert "unknown key 'longest_wait'" in refused.error
    assert "longest-wait" in refused.details


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("wait = 30", "$.wait", "`str`"),
        ("replicas = true", "$.replicas", "`int`"),
        ('replicas = "many"', "$.replicas", "`int`"),
        ('labels = "group:web"', "$.labels", "`array`"),
        ("labels = [1]", "$.labels[0]", "`str`"),
        ('roles = "admin"', "$.roles", "`object`"),
        ('[roles]\ndeployer = "docker:read"', "$.roles", "`array`"),
    ],
)
def test_a_value_of_another_type_is_named_with_the_type_that_is_due(
    write: Write, text: str, where: str, expected: str
) -> None:
    refused = refusal(write(text))
    assert where in refused.details
    assert expected in refused.details


def test_a_value_of_another_type_in_the_environment_is_named(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWLINE_REPLICAS", "many")
    assert "$.replicas" in refusal(write("")).details


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30.0), ("5m", 300.0), ("12h", 43200.0)]
)
def test_a_duration_is_read_as_seconds(write: Write, text: str, seconds: float) -> None:
    settings = load(write(f'longest-wait = "{text}"'))
    assert settings.seconds("longest_wait") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "30 minutes", "99999d"])
def test_a_duration_that_is_none_is_named_by_its_key(write: Write, text: str) -> None:
    settings = load(write(f'longest-wait = "{text}"'))
    with pytest.raises(InvalidConfiguration, match="'longest-wait' is not valid") as refused:
        settings.seconds("longest_wait")
    assert repr(text) in refused.value.details


@pytest.mark.parametrize("key", ["wait", "longest_wait", "expires", "retention", "heartbeat"])
def test_every_default_duration_is_one(key: str) -> None:
    assert Settings().seconds(key) > 0


def test_a_size_is_bytes_and_one_that_is_none_is_named_by_its_key(write: Write) -> None:
    assert Settings().size("retention_size") == 8 * 1024**3
    settings = load(write('retention-size = "much"'))
    with pytest.raises(InvalidConfiguration, match="'retention-size' is not valid") as refused:
        settings.size("retention_size")
    assert "'much'" in refused.value.details


def test_a_file_is_named_by_argument_or_else_by_the_environment(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.toml"
    other.write_text('wait = "2s"')
    monkeypatch.setenv("TOWLINE_CONFIG", str(other))
    assert load(None).wait == "2s"
    assert load(write('wait = "1s"')).wait == "1s"


@pytest.mark.parametrize("by_environment", [True, False])
def test_a_file_that_was_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    path = str(tmp_path / "absent.toml")
    if by_environment:
        monkeypatch.setenv("TOWLINE_CONFIG", path)
    refused = refusal(None if by_environment else path)
    assert repr(path) in refused.error
    assert "is not there" in refused.error


@pytest.mark.parametrize("content", [b"wait = ", b"wait = '\xff'", b"wait = '1s'\nwait = '2s'"])
def test_a_file_that_is_no_toml_is_named_with_the_reason(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "towline.toml"
    path.write_bytes(content)
    refused = refusal(str(path))
    assert repr(str(path)) in refused.error
    assert "can't be read" in refused.error
    assert refused.details


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert "can't be read" in refusal(str(tmp_path)).error


def test_a_secret_in_a_refused_setting_is_not_repeated(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWLINE_TOKEN", "eyJhbGciOiJIUzI1NiJ9.e30.c2VjcmV0")
    monkeypatch.setenv("TOWLINE_REPLICAS", "many")
    assert "eyJ" not in str(refusal(write("")))


def test_a_file_is_utf_8_whatever_the_locale(write: Write) -> None:
    path = write("")
    Path(path).write_text('state = "/srv/stäte"', encoding="utf-8")
    program = (
        "import sys; from towline.runtime.config import load; print(ascii(load(sys.argv[1]).state))"
    )
    # Where the locale's encoding would be used is an error.
    strict = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning"]
    command = [sys.executable, *strict, "-c", program, path]
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.stdout == b"'/srv/st\\xe4te'\n"


# Settings and their documentation


def test_every_setting_is_described_with_its_default() -> None:
    described = {}
    for line in (Path(__file__).parents[3] / "docs" / "configuration.md").read_text().splitlines():
        if match := re.fullmatch(r"\| `([a-z-]+)` \| (.*?) \| .* \|", line):
            described[match[1]] = match[2]
    for field in msgspec.structs.fields(Settings):
        name = field.encode_name
        assert name in described
        default = getattr(Settings(), field.name)
        # Where it is chosen elsewhere the documentation says how, in words.
        if default is not None and default != [] and default != {}:
            written = str(default).lower() if isinstance(default, bool) else default
            assert described.pop(name) == f"`{written}`"
        else:
            assert not re.fullmatch("`[^`]*`", described.pop(name)) or field.name == "engine"
    known = {"token.key", "credentials.key", "machine-id", "layout", "read", "write", "admin"}
    assert not described.keys() - known
