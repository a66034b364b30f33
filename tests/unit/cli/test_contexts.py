"""Contexts: which controller commands ask after `towline login`, with which token."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.testing.command import failed
from tests.testing.odd_servers import certificate
from tests.testing.ports import free_port
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController

TOKEN = "a.b.c"
LOGIN = ("login", "--token-stdin")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def towline(state: Path, home: Path) -> Here:
    """Commands of a person who knows no controller yet."""
    return Here(state, {"XDG_CONFIG_HOME": str(home)})


@pytest.fixture
def controller(controller: StubController) -> StubController:
    controller.answers["GET /version"] = Answer({"version": "1.2.3"})
    controller.answers["GET /job"] = Answer({"items": [], "total_items": 0, "status_counts": {}})
    controller.answers["GET /agent"] = Answer({"agents": [], "total": 0})
    return controller


def sent(controller: StubController) -> str:
    """Return the token of the last request."""
    return controller.asked[-1].headers["authorization"].removeprefix("Bearer ")


def file_of(home: Path, name: str) -> Path:
    return home / "towline" / "contexts" / f"{name}.json"


def test_after_a_login_commands_ask_that_controller_with_that_token(
    towline: Here, controller: StubController, home: Path
) -> None:
    done = towline(*LOGIN, controller.url, stdin=f"{TOKEN}\n")
    assert (done.status, done.stderr) == (0, "")
    assert "1.2.3" in done.stdout
    assert TOKEN not in done.stdout
    asked = [f"{each.method} {each.path}" for each in controller.asked]
    assert asked == ["GET /version", "GET /job"]
    assert towline("node", "list").status == 0
    assert sent(controller) == TOKEN
    for path in (home / "towline").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((home / "towline").stat().st_mode) == 0o700


@pytest.mark.parametrize("status", [401, 404, 500])
def test_what_takes_no_token_is_not_kept(
    towline: Here, controller: StubController, home: Path, status: int
) -> None:
    said = {"error": "The token has expired.", "details": "", "code": status}
    controller.answers["GET /job"] = Answer(said, status)
    failed(towline(*LOGIN, controller.url, stdin=TOKEN), 2)
    assert not home.exists()


def test_a_token_that_may_do_little_is_one_all_the_same(
    towline: Here, controller: StubController
) -> None:
    refused = {"error": "The token lacks job:read", "details": "", "code": 403}
    controller.answers["GET /job"] = Answer(refused, 403)
    assert towline(*LOGIN, controller.url, stdin=TOKEN).status == 0


def test_without_a_terminal_the_token_is_never_read_by_accident(
    towline: Here, controller: StubController
) -> None:
    assert "--token-stdin" in failed(towline("login", controller.url, stdin=TOKEN), 2)
    assert not controller.asked


def test_a_token_that_is_refused_later_says_how_to_log_in_again(
    towline: Here, controller: StubController
) -> None:
    towline(*LOGIN, controller.url, "--name", "prod", stdin=TOKEN)
    expired = {"error": "The token has expired.", "details": "Make another", "code": 401}
    controller.answers["GET /agent"] = Answer(expired, 401)
    said = failed(towline("node", "list"), 2)
    assert said == "towline: The token has expired.\n  Log in again: towline login --name prod\n"
    controller.answers["POST /node/web-01/container/docker/pull"] = Answer(expired, 401)
    said = failed(towline("pull", "nginx", "--on", "web-01"), 2)
    assert said.endswith("  Log in again: towline login --name prod\n")
    # A token that somebody has named is another matter.
    assert "login" not in failed(towline("node", "list", env={"TOWLINE_TOKEN": "d.e.f"}), 2)
    said = failed(towline("node", "list", "--url", controller.url, "--token", TOKEN), 2)
    assert "login" not in said


def test_whoever_is_refused_a_new_token_is_told_how_to_make_one_without_a_token(
    towline: Here, controller: StubController
) -> None:
    towline(*LOGIN, controller.url, "--name", "prod", stdin=TOKEN)
    expired = {"error": "The token has expired.", "details": "Make another", "code": 401}
    controller.answers["POST /token"] = Answer(expired, 401)
    create = ["token", "create", "--subject", "ann", "--role", "read"]
    key = "On the controller's own machine towline token create --context local asks with "
    said = failed(towline(*create), 2)
    assert "Log in again: towline login --name prod. " + key in said
    said = failed(towline(*create, env={"TOWLINE_TOKEN": "d.e.f"}), 2)
    assert f"  {key}" in said
    del controller.answers["GET /agent"]
    controller.answers["GET /agent"] = Answer({"agents": [], "total": 0})
    assert towline(*LOGIN, "--name", "prod", stdin="d.e.f").status == 0
    assert towline("node", "list").status == 0
    assert sent(controller) == "d.e.f"


def test_flags_go_before_variables_before_the_file_before_the_current_context(
    towline: Here, controller: StubController, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        towline(*LOGIN, controller.url, "--name", name, stdin=f"of.context.{name}")
    file = tmp_path / "towline.toml"
    file.write_text(f'url = "{controller.url}"\ntoken = "of.the.file"')
    url, by_file = {"TOWLINE_URL": controller.url}, {"TOWLINE_CONFIG": str(file)}
    one = {"TOWLINE_CONTEXT": "one"}
    variables = {**url, "TOWLINE_TOKEN": "of.the.environment"}

    def used(*flags: str, **env: str) -> str:
        assert towline("node", "list", *flags, env=env).status == 0
        return sent(controller)

    assert used() == "of.context.two"
    assert used(**by_file) == "of.the.file"
    assert used(**by_file, **one) == "of.context.one"
    assert used(**variables, **one, **by_file) == "of.the.environment"
    assert used("--context", "one", **variables, **by_file) == "of.context.one"
    assert used("--context", "one", "--token", "of.a.flag", **variables) == "of.a.flag"
    assert used("--url", controller.url, "--token", "of.a.flag", **one) == "of.a.flag"


def test_a_token_of_a_context_goes_to_nobody_else(
    towline: Here, controller: StubController
) -> None:
    towline(*LOGIN, controller.url, stdin=TOKEN)
    before = len(controller.asked)
    for arguments, env in (
        (("--url", controller.url), {}),
        ((), {"TOWLINE_URL": controller.url}),
        (("--context", "local"), {"TOWLINE_URL": controller.url}),
        (("--context", "127.0.0.1", "--url", controller.url), {}),
        (("--context", "127.0.0.1", "--state", "/nowhere"), {}),
    ):
        failed(towline("node", "list", *arguments, env=env), 2)
    assert len(controller.asked) == before


def test_contexts_are_listed_chosen_shown_and_removed(
    towline: Here, controller: StubController, home: Path
) -> None:
    for name in ("one", "two"):
        towline(*LOGIN, controller.url, "--name", name, stdin=f"of.context.{name}")
    listed = json.loads(towline("context", "list", "-o", "json").stdout)["contexts"]
    assert [(each["name"], each["current"]) for each in listed] == [
        *(("local", False), ("one", False), ("two", True))
    ]
    assert towline("context", "use", "one").status == 0
    towline("node", "list")
    assert sent(controller) == "of.context.one"
    assert "of.context" not in towline("context", "show").stdout + towline("contexts").stdout
    assert towline("context", "use", "local").status == 0
    assert "none runs here" in failed(towline("node", "list"), 2)
    assert "'three'" in failed(towline("context", "use", "three"), 2)
    assert "'three'" in failed(towline("context", "remove", "three"), 2)
    assert towline("context", "remove", "one").status == 0
    assert not file_of(home, "one").exists()


def test_a_logout_forgets_the_token_and_keeps_where_the_controller_is(
    towline: Here, controller: StubController, home: Path
) -> None:
    towline(*LOGIN, controller.url, "--name", "prod", stdin=TOKEN)
    assert towline("logout").status == 0
    assert TOKEN not in file_of(home, "prod").read_text()
    assert "towline login --name prod" in failed(towline("node", "list"), 2)
    assert towline(*LOGIN, stdin="d.e.f").status == 0
    assert towline("node", "list").status == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 1}', b'{"a": "b"}', b"\xff"])
def test_a_damaged_file_is_named_and_hides_no_other(
    towline: Here, controller: StubController, home: Path, content: bytes
) -> None:
    for name in ("good", "bad"):
        towline(*LOGIN, controller.url, "--name", name, stdin=TOKEN)
    file_of(home, "bad").write_bytes(content)
    said = failed(towline("node", "list"), 2)
    assert str(file_of(home, "bad")) in said
    assert "towline context remove bad" in said
    assert controller.url in towline("context", "list").stdout
    assert towline("node", "list", "--context", "good").status == 0
    assert towline("context", "remove", "bad").status == 0


def test_a_file_that_any_user_can_read_is_refused(
    towline: Here, controller: StubController, home: Path
) -> None:
    towline(*LOGIN, controller.url, "--name", "prod", stdin=TOKEN)
    file_of(home, "prod").chmod(0o644)
    said = failed(towline("node", "list"), 2)
    assert "0644" in said
    assert "chmod 600" in said


@pytest.mark.parametrize("name", ["local", "", "../x", "a b", ".x", "a" * 64])
def test_a_name_that_can_be_none_is_refused(
    towline: Here, controller: StubController, name: str
) -> None:
    login = (*LOGIN, controller.url, "--name", name)
    assert "can't be called" in failed(towline(*login, stdin=TOKEN), 2)
    if name != "local":
        assert "can't be called" in failed(towline("node", "list", "--context", name), 2)


@pytest.mark.parametrize(
    "url", ["", "controller:8080", "ftp://a", "https://a:secret@b", "http://["]
)
def test_what_is_no_url_is_refused_and_not_repeated(
    towline: Here, controller: StubController, home: Path, url: str
) -> None:
    said = failed(towline(*LOGIN, url, stdin=TOKEN), 2)
    assert "URL is not valid" in said
    assert "secret" not in said
    assert not home.exists()


def test_another_controller_takes_the_name_of_none_that_is_there(
    towline: Here, controller: StubController
) -> None:
    towline(*LOGIN, controller.url, stdin=TOKEN)
    said = failed(towline(*LOGIN, "http://127.0.0.1:1", stdin=TOKEN), 2)
    assert controller.url in said
    assert "--name" in said


def test_a_variable_that_hides_the_context_is_told_of(
    towline: Here, controller: StubController, tmp_path: Path
) -> None:
    file = tmp_path / "towline.toml"
    env = {"TOWLINE_URL": controller.url}
    assert "TOWLINE_URL" in towline(*LOGIN, controller.url, stdin=TOKEN, env=env).stderr
    assert "TOWLINE_URL" in towline("context", "use", "127.0.0.1", env=env).stderr
    file.write_text(f'url = "{controller.url}"')
    env = {"TOWLINE_TOKEN": TOKEN, "TOWLINE_CA": "/nowhere", "TOWLINE_CONFIG": str(file)}
    said = towline("context", "use", "127.0.0.1", env=env).stderr
    assert "unset TOWLINE_TOKEN" in said
    assert "unset TOWLINE_CA" in said
    assert f"{str(file)!r} sets url, which goes before it" in said


def test_what_asks_nobody_needs_no_login(
    towline: Here, controller: StubController, tmp_path: Path
) -> None:
    towline(*LOGIN, controller.url, "--name", "prod", stdin=TOKEN)
    towline("logout")
    key = tmp_path / "key"
    key.write_text("6b" * 32)
    key.chmod(0o600)
    made = ("token", "create", "--subject", "ann", "--role", "read")
    assert "towline login" in failed(towline(*made), 2)
    assert towline(*made, "--token-key", key).status == 0
    state = tmp_path / "trust"
    assert towline("trust", "init", "--state", state).status == 0
    done = towline("trust", "status", env={"STATE_DIRECTORY": str(state)})
    assert done.status == 0, done.stderr
    assert "api-ca.pem" in done.stdout
    assert "towline login --name prod" in done.stdout
    assert towline("trust", "rotate", "jobs", env={"STATE_DIRECTORY": str(state)}).status == 0


def test_of_a_ca_file_the_certificates_alone_are_kept_and_all_of_them_shown(
    towline: Here, controller: StubController, home: Path, tmp_path: Path
) -> None:
    both = [certificate(tmp_path, name).read_text() for name in ("one", "two")]
    ca = tmp_path / "ca.pem"
    ca.write_text("Subject: Ä\n" + "\n# and\n".join(both))
    assert towline(*LOGIN, controller.url, "--ca", ca, stdin=TOKEN).status == 0
    kept = json.loads(file_of(home, "127.0.0.1").read_text())["ca"]
    assert kept.startswith("-----BEGIN CERTIFICATE")
    assert kept.count("BEGIN") == 2
    assert "PRIVATE" not in kept
    shown = json.loads(towline("context", "show", "-o", "json").stdout)["ca"]
    assert shown.count("sha256") == 2
    # One that was kept before with what stands around the certificates is shown as well.
    found = json.loads(file_of(home, "127.0.0.1").read_text()) | {"ca": ca.read_text()}
    file_of(home, "127.0.0.1").write_text(json.dumps(found))
    assert json.loads(towline("context", "show", "-o", "json").stdout)["ca"] == shown
    ca.write_text("nothing")
    said = failed(towline(*LOGIN, controller.url, "--ca", ca, stdin=TOKEN), 2)
    assert "no certificates" in said


def test_behind_a_proxy_a_login_says_what_it_takes(towline: Here) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    env = {"https_proxy": "http://127.0.0.1:1"}
    assert "give --ca FILE" in failed(towline(*LOGIN, url, stdin=TOKEN, env=env), 2)
