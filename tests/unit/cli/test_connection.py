"""Where commands look for the controller and for their token, and what they say where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.testing.command import Finished, failed
from tests.testing.ports import free_port
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController
from towline.cli.outcome import REFUSED, UNREACHABLE

NOWHERE = "550e8400-e29b-41d4-a716-446655440000"
COMMANDS = [["nodes"], ["pull", "nginx", "--on", "_all"], ["job", NOWHERE]]


def token_sent(controller: StubController) -> str:
    """Return the token of the last request."""
    return controller.asked[-1].headers["authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_without_a_controller_it_says_where_none_answers(
    asking: Here, arguments: list[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert url in failed(asking(*arguments, "--url", url), UNREACHABLE)


def test_without_any_set_up_it_says_what_is_missing(towline: Here, state: Path) -> None:
    assert "towline up" in failed(towline("nodes"))
    said = failed(towline("nodes", "--url", "http://127.0.0.1:1"))
    assert "There is no token" in said
    assert "TOWLINE_TOKEN" in said
    assert not state.exists()


@pytest.mark.parametrize(
    "url", ["", "localhost", "ftp://localhost", "http://", "http://[::1", "http://a:secret@b:1"]
)
def test_a_url_that_is_none_is_refused(asking: Here, url: str) -> None:
    said = failed(asking("nodes", "--url", url))
    assert "URL is not valid" in said
    assert "secret" not in said


@pytest.mark.parametrize("token", [" ", "se\ncret", "s\u00e9cret", "se\x1bcret"])
def test_a_token_that_can_be_none_is_refused_unseen(asking: Here, token: str) -> None:
    said = failed(asking("nodes", env={"TOWLINE_TOKEN": token}))
    assert said.startswith("towline: The token is not valid.")
    assert "cret" not in said


def test_an_empty_variable_counts_as_unset(
    towline: Here, controller: StubController, state: Path
) -> None:
    controller.answers["GET /agent"] = Answer({"agents": [], "total": 0})
    empty = {"TOWLINE_URL": "", "TOWLINE_TOKEN": ""}
    assert "No controller is named" in failed(towline("nodes", env=empty))
    state.mkdir()
    (state / "controller.url").write_text(f"{controller.url}\n")
    (state / "token.key").write_text("6b" * 32)
    (state / "token.key").chmod(0o600)
    assert towline("nodes", env=empty).status == 0
    assert len(controller.asked) == 1


def test_a_token_may_end_in_a_newline_as_in_a_file(
    asking: Here, controller: StubController
) -> None:
    controller.answers["GET /agent"] = Answer({"agents": [], "total": 0})
    assert asking("nodes", env={"TOWLINE_TOKEN": "x.y.z\n"}).status == 0
    assert token_sent(controller) == "x.y.z"


# A pull waits 20 s for what may only be away: one such answer is enough.
@pytest.mark.parametrize(
    ("status", "content"), [*((200, each) for each in ("<html>", "[]", "null", "{}")), (502, "{}")]
)
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_server_that_is_no_controller_is_named_as_that(
    asking: Here, controller: StubController, arguments: list[str], content: str, status: int
) -> None:
    controller.default = Answer(content, status, "text/html")
    said = failed(asking(*arguments), REFUSED if status == 200 else UNREACHABLE)
    assert ("is no controller" if status == 200 else str(status)) in said


def test_a_flag_beats_the_environment_and_the_environment_the_file(
    towline: Here, tmp_path: Path
) -> None:
    file, environment, flag = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    path = tmp_path / "towline.toml"
    path.write_text(f'url = "{file}"\ntoken = "of the file"')
    token = {"TOWLINE_TOKEN": "a.b.c"}
    with_file = ["nodes", "--config", str(path)]
    assert file in failed(towline(*with_file), UNREACHABLE)
    assert file in failed(towline("nodes", env={"TOWLINE_CONFIG": str(path)}), UNREACHABLE)
    by_environment = {"TOWLINE_URL": environment, **token}
    assert environment in failed(towline(*with_file, env=by_environment), UNREACHABLE)
    by_flag = [*with_file, "--url", flag]
    assert flag in failed(towline(*by_flag, env=by_environment), UNREACHABLE)


def test_the_token_too_comes_from_flag_environment_or_file_in_that_order(
    towline: Here, controller: StubController, tmp_path: Path
) -> None:
    controller.answers["GET /agent"] = Answer({"agents": [], "total": 0})
    path = tmp_path / "towline.toml"
    path.write_text(f'url = "{controller.url}"\ntoken = "file"')
    command = ["nodes", "--config", str(path)]

    def sent(*flags: str, **env: str) -> str:
        assert towline(*command, *flags, env=env).status == 0
        return token_sent(controller)

    assert sent() == "file"
    assert sent(TOWLINE_TOKEN="environment") == "environment"
    assert sent("--token", "flag", TOWLINE_TOKEN="environment") == "flag"


def test_a_configuration_file_that_is_not_valid_stops_every_command(
    towline: Here, tmp_path: Path
) -> None:
    path = tmp_path / "towline.toml"
    path.write_text('urls = ["http://127.0.0.1:1"]')
    for arguments in (
        ["nodes"],
        ["pull", "nginx", "--on", "_all"],
        ["agent"],
        ["token", "create", "--subject", "alice", "--role", "read"],
    ):
        said = failed(towline(*arguments, env={"TOWLINE_CONFIG": str(path)}))
        assert "'urls'" in said
        assert str(path) in said


def test_what_the_operation_does_not_take_is_refused_by_its_name(
    asking: Here, controller: StubController
) -> None:
    assert "'Nginx'" in failed(asking("pull", "Nginx", "--on", "web-01"))
    assert "limit" in failed(asking("docker", "list", "--on", "web-01", "--limit", "0"))
    assert "'soon'" in failed(asking("node", "load", "--on", "web-01", "--wait", "soon"))
    assert controller.asked == []


ELSEWHERE = "http://127.0.0.1:1"
SECRET = "of.somebody.else"


@pytest.fixture
def own(state: Path, controller: StubController) -> Path:
    """The state directory of the controller that `towline up` has started here."""
    controller.answers["GET /agent"] = Answer({"agents": [], "total": 0})
    state.mkdir()
    (state / "controller.url").write_text(f"{controller.url}\n")
    (state / "token.key").write_text("6b" * 32)
    (state / "token.key").chmod(0o600)
    return state


@pytest.mark.parametrize("flag", [True, False], ids=["--state", "--context local"])
def test_the_controller_of_this_machine_is_asked_where_it_is_named_and_sent_its_own_token(
    towline: Here, controller: StubController, own: Path, tmp_path: Path, flag: bool
) -> None:
    path = tmp_path / "towline.toml"
    path.write_text(f'url = "{ELSEWHERE}"\ntoken = "{SECRET}"\nca = "/nowhere"')
    named = ("--state", own) if flag else ("--context", "local")
    variables = {"TOWLINE_URL": ELSEWHERE, "TOWLINE_TOKEN": SECRET, "TOWLINE_CA": "/nowhere"}
    done = towline("nodes", *named, "--config", path, env=variables)
    assert done.status == 0, done.stderr
    assert token_sent(controller) != SECRET
    variable = {"TOWLINE_CONTEXT": "local"} if not flag else {"TOWLINE_STATE": str(own)}
    path.write_text(f'token = "{SECRET}"' + ("" if flag else f'\nurl = "{ELSEWHERE}"'))
    assert towline("nodes", "--config", path, env=variable).status == 0
    assert token_sent(controller) != SECRET


@pytest.mark.parametrize("flag", [True, False], ids=["--url", "TOWLINE_URL"])
def test_a_token_of_the_file_or_of_this_machine_goes_to_no_other_controller(
    towline: Here, controller: StubController, own: Path, tmp_path: Path, flag: bool
) -> None:
    path = tmp_path / "towline.toml"
    path.write_text(f'url = "{ELSEWHERE}"\ntoken = "{SECRET}"\nstate = "{own}"')
    (own / "controller.url").write_text(ELSEWHERE)

    def ask(*more: str | Path, **env: str) -> Finished:
        named = ("--url", controller.url) if flag else ()
        env |= {} if flag else {"TOWLINE_URL": controller.url}
        return towline("nodes", "--config", path, *named, *more, env=env)

    said = failed(ask())
    assert f"There is no token for {controller.url}" in said
    assert "--state DIR --url URL" in said
    assert not controller.asked
    assert ask(TOWLINE_TOKEN="a.b.c").status == 0
    assert token_sent(controller) == "a.b.c"


def test_a_token_of_this_machine_goes_to_what_is_named_with_the_directory_or_stands_in_it(
    towline: Here, controller: StubController, own: Path
) -> None:
    assert towline("nodes", "--url", f"{controller.url}/").status == 0
    (own / "controller.url").unlink()
    assert towline("nodes", "--url", controller.url, "--state", own).status == 0
    variables = {"TOWLINE_URL": controller.url, "TOWLINE_STATE": str(own)}
    assert towline("nodes", env=variables).status == 0
    assert len(controller.asked) == 3


def test_the_file_names_a_controller_before_a_directory_of_a_variable(
    towline: Here, controller: StubController, own: Path, tmp_path: Path
) -> None:
    path = tmp_path / "towline.toml"
    path.write_text(f'url = "{controller.url}"')
    (own / "controller.url").unlink()
    failed(towline("nodes", "--config", path, env={"TOWLINE_STATE": str(own)}))
    assert not controller.asked
