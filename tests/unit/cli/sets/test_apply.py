"""`towline apply`: files of sets, checked first, shown first, and then declared."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Here
from tests.unit.cli.sets.made_sets import SET, a_set, an_image
from tests.unit.stub import Answer, StubController

WEB = "name: group-web\ntarget: group:web\nimages:\n  - nginx:1.27\n"
DB = "name: db\ntarget: group:db\nimages: [postgres:17]\n"
SCHEMA = Path(__file__).parents[4] / "docs" / "set.schema.json"
CHANGED = Answer({"error": "It was changed meanwhile.", "details": "", "code": 412}, 412)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with two sets in one file, and with what is none of the files that are read."""
    folder = tmp_path / "fleet"
    (folder / "more" / ".git").mkdir(parents=True)
    (folder / "more" / "web.yaml").write_text(f"{WEB}---\n{DB}")
    (folder / "more" / ".git" / "x.yaml").write_text("no: set")
    (folder / "README.md").write_text("no: set")
    return folder


@pytest.fixture
def fleet(controller: StubController) -> StubController:
    """A controller that has an older group-web and another set, and foresees what differs."""
    old = a_set(an_image(image="docker.io/library/nginx:1.26"), source="infra")
    controller.answers |= {
        "GET /set": Answer(
            {"sets": [old, a_set(an_image(), name="other", source="elsewhere")], "total": 2}
        ),
        f"PUT {SET}": [foreseen("changed"), Answer(a_set(an_image(), source="infra"))],
        "PUT /set/db": [foreseen("created"), Answer(a_set(an_image(), name="db"), 201)],
    }
    return controller


def foreseen(result: str) -> Answer:
    foreseen = {"dry_run": True, "result": result, "generation": 2, "target": "group:web"}
    return Answer({**foreseen, "total": 4, "lacking": 3, "nodes": []})


def made(controller: StubController) -> list[Any]:
    """Return the requests that change something."""
    changes = [each for each in controller.asked if each.method != "GET"]
    return [each for each in changes if "dry_run=true" not in each.query]


def test_what_differs_is_shown_and_then_done(
    asking: Here, fleet: StubController, files: Path
) -> None:
    done = asking("apply", "-f", files, "--source", "infra")
    assert done.status == 1
    assert done.stdout.splitlines() == [
        *(
            "group-web changed: 3 of 4 nodes lack something",
            "  images:",
            "    - nginx:1.26",
            "    + nginx:1.27",
        ),
        *(
            "db created: 3 of 4 nodes lack something",
            "  target: group:db",
            "  images:",
            "    + postgres:17",
        ),
        *("  source: infra", "1 created, 1 changed"),
    ]
    web, db = made(fleet)
    assert web.headers["if-match"] == '"0199-1"'
    assert db.headers["if-none-match"] == "*"
    assert db.body == {"target": "group:db", "images": ["postgres:17"], "source": "infra"}


def test_a_dry_run_shows_the_same_and_changes_nothing(
    asking: Here, fleet: StubController, files: Path
) -> None:
    done = asking("apply", "-f", files, "--source", "infra", "--dry-run")
    assert done.status == 1
    assert "group-web would be changed" in done.stdout
    assert "dry run: 1 created, 1 changed" in done.stdout
    assert made(fleet) == []


def test_what_is_so_already_ends_with_0(asking: Here, fleet: StubController) -> None:
    fleet.answers[f"PUT {SET}"] = foreseen("unchanged")
    done = asking("apply", "-f", "-", "--source", "infra", stdin=WEB)
    assert (done.status, done.stdout) == (0, "1 unchanged\n")
    assert made(fleet) == []
    found = json.loads(
        asking("apply", "-f", "-", "--source", "infra", "-o", "json", stdin=WEB).stdout
    )
    assert found == [{"name": "group-web", "result": "unchanged", "differences": []}]


def test_prune_removes_what_no_file_has_of_the_same_source_and_nothing_else(
    asking: Here, fleet: StubController
) -> None:
    fleet.answers["DELETE /set/group-web"] = Answer("", 204)
    done = asking("apply", "-f", "-", "--source", "infra", "--prune", stdin=DB)
    assert done.status == 1
    assert [(each.method, each.path) for each in made(fleet)] == [
        ("PUT", "/set/db"),
        ("DELETE", SET),
    ]
    assert made(fleet)[1].headers["if-match"] == '"0199-1"'
    assert "group-web removed" in done.stdout
    assert "other" not in done.stdout


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (Answer({"error": "There is no set.", "details": "", "code": 404}, 404), 1, ""),
        (CHANGED, 2, "The set group-web was changed meanwhile, and is not removed.\n  1 of 2 sets"),
    ],
    ids=["gone", "changed"],
)
def test_what_somebody_else_did_to_a_set_is_not_removed_unseen(
    asking: Here, fleet: StubController, answer: Answer, status: int, words: str
) -> None:
    fleet.answers[f"DELETE {SET}"] = answer
    done = asking("apply", "-f", "-", "--source", "infra", "--prune", stdin=DB)
    assert done.status == status
    assert words in done.stderr


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["done", "dry"])
def test_what_may_not_be_removed_is_refused_before_anything_is_changed(
    asking: Here, fleet: StubController, more: list[str]
) -> None:
    refused = {"error": "This needs docker:write.", "details": "", "code": 403}
    fleet.answers[f"PUT {SET}"] = Answer(refused, 403)
    done = asking("apply", "-f", "-", "--source", "infra", "--prune", *more, stdin=DB)
    assert done.status == 2
    assert "the set group-web, which no file has, can't be removed: This needs" in done.stderr
    assert made(fleet) == []


def test_what_could_not_be_declared_today_is_removed_all_the_same(
    asking: Here, fleet: StubController
) -> None:
    fleet.answers[f"PUT {SET}"] = Answer({"error": "No.", "details": "", "code": 409}, 409)
    fleet.answers[f"DELETE {SET}"] = Answer("", 204)
    assert asking("apply", "-f", "-", "--source", "infra", "--prune", stdin=DB).status == 1
    assert [each.method for each in made(fleet)] == ["PUT", "DELETE"]


def test_links_are_followed_and_each_directory_is_read_once(
    asking: Here, fleet: StubController, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "web.YAML").write_text(WEB)
    (files / "more" / "web.yaml").write_text(DB)
    (files / "shared").symlink_to(tmp_path / "shared")
    (files / "again").symlink_to(tmp_path / "shared")
    (files / "more" / "round").symlink_to(files)
    done = asking("apply", "-f", files, "--source", "infra", "--prune", "--dry-run")
    assert (done.status, done.stderr) == (1, "")
    assert "dry run: 1 created, 1 changed" in done.stdout


@pytest.mark.parametrize("name", ["db.yaml", "db"])
def test_a_link_that_leads_nowhere_is_refused(
    asking: Here, fleet: StubController, files: Path, name: str
) -> None:
    (files / name).symlink_to("../missing")
    done = asking("apply", "-f", files, "--source", "infra")
    assert done.status == 2
    assert f"{name} is a link to ../missing, which can't be read: No such file" in done.stderr
    assert fleet.asked == []


def test_a_directory_that_can_not_be_read_is_refused(
    asking: Here, fleet: StubController, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read all, so that no mode of a directory would do.
    listed = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("more"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    (files / "db.yaml").write_text(DB)
    done = asking("apply", "-f", files, "--source", "infra", "--prune")
    assert done.status == 2
    assert "more can't be read: Permission denied" in done.stderr
    assert fleet.asked == []


@pytest.mark.parametrize("name", ["db.yaml", "notes.txt"])
def test_prune_refuses_a_file_and_a_directory_without_a_set(
    asking: Here, fleet: StubController, files: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / name).write_text("# A template that failed.\n")
    given = ("apply", "-f", files, "-f", tmp_path / "empty", "--source", "infra")
    done = asking(*given, "--prune")
    assert done.status == 2
    assert f"There is no set in {tmp_path / 'empty'}" in done.stderr
    assert fleet.asked == []
    assert asking(*given).status == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WEB, "none is named"),
        (f"{WEB}source: a\n---\n{DB}source: b\n", "the files have several"),
        ("", "There is no set in standard input"),
    ],
    ids=["none", "several", "empty"],
)
def test_prune_needs_one_source_and_a_set(
    asking: Here, fleet: StubController, text: str, words: str
) -> None:
    done = asking("apply", "-f", "-", "--prune", stdin=text)
    assert done.status == 2
    assert words in done.stderr
    assert fleet.asked == []


def test_a_set_of_another_source_is_left_alone(asking: Here, fleet: StubController) -> None:
    done = asking("apply", "-f", "-", "--source", "mine", stdin=WEB)
    assert done.status == 2
    assert "is of the source 'infra'" in done.stderr
    assert "--source infra" in done.stderr
    assert "remove" not in done.stderr
    assert made(fleet) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{WEB}evry: 15m\n", "line 5: a set has no field `evry`. Did you mean every?"),
        (f"{WEB}every: 15\n", "line 5: "),
        (f"{WEB}  - image: redis:7\n    platfrom: x\n", "line 6: "),
        (
            f"{WEB}---\n{DB}---\n{WEB}",
            "line 10: the set group-web stands in standard input, line 1",
        ),
        (f"{WEB}  - 'redis:'\n", "line 5: 'redis:' is not an image reference"),
        (f"{WEB}window: never\n", "line 5: `window`: "),
        (f"{WEB}source: other\n", "line 5: `source` is 'other' here, and --source is 'infra'"),
        ("target: a\nimages: [x]\n", "line 1: the set has no `name`"),
        ("- nginx\n", "line 1: a set is a mapping"),
        (f"{WEB}window: [\n", "line 6: this is no YAML"),
    ],
    ids=["field", "type", "within", "twice", "image", "window", "source", "name", "list", "yaml"],
)
def test_a_mistake_is_named_by_file_and_line_before_anything_is_asked(
    asking: Here, fleet: StubController, text: str, place: str
) -> None:
    done = asking("apply", "-f", "-", "--source", "infra", stdin=text)
    assert done.status == 2
    assert f"standard input, {place}" in done.stderr
    assert fleet.asked == []


def test_all_mistakes_are_named_at_once(asking: Here, files: Path) -> None:
    (files / "z.yml").write_text(DB.replace("db", "db2").replace("images", "image"))
    (files / "more" / "web.yaml").write_text(WEB.replace("target", "tagret"))
    done = asking("apply", "-f", files)
    assert "web.yaml, line 2" in done.stderr
    assert "z.yml, line 3" in done.stderr


def test_what_the_controller_refuses_has_its_place_and_nothing_is_done(
    asking: Here, fleet: StubController, files: Path
) -> None:
    refused = {"error": "The set x wants another digest of nginx:1.27.", "details": "", "code": 409}
    fleet.answers[f"PUT {SET}"] = Answer(refused, 409)
    done = asking("apply", "-f", files, "--source", "infra")
    assert done.status == 2
    assert "web.yaml, line 1: The set x wants another digest" in done.stderr
    assert made(fleet) == []


def test_what_is_changed_meanwhile_is_shown_anew_before_it_is_done(
    asking: Here, fleet: StubController
) -> None:
    theirs = a_set(an_image(image="docker.io/library/nginx:1.25"), source="infra", generation=2)
    fleet.answers[f"GET {SET}"] = Answer(theirs)
    ours = Answer(a_set(an_image(), source="infra"))
    fleet.answers[f"PUT {SET}"] = [foreseen("changed"), CHANGED, ours]
    done = asking("apply", "-f", "-", "--source", "infra", stdin=WEB)
    assert done.status == 1
    assert "    - nginx:1.25" in done.stdout.partition("changed meanwhile")[2]
    assert [each.headers["if-match"] for each in made(fleet)] == ['"0199-1"', '"0199-2"']


def test_the_schema_that_is_printed_is_the_one_in_the_documentation(towline: Here) -> None:
    printed = towline("apply", "--schema")
    assert printed.status == 0
    assert printed.stdout == SCHEMA.read_text(), "towline apply --schema > docs/set.schema.json"
