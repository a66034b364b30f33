"""`towline ensure`: what it declares, what it waits for, and how it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.cli.conftest import Here
from tests.unit.cli.sets.made_sets import (
    AGENT,
    DIGEST,
    NGINX,
    OTHER,
    SET,
    a_set,
    an_image,
    fleet,
    nodes,
)
from tests.unit.stub import Answer, StubController
from towline.cli.interrupt import SIGNALS

REFUSED_CHANGED = Answer({"error": "It was changed meanwhile.", "details": "", "code": 412}, 412)
EARLIER = "2025-12-31T23:59:59Z"
NONE = Answer({"error": "There is no set 'group-web'.", "details": "", "code": 404}, 404)


@pytest.fixture
def web(controller: StubController) -> StubController:
    """A controller that has no set of group:web at first, and one that is converged afterwards."""
    controller.answers |= {
        f"GET {SET}": [NONE, Answer(a_set(an_image(converged=1)))],
        f"PUT {SET}": Answer(a_set(an_image()), 201),
        f"GET {SET}/nodes": nodes({"state": "converged"}),
        "GET /agent": fleet({}),
    }
    return controller


def put(controller: StubController) -> list[Any]:
    return [each for each in controller.asked if each.method == "PUT"]


def test_the_set_of_the_target_is_declared_and_its_nodes_are_waited_for(
    asking: Here, web: StubController
) -> None:
    done = asking("ensure", "nginx:1.27", "--on", "group:web")
    assert (done.status, put(web)[0].body) == (0, {"target": "group:web", "images": ["nginx:1.27"]})
    assert put(web)[0].headers["if-none-match"] == "*"
    assert "set group-web is declared for group:web" in done.stderr
    assert "web-01" in done.stdout
    assert DIGEST[:19] in done.stdout


def test_what_the_set_has_of_the_same_repository_is_replaced_and_all_else_stays(
    asking: Here, web: StubController
) -> None:
    before = a_set(
        an_image(image="docker.io/library/redis:7"),
        an_image(image="docker.io/library/nginx:1.26"),
        an_image(image="docker.io/library/postgres:17"),
        an_image(image="docker.io/library/nginx:1.25", platform="linux/arm64"),
        **{"generation": 4, "keep": 2, "options": {"canary": "1"}, "every": "1h"},
    )
    after = a_set(*before["images"][:3:2], an_image(converged=1), generation=5)
    web.answers[f"GET {SET}"] = [Answer(before), Answer(after)]
    web.answers[f"PUT {SET}"] = Answer(after)
    done = asking("ensure", "nginx:1.27", "--on", "group:web", "--max-parallel", "10%")
    assert done.status == 0
    assert put(web)[0].headers["if-match"] == '"0199-4"'
    body = put(web)[0].body
    assert body["images"] == [
        "docker.io/library/redis:7",
        "nginx:1.27",
        "docker.io/library/postgres:17",
    ]
    assert (body["keep"], body["every"]) == (2, "1h")
    assert body["options"] == {"canary": "1", "max_parallel": "10%"}


def test_images_are_read_from_a_file_too(asking: Here, web: StubController) -> None:
    redis = an_image(image="docker.io/library/redis:7", converged=1)
    web.answers |= {
        f"GET {SET}": [NONE, Answer(a_set(an_image(converged=1), redis))],
        f"PUT {SET}": Answer(a_set(an_image(), redis), 201),
    }
    done = asking(
        *("ensure", "nginx:1.27", "-f", "-", "--on", "group:web"),
        stdin="# what all need\nredis:7  # the cache\n\nnginx:1.27\n",
    )
    assert done.status == 0, done.stderr
    assert put(web)[0].body["images"] == ["nginx:1.27", "redis:7"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "There is no IMAGE in"), ("redis:7\nA B\n", "line 2: 'A B' is not an image reference")],
    ids=["empty", "no-reference"],
)
def test_a_file_that_can_not_be_meant_is_refused_with_its_line(
    asking: Here, web: StubController, text: str, words: str
) -> None:
    done = asking("ensure", "-f", "-", "--on", "group:web", stdin=text)
    assert done.status == 2
    assert words in done.stderr
    assert put(web) == []


def test_of_a_set_with_others_only_the_nodes_of_what_is_waited_for_are_asked_for(
    asking: Here, web: StubController
) -> None:
    redis = an_image(image="docker.io/library/redis:7")
    web.answers |= {
        f"GET {SET}": [Answer(a_set(redis)), Answer(a_set(redis, an_image(converged=1)))],
        f"PUT {SET}": Answer(a_set(redis, an_image())),
    }
    assert asking("ensure", "nginx:1.27", "--on", "group:web").status == 0
    queries = {each.query for each in web.asked if each.path == f"{SET}/nodes"}
    assert queries
    assert all("image=docker.io%2Flibrary%2Fnginx%3A1.27" in query for query in queries)


def test_what_somebody_else_declares_meanwhile_is_not_lost(
    asking: Here, web: StubController
) -> None:
    theirs = a_set(an_image(image="docker.io/library/redis:7"), generation=7)
    ours = a_set(*theirs["images"], an_image(converged=1), generation=8)
    web.answers[f"GET {SET}"] = [NONE, Answer(theirs), Answer(ours)]
    web.answers[f"PUT {SET}"] = [REFUSED_CHANGED, Answer(ours)]
    assert asking("ensure", "nginx:1.27", "--on", "group:web").status == 0
    first, second = put(web)
    assert first.headers["if-none-match"] == "*"
    assert second.headers["if-match"] == '"0199-7"'
    assert second.body["images"] == ["docker.io/library/redis:7", "nginx:1.27"]


@pytest.mark.parametrize(
    ("node", "member", "status"),
    [
        ({"state": "converged"}, {}, 0),
        ({"state": "failed", "error": "manifest unknown"}, {}, 1),
        ({"state": "conflict", "reason": "the set db, which is older, wants another"}, {}, 3),
        ({"state": "missing", "here": False, "reason": "not reachable since …"}, {}, 4),
        ({"state": "missing", "reason": "this node has no docker"}, {}, 3),
        ({"state": "missing", "reason": "drained since …"}, {"drained_at": AGENT["started_at"]}, 3),
        ({"state": "missing", "reason": "refused"}, {"troubles": {"docker": "refused"}}, 4),
    ],
    ids=lambda each: str(each.get("reason", each) if isinstance(each, dict) else each)[:24],
)
def test_each_end_of_a_node_is_one_as_of_a_pull(
    asking: Here,
    web: StubController,
    node: dict[str, Any],
    member: dict[str, Any],
    status: int,
) -> None:
    web.answers[f"GET {SET}/nodes"] = nodes(node)
    web.answers["GET /agent"] = fleet(member)
    done = asking("ensure", "nginx:1.27", "--on", "group:web")
    assert done.status == status
    for words in (node.get("error"), node.get("reason")):
        assert words is None or words in done.stdout


def test_a_tag_that_names_nothing_ends_the_waiting_in_its_words(
    asking: Here, web: StubController
) -> None:
    problem = "manifest unknown: no tag 9.9"
    image = an_image(current=None, unknown=1, problem=problem)
    web.answers[f"GET {SET}"] = [NONE, Answer(a_set(image))]
    web.answers[f"GET {SET}/nodes"] = nodes({"state": "unknown", "reason": problem})
    done = asking("ensure", "nginx:1.27", "--on", "group:web")
    assert done.status == 1
    assert problem in done.stdout


def test_a_rollout_that_is_stopped_ends_the_waiting(asking: Here, web: StubController) -> None:
    image = an_image(next=OTHER, converged=1, failed=1, stopped="web-02 failed as the canary")
    web.answers[f"GET {SET}"] = [NONE, Answer(a_set(image))]
    failed = {"hostname": "web-02", "machine_id": "m2", "state": "failed", "error": "no space left"}
    web.answers[f"GET {SET}/nodes"] = nodes({"state": "converged"}, failed)
    done = asking("ensure", "nginx:1.27", "--on", "group:web")
    assert done.status == 1
    for words in ("1 failed, 1 cancelled", "web-02 failed as the canary", "no space left"):
        assert words in done.stdout


def test_it_waits_while_a_job_brings_the_image(asking: Here, web: StubController) -> None:
    web.answers[f"GET {SET}/nodes"] = [
        nodes({"state": "missing", "job": "0199c5a0-7d3e-7abc-8def-000000000001"}),
        nodes({"state": "converged"}),
    ]
    web.answers[f"GET {SET}"] = [
        *(NONE, Answer(a_set(an_image(missing=1)))),
        Answer(a_set(an_image(converged=1))),
    ]
    assert asking("ensure", "nginx:1.27", "--on", "group:web").status == 0
    assert len([each for each in web.asked if each.path == f"{SET}/nodes"]) > 1
    assert asking("ensure", "nginx:1.27", "--on", "group:web", "-q").stdout == "group-web\n"


def test_nobody_waits_for_nodes_that_are_yet_to_come_or_for_a_set_that_is_paused(
    asking: Here, web: StubController
) -> None:
    web.answers[f"GET {SET}/nodes"] = nodes()
    for form in ([], ["-o", "json"], ["-q"]):
        done = asking("ensure", "nginx:1.27", "--on", "group:web", *form)
        assert done.status == 4
        assert "no node is group:web yet: those that come will get it\n" in done.stderr
    web.answers[f"GET {SET}/nodes"] = nodes({"state": "missing"})
    paused = a_set(an_image(missing=1), paused_at=AGENT["started_at"], paused_by="ann")
    web.answers[f"GET {SET}"] = Answer(paused)
    done = asking("ensure", "nginx:1.27", "--on", "group:web")
    assert done.status == 4
    assert "towline set resume group-web" in done.stderr


@pytest.mark.parametrize(
    ("set_now", "nodes_now", "why"),
    [
        (NONE, nodes(), "Nothing is kept to it"),
        (Answer(a_set(an_image())), NONE, "Nothing is kept to it"),
        (Answer(a_set(an_image(), id="0100")), nodes(), "There is another of that name now"),
    ],
    ids=["gone", "gone within a look", "made anew"],
)
def test_a_set_that_somebody_else_removes_ends_the_waiting(
    asking: Here, web: StubController, set_now: Answer, nodes_now: Answer, why: str
) -> None:
    web.answers[f"GET {SET}"] = [NONE, set_now]
    web.answers[f"GET {SET}/nodes"] = nodes_now
    done = asking("ensure", "nginx:1.27", "--on", "group:web")
    assert done.status == 2
    assert "The set group-web was removed by somebody else meanwhile.\n" in done.stderr
    assert why in done.stderr
    assert "goes on" not in done.stderr


def test_a_controller_that_knows_only_the_set_before_is_asked_again(
    asking: Here, web: StubController
) -> None:
    before = a_set(an_image(), id="0300", generation=3, created_at=EARLIER)
    now = a_set(an_image(converged=1))
    web.answers[f"GET {SET}"] = [NONE, Answer(before), Answer(now)]
    assert asking("ensure", "nginx:1.27", "--on", "group:web").status == 0


@pytest.mark.parametrize("form", [[], ["-q"]], ids=["people", "names"])
def test_an_image_that_somebody_else_replaces_is_waited_for_no_more(
    asking: Here, web: StubController, form: list[str]
) -> None:
    redis = an_image(image="docker.io/library/redis:7", converged=1)
    theirs = a_set(an_image(image="docker.io/library/nginx:1.28"), redis, generation=2)
    web.answers[f"GET {SET}"] = [NONE, Answer(theirs)]
    web.answers[f"PUT {SET}"] = Answer(a_set(an_image(), redis), 201)
    web.answers[f"GET {SET}/nodes"] = nodes(
        {"state": "converged", "image": "docker.io/library/nginx:1.28"},
        {"state": "converged", "image": "docker.io/library/redis:7"},
    )
    done = asking("ensure", "nginx:1.27", "redis:7", "--on", "group:web", *form)
    assert done.status == 4
    assert "somebody else has taken nginx:1.27 out of set group-web meanwhile" in done.stderr
    assert "no node is" not in done.stderr


def test_the_help_offers_no_target_that_a_set_can_not_have(towline: Here) -> None:
    printed = towline("ensure", "--help").stdout
    assert "_all" in printed
    assert "_any" not in printed


def test_a_wait_that_is_over_says_where_the_rest_is(asking: Here, web: StubController) -> None:
    web.answers[f"GET {SET}"] = [NONE, Answer(a_set(an_image(missing=1)))]
    web.answers[f"GET {SET}/nodes"] = nodes({"state": "missing"})
    done = asking("ensure", "nginx:1.27", "--on", "group:web", "--wait", "0")
    assert done.status == 4
    assert "towline set show group-web shows the rest" in done.stderr


def test_a_dry_run_shows_which_nodes_lack_what_and_declares_nothing(
    asking: Here, web: StubController
) -> None:
    node = {"hostname": "web-01", "machine_id": "m1", "here": False, "known": True}
    foreseen = {"dry_run": True, "result": "created", "generation": 1, "target": "group:web"}
    web.answers[f"PUT {SET}"] = Answer(
        {**foreseen, "total": 2, "lacking": 1, "nodes": [{**node, "lacks": [NGINX]}]}
    )
    done = asking("ensure", "nginx:1.27", "--on", "group:web", "--dry-run")
    assert (done.status, done.stderr) == (0, "")
    assert "set group-web would be created: 1 of 2 nodes lack something" in done.stdout
    assert "web-01  nginx:1.27  away" in done.stdout
    assert [each.query for each in put(web)] == ["dry_run=true"]


def test_of_many_nodes_a_dry_run_says_how_many_it_does_not_name(
    asking: Here, web: StubController
) -> None:
    node = {"hostname": "web-01", "machine_id": "m1", "here": True, "known": True}
    foreseen = {"dry_run": True, "result": "created", "generation": 1, "target": "group:web"}
    web.answers[f"PUT {SET}"] = Answer(
        {**foreseen, "total": 900, "lacking": 800, "nodes": [{**node, "lacks": [NGINX]}]}
    )
    ensure = ("ensure", "nginx:1.27", "--on", "group:web", "--dry-run")
    for form in ([], ["-q"]):
        done = asking(*ensure, *form)
        assert done.stderr == "799 more nodes lack something, and are not named\n"


@pytest.fixture
def signals() -> Iterator[None]:
    """Has signals mean afterwards what they meant before: a command ends with its process."""
    before = {each: signal.getsignal(each) for each in SIGNALS}
    # Whoever started the tests may have had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


class Interrupting(Answer):
    """An answer before which somebody presses ^C."""

    @property
    def content(self) -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        return super().content


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("route", "words"),
    [
        (f"PUT {SET}", "it is not known whether group-web was declared"),
        (f"GET {SET}/nodes", "set group-web stays declared, and Towline goes on\n"),
    ],
)
def test_an_interrupt_says_what_goes_on(
    asking: Here, web: StubController, route: str, words: str
) -> None:
    answer = web.answers[route]
    assert isinstance(answer, Answer)
    web.answers[route] = Interrupting(answer.body, answer.status)
    done = asking("ensure", "nginx:1.27", "--on", "group:web")
    assert done.status == 130
    assert words in done.stderr
    assert "  towline set show group-web" in done.stderr.replace(": ", "  ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nginx:", "--on", "group:web"], "is not an image reference"),
        (["nginx", "--on", "a:"], "is not a label"),
        (["nginx", "--on", "group:web", "--platform", "x"], "is not a platform"),
        (["nginx"], "--on"),
        (["nginx", "--set", "group-web"], "There is no set group-web."),
        (["nginx", "--on", "group:db", "--set", "shop"], "is for group:web, not for group:db"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_what_can_not_be_meant_is_refused_and_nothing_is_declared(
    asking: Here, web: StubController, arguments: list[str], words: str
) -> None:
    web.answers["GET /set/shop"] = Answer(a_set(an_image(), name="shop"))
    done = asking("ensure", *arguments)
    assert done.status == 2
    assert words in done.stderr
    assert put(web) == []


def test_a_set_that_files_have_says_that_they_take_it_back(
    asking: Here, web: StubController
) -> None:
    before = a_set(an_image(image="docker.io/library/nginx:1.26"), source="infra")
    web.answers[f"GET {SET}"] = [Answer(before), Answer(a_set(an_image(converged=1), generation=2))]
    web.answers[f"PUT {SET}"] = Answer(a_set(an_image(), generation=2))
    done = asking("ensure", "nginx:1.27", "--on", "group:web")
    assert "- nginx:1.26" in done.stderr
    assert "+ nginx:1.27" in done.stderr
    assert "applied from infra" in done.stderr
    assert NGINX.endswith("1.27")
