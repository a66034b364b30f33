"""`towline trust rotate jobs` takes no step that a node which is here can't follow."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.testing.command import Finished, failed
from tests.testing.signing import OTHER_SEED, SEED
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController
from towline.trust.job_keys import JOBS_KEY, load_signer
from towline.trust.signing import Signer, kid_of

OLD, NEW = (kid_of(Signer([seed]).public[0]) for seed in (SEED, OTHER_SEED))


@pytest.fixture
def path(state: Path) -> Path:
    """The file of a controller that has no trust directory, with one key."""
    state.mkdir(mode=0o700)
    path = state / JOBS_KEY
    path.touch(0o600)
    path.write_text(f"{SEED.hex()}\n")
    return path


def says(controller: StubController, keys: Sequence[str], *behind: str, of: int = 0) -> None:
    """Have a controller say which keys it has, and which of 40 nodes don't know them."""
    found = {"kind": "jobs", "keys": keys, "behind": behind, "nodes_behind": of or len(behind)}
    controller.answers["GET /trust"] = Answer({"kinds": [found], "nodes_here": 40})


def rotate(towline: Here, *flags: str) -> Finished:
    return towline("trust", "rotate", "jobs", *flags)


def kids(path: Path) -> list[str]:
    return [kid_of(key) for key in load_signer(path, create=False).public]


def test_a_new_key_is_known_then_signs_then_the_old_one_only_verifies(
    asking: Here, controller: StubController, path: Path
) -> None:
    done = rotate(asking)
    assert (done.status, controller.asked) == (0, [])
    assert "copy jobs.pub" in done.stdout
    old, new = kids(path)
    assert old == OLD
    says(controller, [OLD, new])
    assert rotate(asking).status == 0
    assert kids(path) == [new, OLD]
    says(controller, [new, OLD])
    assert "Removed one older key from" in rotate(asking, "--retire").stdout
    assert kids(path) == [new]
    says(controller, [new])
    assert "there is none to remove" in rotate(asking, "--retire").stdout
    assert load_signer(path, create=False).retired == Signer([SEED]).public
    assert SEED.hex() not in path.read_text()
    # What was retired stays with the next one.
    assert rotate(asking).status == 0
    assert load_signer(path, create=False).retired == Signer([SEED]).public


@pytest.mark.parametrize("flags", [(), ("--retire",)])
def test_a_step_is_refused_while_a_node_that_is_here_lacks_a_key(
    asking: Here, controller: StubController, path: Path, flags: tuple[str, ...]
) -> None:
    mark = "" if flags else "next "
    path.write_text(f"{SEED.hex()}\n{mark}{OTHER_SEED.hex()}\n")
    says(controller, [OLD, NEW], "web-01", "web-02", of=22)
    said = failed(rotate(asking, *flags))
    assert "22 of 40 nodes that are here do not know the keys of jobs yet" in said
    assert "web-01, web-02 and 20 more" in said
    assert kids(path) == [OLD, NEW]
    assert rotate(asking, *flags, "--anyway").status == 0
    assert kids(path) != [OLD, NEW]


@pytest.mark.parametrize("keys", [[OLD], [NEW, OLD]])
def test_a_step_is_refused_while_the_controller_has_other_keys(
    asking: Here, controller: StubController, path: Path, keys: list[str]
) -> None:
    path.write_text(f"{SEED.hex()}\nnext {OTHER_SEED.hex()}\n")
    says(controller, keys)
    said = failed(rotate(asking))
    assert f"The controller at {controller.url} has not the keys that" in said
    assert "Copy the file to all other controllers" in said
    assert kids(path) == [OLD, NEW]


def test_a_step_is_refused_where_no_controller_says_who_lacks_a_key(
    towline: Here, asking: Here, controller: StubController, path: Path
) -> None:
    path.write_text(f"{SEED.hex()}\nnext {OTHER_SEED.hex()}\n")
    for nobody, why in ((towline, "No controller is named"), (asking, "nothing here")):
        said = failed(rotate(nobody))
        assert "No controller says which nodes know the keys of jobs" in said
        assert why in said
        assert "--anyway" in said
    assert kids(path) == [OLD, NEW]
    assert rotate(towline, "--anyway").status == 0
    assert kids(path) == [NEW, OLD]


def test_status_says_whom_the_next_step_waits_for_and_where_nobody_answers(
    towline: Here, asking: Here, controller: StubController
) -> None:
    says(controller, [OLD])
    assert asking("trust", "status").stdout.startswith(f"At the controller {controller.url}")
    assert towline("trust", "init").status == 0
    said = towline("trust", "status").stdout
    assert "No controller says which keys it has: No controller is named" in said
    says(controller, [OLD, NEW], "web-01", of=2)
    said = " ".join(asking("trust", "status").stdout.split())
    assert f"jobs {OLD}, {NEW} 2 of 40 nodes" in said
    assert "do not know these yet: web-01 and 1 more" in said
