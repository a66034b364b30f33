"""What `towline up` says to type next: the words that work for this state directory."""

import sys
from pathlib import Path

import pytest

from towline.cli import first_terminal
from towline.cli.first_terminal import Words, next_steps
from towline.runtime import contexts


@pytest.fixture(autouse=True)
def _person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person with `towline` in the path, no context, and `state` as the usual directory."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "towline"
    program.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "up"])
    monkeypatch.setattr(first_terminal, "_address", lambda: "10.0.0.1")


def steps(
    directory: Path,
    url: str = "http://127.0.0.1:8080",
    shared_at: str | None = None,
    config_file: str | None = None,
) -> str:
    words = Words(url, shared_at, directory, config_file, "web-01", "info", own_ca=False)
    return "\n".join(next_steps(words))


def test_in_the_usual_directory_commands_need_no_option(tmp_path: Path) -> None:
    said = steps(tmp_path / "state")
    assert "  towline pull hello-world --on web-01\n" in said
    assert "  towline node list\n" in said
    assert "  towline up --listen 10.0.0.1:8080" in said


def test_another_directory_and_a_file_of_settings_are_named(tmp_path: Path) -> None:
    elsewhere = tmp_path / "my state"
    assert f"towline node list --state '{elsewhere}'\n" in steps(elsewhere)
    said = steps(tmp_path / "state", config_file="a.toml")
    assert f"towline node list --state {tmp_path / 'state'} --config a.toml\n" in said


@pytest.mark.parametrize("damaged", [False, True], ids=["a context", "a damaged choice"])
def test_who_is_logged_in_elsewhere_is_told_how_to_ask_this_one(
    tmp_path: Path, damaged: bool
) -> None:
    contexts.write("prod", contexts.Context("http://a", "t"))
    contexts.use("prod")
    if damaged:
        (tmp_path / "home/towline/current-context").write_text("{")
    assert "towline node list --context local\n" in steps(tmp_path / "state")


def test_a_program_that_is_not_in_the_path_is_named_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/towline"])
    assert "  .venv/bin/towline node list\n" in steps(tmp_path / "state")
    monkeypatch.setattr(sys, "argv", ["/a/towline/__main__.py"])
    assert f"  {sys.executable} -m towline node list\n" in steps(tmp_path / "state")


@pytest.mark.parametrize(
    ("url", "invite"),
    [
        ("https://10.0.0.1:8080", "  towline node invite --context local\n"),
        (
            "https://127.0.0.1:8443",
            "  towline node invite --url https://10.0.0.1:8443 --state {}\n",
        ),
    ],
    ids=["one address", "all addresses"],
)
def test_where_others_reach_it_it_says_how_machines_come_in_and_people_log_in(
    tmp_path: Path, url: str, invite: str
) -> None:
    contexts.write("prod", contexts.Context("http://a", "t"))
    contexts.use("prod")
    said = steps(tmp_path / "state", url, "0.0.0.0:4222")
    assert invite.format(tmp_path / "state") in said
    assert f"  towline login https://10.0.0.1:{url[-4:]}" in said
    assert "up --listen" not in said
