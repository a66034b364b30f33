"""An endpoint may answer a list, or nothing, and its parameters may be called as options are."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from tests.testing.command import CommandLine
from towline.client import ApiError, Client


@pytest.fixture
def towline(port: Cluster, env: dict[str, str], tmp_path: Path) -> CommandLine:
    """Commands against the controller."""
    return CommandLine(
        tmp_path, env | {"TOWLINE_URL": port.url, "TOWLINE_TOKEN": port.token("admin")}
    )


def test_the_client_returns_a_list_and_nothing(port: Cluster, harbours: ModuleType) -> None:
    with Client(port.url, port.token("admin")) as client:
        assert client.call(harbours.pilot) is None
        assert client.call(harbours.pilot, output="jo") == harbours.Greeting("jo")
        assert client.call(harbours.signal, output="lamp") is None
        assert harbours.Greeting("lamp") in client.call(harbours.given)


def test_the_client_refuses_what_no_header_can_have(port: Cluster, harbours: ModuleType) -> None:
    with Client(port.url, port.token("admin")) as client:
        for call in ("ü", "a\nb"):
            with pytest.raises(ApiError, match="`call`") as raised:
                client.call(harbours.hail, call=call)
            assert raised.value.status == 400


def test_a_parameter_may_be_called_as_an_option_is(towline: CommandLine) -> None:
    asked = towline("harbour", "pilot", "--output", "jo", "-o", "json")
    assert (asked.stderr, json.loads(asked.stdout)) == ("", {"text": "jo"})
    assert towline("harbour", "pilot", "--output", "jo").stdout.split() == ["text", "jo"]
    assert "--output TEXT" in towline("harbour", "pilot", "--help").stdout


def test_a_file_that_is_too_large_is_refused(port: Cluster) -> None:
    http = port.client(port.token("admin"))
    answer = http.post("/harbour/fram/hold", files={"cargo": ("tea", bytes(64 * 1024 * 1024))})
    assert "Send a smaller file" in refused(answer, 413)


def test_a_form_of_very_many_fields_is_refused(port: Cluster) -> None:
    http = port.client(port.token("admin"))
    fields = {f"field{number}": "1" for number in range(2000)}
    answer = http.post("/harbour/fram/hold", data=fields, files={"cargo": ("tea", b"1")})
    assert "Too many fields" in refused(answer, 400)
