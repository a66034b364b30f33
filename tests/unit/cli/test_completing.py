"""What a shell is answered while somebody types."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Here
from tests.unit.cli.sets.made_sets import a_set
from tests.unit.stub import Answer, StubController
from towline.cli.completing import BREAKS, LINE, VARIABLE, Typed
from towline.cli.completion import SCRIPTS
from towline.cli.names import OTHER_LIMIT

JOB = "019ace90-7d3e-7abc-8def-0123456789ab"
JOBS = {
    "items": [
        {
            **{"id": JOB, "status": "failed", "target": "_all"},
            "operation": {"type": "docker.pull.execute", "data": {"image": "nginx:1.27"}},
        }
    ]
}
NGINX = "docker.io/library/nginx"
IMAGES = {
    "images": [
        {"nodes": 9, "names": ["docker.io/library/nginx:1.27", "registry.example/shop:1.4"]},
        {"nodes": 2, "names": ["docker.io/library/nginx:1.26"]},
        {"nodes": 1, "names": []},
    ],
    "total": 3,
}
Complete = Callable[..., list[str]]
SETS = [a_set(), a_set(name="db")]


def targets(*names: str, total: int | None = None) -> Answer:
    found = [{"target": name, "nodes": 2, "ready": 1} for name in names]
    return Answer({"targets": found, "total": total or len(found)})


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shape of the command line has been kept."""
    place = tmp_path_factory.mktemp("read")
    settings = {VARIABLE: "zsh", "XDG_CACHE_HOME": str(place)}
    assert Here(place, settings)("pul").stdout.startswith("plain\npull")
    return place / "towline"


@pytest.fixture
def cache(tmp_path: Path, read: Path) -> Path:
    shutil.copytree(read, tmp_path / "cache" / "towline")
    return tmp_path / "cache" / "towline"


@pytest.fixture
def complete(state: Path, cache: Path, controller: StubController) -> Complete:
    """Completes the last of some words, and checks that nothing is said."""
    controller.answers["GET /target"] = targets("group:web", "group:web.dev", "web-01", "web-02")
    controller.answers["GET /job"] = Answer(JOBS)
    controller.answers["GET /image"] = Answer(IMAGES)
    controller.answers["GET /set"] = Answer({"sets": SETS, "total": len(SETS)})
    home = state.parent / "config"
    (home / "towline" / "contexts").mkdir(parents=True)
    prod = home / "towline" / "contexts" / "prod.json"
    prod.write_text(json.dumps({"url": controller.url, "token": "of.the.context"}))
    prod.chmod(0o600)

    def complete(*words: str, token: str = "a.b.c", **env: str) -> list[str]:
        settings = {"TOWLINE_URL": controller.url, "TOWLINE_TOKEN": token, VARIABLE: "zsh"}
        settings[OTHER_LIMIT] = "60"
        homes = {"XDG_CACHE_HOME": str(cache.parent), "XDG_CONFIG_HOME": str(home)}
        done = Here(state, settings | homes | env)(*words)
        assert (done.status, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return complete


def first_words(lines: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in lines[1:]]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["node", "dr"], ["drain"]),
        (["nodes", "dr"], ["drain"]),
        (["pul"], ["pull"]),
        (["nod"], ["node", "nodes"]),
        (["vers"], ["version"]),
        (["nodes", "--not"], ["--not-ready"]),
        (["nodes", "-o", "js"], ["json"]),
        (["help", "docker", "pu"], ["pull"]),
        (["job", "0123456789ab", "--all-n"], ["--all-nodes"]),
        (["pull", "--", "--on"], []),
        (["docker", "pull", "--poli"], ["--policy"]),
        (["pull", "--policy", "m"], ["missing"]),
        (["pull", "--on", "web"], ["web-01", "web-02"]),
        (["pull", "nginx", "--on", "group:web,!group:web.d"], ["group:web,!group:web.dev"]),
        (["pull", "nginx", "--on", "web-01;_a"], ["web-01;_all", "web-01;_any"]),
        (["pull", "--on=web-02"], ["--on=web-02"]),
        (["drain", "w"], ["web-01", "web-02"]),
        (["node", "show", ""], ["web-01", "web-02"]),
        (["cancel", ""], ["0123456789ab"]),
        (["job", "show", "019ace90-"], [JOB]),
        (["job", "list", "--operation", "docker.p"], ["docker.pull"]),
        (["image", "where", "ng"], ["nginx:1.27", "nginx:1.26"]),
        (["ensure", "ng"], ["nginx:1.27", "nginx:1.26"]),
        (["set", "show", "group"], ["group-web"]),
        (["set", "remove", "group-web", "d"], ["db"]),
        (["ensure", "nginx", "--set", ""], ["group-web", "db"]),
        (["image", "show", "docker.io/library/nginx:1.2"], [f"{NGINX}:1.27", f"{NGINX}:1.26"]),
        (["image", "list", "registry"], ["registry.example/shop:1.4"]),
        (["pull", "nginx:1.27", "reg"], ["registry.example/shop:1.4"]),
        (["context", "use", "pr"], ["prod"]),
        (["pull", "--context", "l"], ["local"]),
        (["nothing", "x"], []),
        (["pull", "--on", "web-01", "--on", "web-01", "--on", "nobody"], []),
    ],
    ids=" ".join,
)
def test_a_word_becomes_what_may_stand_there(
    complete: Complete, words: list[str], found: list[str]
) -> None:
    lines = complete(*words)
    assert first_words(lines) == found


def test_of_a_repository_its_tags_are_asked_for(
    complete: Complete, controller: StubController
) -> None:
    complete("image", "where", "registry.example:5000/shop:1.")
    complete("image", "where", "registry.example:5000/sh")
    queries = [each.query for each in controller.asked]
    assert queries == [
        "limit=1000&reference=registry.example%3A5000/shop",
        "limit=1000",
    ]


def test_the_controller_is_the_one_that_the_command_would_ask(
    complete: Complete, controller: StubController
) -> None:
    none = {"TOWLINE_URL": "", "TOWLINE_TOKEN": ""}
    assert first_words(complete("pull", "--on", "web-01", **none)) == []
    found = complete("pull", "--context", "prod", "--on", "web-01", **none)
    assert first_words(found) == ["web-01"]
    assert controller.asked[0].headers["authorization"] == "Bearer of.the.context"


def test_what_is_said_of_a_word_stands_behind_it(complete: Complete) -> None:
    assert complete("pull", "--on", "web-01") == ["plain", "web-01 2 nodes, 1 here"]
    assert complete("image", "where", "registry") == ["plain", "registry.example/shop:1.4 on 9"]
    (_, job) = complete("cancel", "")
    assert job == "0123456789ab failed docker.pull nginx:1.27 on _all"


@pytest.mark.parametrize(("option", "kind"), [("--tls-cert", "file"), ("--state", "dir")])
def test_files_and_directories_are_the_shells_to_complete(
    complete: Complete, option: str, kind: str
) -> None:
    assert complete("controller", option, "/et") == [kind]


def test_what_would_mean_something_to_a_shell_is_left_out(
    complete: Complete, controller: StubController
) -> None:
    hostile = ["$(id)", "`id`", "a;id", "a b", "a\nb", "a*", "a'b", "~root", "a\x1b[2J", "a&b"]
    controller.answers["GET /target"] = targets(*(f"group:{each}" for each in hostile), "group:ok")
    assert first_words(complete("pull", "--on", "group:")) == ["group:ok"]
    said = JOBS["items"][0] | {"target": "a\x1b[2J\tb"}
    controller.answers["GET /job"] = Answer({"items": [said]})
    assert complete("cancel", "")[1].endswith("on a\\x1b[2J\\tb")


def test_an_answer_is_kept_for_this_user_and_this_token_alone(
    complete: Complete, controller: StubController, cache: Path
) -> None:
    for _ in range(3):
        complete("pull", "--on", "w")
    assert [asked.path for asked in controller.asked] == ["/target"]
    assert controller.asked[0].headers["authorization"] == "Bearer a.b.c"
    (kept,) = cache.glob("names-*")
    assert (cache.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)
    assert "a.b.c" not in kept.name + kept.read_text()
    controller.answers["GET /target"] = Answer({}, 403)
    assert first_words(complete("pull", "--on", "w", token="d.e.f")) == []


def test_no_token_is_sent_in_the_open_to_what_should_encrypt(
    complete: Complete, controller: StubController
) -> None:
    for url in (controller.url.replace("http", "HTTPS"), controller.url.replace("http", "ftp")):
        assert first_words(complete("pull", "--on", "w", TOWLINE_URL=url)) == []
    assert not controller.asked


def aged(cache: Path, seconds: float) -> None:
    for place in cache.glob("names-*"):
        found = json.loads(place.read_text())
        place.write_text(json.dumps(found | {"at": found["at"] - seconds}))


def test_what_was_kept_is_used_while_the_controller_is_away_and_forgotten_when_it_refuses(
    complete: Complete, controller: StubController, cache: Path
) -> None:
    complete("pull", "--on", "w")
    aged(cache, 60)
    controller.answers["GET /target"] = Answer({}, 500)
    assert first_words(complete("pull", "--on", "w")) == []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (place,) = cache.glob("names-*")
        silently = {"TOWLINE_URL": url, OTHER_LIMIT: "0.1"}
        assert first_words(complete("pull", "--on", "w", **silently)) == []
        assert [*cache.glob("names-*")] == [place]
    controller.answers["GET /target"] = Answer("<html>")
    assert first_words(complete("pull", "--on", "w")) == []
    controller.answers["GET /target"] = Answer({}, 401)
    assert first_words(complete("pull", "--on", "w")) == []
    assert [*cache.glob("names-*")] == []


def test_a_controller_that_is_away_leaves_what_was_answered_in_the_last_hour(
    complete: Complete, cache: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with StubController() as stub:
        stub.answers["GET /target"] = targets("web-09")
        where = {"TOWLINE_URL": stub.url}
        assert first_words(complete("pull", "--on", "w", **where)) == ["web-09"]
    aged(cache, 60)
    assert first_words(complete("pull", "--on", "w", **where)) == ["web-09"]
    aged(cache, 3600)
    assert first_words(complete("pull", "--on", "w", **where)) == []


def test_what_was_kept_for_too_long_is_removed_and_with_a_logout_what_a_token_was_told(
    complete: Complete, controller: StubController, cache: Path, tmp_path: Path
) -> None:
    none = {"TOWLINE_URL": "", "TOWLINE_TOKEN": "", "TOWLINE_CONTEXT": "prod"}
    (cache / "names-old").write_text("{}")
    os.utime(cache / "names-old", (1, 1))
    homes = {"XDG_CACHE_HOME": str(cache.parent), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    for command in (["logout", "prod"], ["context", "remove", "prod"]):
        prod = tmp_path / "config" / "towline" / "contexts" / "prod.json"
        prod.write_text(json.dumps({"url": controller.url, "token": "of.the.context"}))
        complete("pull", "--on", "w")
        complete("pull", "--on", "w", **none)
        complete("cancel", "", **none)
        assert len([*cache.glob("names-*")]) == 3
        assert Here(tmp_path / "state", homes)(*command).status == 0
        assert len([*cache.glob("names-*")]) == 1


def test_a_name_that_would_be_an_option_is_left_out(
    complete: Complete, controller: StubController
) -> None:
    controller.answers["GET /target"] = targets("--help", "-x", "web-01")
    assert first_words(complete("node", "show", "")) == ["web-01"]


def test_where_there_are_many_names_each_beginning_is_asked_for(
    complete: Complete, controller: StubController
) -> None:
    controller.answers["GET /target"] = targets("web-01", total=5000)
    for typed in ("w", "w", "we"):
        complete("pull", "--on", typed)
    assert [asked.query for asked in controller.asked] == [
        "limit=1000&prefix=w",
        "limit=1000&prefix=we",
    ]


@pytest.mark.parametrize(
    "env",
    [
        {"TOWLINE_CONFIG": "/nowhere"},
        {"TOWLINE_URL": "http://[::1"},
        {"TOWLINE_URL": "nothing"},
        {"XDG_CACHE_HOME": "/proc/nowhere"},
        {"TOWLINE_URL": "https://127.0.0.1:1", "TOWLINE_CA": "/nowhere"},
        {VARIABLE: "another"},
        {VARIABLE: "bash"},
    ],
    ids=str,
)
def test_nothing_is_said_whatever_is_wrong(complete: Complete, env: dict[str, str]) -> None:
    assert first_words(complete("pull", "--on", "zz", **env)) == []


@pytest.mark.parametrize(
    ("line", "words", "word", "kept"),
    [
        ("towline ", ["towline"], "", ""),
        ("towline  nod", ["towline"], "nod", "nod"),
        ("towline --on group:we", ["towline", "--on"], "group:we", "we"),
        ("towline --on=we", ["towline"], "--on=we", "we"),
        ("towline --on 'a:b;c", ["towline", "--on"], "a:b;c", "a:b;c"),
        ('towline "a b" "c', ["towline", "a b"], "c", "c"),
        ("towline a:b\\;c", ["towline"], "a:b;c", "b\\;c"),
        ("towline '' x", ["towline", ""], "x", "x"),
    ],
)
def test_a_line_is_parted_as_a_shell_does(
    line: str, words: list[str], word: str, kept: str
) -> None:
    typed = Typed(line, " \t\n\"'><=;|&(:")
    assert (typed.words, typed.word, typed.kept) == (words, word, kept)


def test_bash_is_given_what_it_puts_in_place_of_its_own_word(complete: Complete) -> None:
    for line, found in (
        ("towline pull --on group:web.", ["web.dev"]),
        ("towline pull --on 'group:web;web-0", ["group:web;web-01", "group:web;web-02"]),
    ):
        env = {VARIABLE: "bash", LINE: line, BREAKS: " \t\n\"'><=;|&(:"}
        assert complete(**env)[1:] == found


def test_each_shell_has_its_script(towline: Here) -> None:
    for shell in SCRIPTS:
        done = towline("completion", shell)
        assert (done.status, done.stderr) == (0, "")
        assert f"{VARIABLE}" in done.stdout
    assert towline("completion", "tcsh").status == 2
