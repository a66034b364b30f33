"""What the API refuses is printed in its own words."""

from collections.abc import Callable

import httpx
import pytest

from tests.testing.cluster import PULL, WEB_1, Cluster
from tests.testing.command import CommandLine, failed
from towline.cli.spoken import in_commands

NOWHERE = "550e8400-e29b-41d4-a716-446655440000"

REFUSALS: dict[str, tuple[list[str], Callable[[Cluster], httpx.Response]]] = {
    "an unknown node": (
        ["pull", "nginx", "--on", "nobody"],
        lambda cluster: cluster.pull("nobody", "nginx"),
    ),
    "an unknown label": (
        ["node", "load", "--on", "group:nobody"],
        lambda cluster: cluster.writer.get("/node/group:nobody/load"),
    ),
    "a target that is none": (
        ["node", "load", "--on", "web 01"],
        lambda cluster: cluster.writer.get("/node/web%2001/load"),
    ),
    "an unknown job": (["job", NOWHERE], lambda cluster: cluster.writer.get(f"/job/{NOWHERE}")),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_is_printed_in_the_words_of_the_api_with_commands_for_routes(
    mixed: Cluster, towline: CommandLine, what: str
) -> None:
    arguments, ask = REFUSALS[what]
    body = ask(mixed).json()
    details = in_commands(body["details"], {})
    assert failed(towline(*arguments)) == f"towline: {body['error']}\n  {details}\n"


def test_what_is_no_job_id_is_refused_before_it_is_sent(towline: CommandLine) -> None:
    refused = towline("job", "show", "x")
    assert (refused.status, refused.stdout) == (2, "")
    assert "'x' is not a job id, which is a UUID, or the 12 hex digits at its end" in refused.stderr


def test_a_token_that_is_refused_is_printed_in_the_words_of_the_api(
    mixed: Cluster, towline: CommandLine
) -> None:
    def said(token: str) -> str:
        return failed(towline("pull", "nginx", "--on", WEB_1, env={"TOWLINE_TOKEN": token}))

    reader = mixed.reader.post(f"/node/{WEB_1}/{PULL}", json={"image": "nginx"}).json()
    assert "docker:write" in reader["error"]
    assert said(mixed.token("read")) == f"towline: {reader['error']}\n  {reader['details']}\n"
    assert "expired" in said(mixed.keys.sign({"sub": "tests", "jti": "a", "exp": 1}))
    assert "not valid" in said("towline")
