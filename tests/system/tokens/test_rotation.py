"""The keys of tokens and of credentials are replaced at two controllers while they are asked."""

import contextlib
import threading
from collections.abc import Iterator

import httpx
import jwt
import pytest

from tests.testing.cluster import WEB_1, Cluster, NodePlan
from tests.testing.command import CommandLine
from tests.testing.process import TowlineProcess, wait_until

HOST = "registry.example:5000"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, and two controllers that read the same files with keys."""
    with Cluster(tmp_path_factory.mktemp("rotation"), [NodePlan(WEB_1)]) as cluster:
        cluster.add_controller()
        yield cluster


def urls(fleet: Cluster) -> list[str]:
    return [fleet.url, *(str(each.base_url) for each in fleet.others)]


def status(url: str, token: str, path: str = f"/node/{WEB_1}/load") -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{url.rstrip('/')}{path}", headers=headers, timeout=60).status_code


@contextlib.contextmanager
def asked_all_the_while(fleet: Cluster, token: str) -> Iterator[None]:
    """Ask a node, by both controllers in turn, while the block goes on: each time it answers."""
    over = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(headers=headers, timeout=60) as client:
            while not over.wait(0.05):
                for url in urls(fleet):
                    path = f"{url.rstrip('/')}/node/{WEB_1}/load"
                    answers.append(client.get(path).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert len(answers) > 1
    assert set(answers) == {200}


def rotate(fleet: Cluster, *steps: tuple[str, ...]) -> None:
    """Take steps, and wait until both controllers have read again what was changed."""
    controllers = [fleet.controller, *fleet.controllers]
    before = [each.stderr.count("keys read again") for each in controllers]
    for step in steps:
        state = fleet.directory / "controller"
        done = CommandLine(fleet.directory)("trust", "rotate", *step, "--state", state)
        assert done.status == 0, done
    for each, seen in zip(controllers, before, strict=True):

        def read(each: TowlineProcess = each, seen: int = seen) -> bool:
            return each.stderr.count("keys read again") == seen + len(steps)

        each.wait_for(read, what="keys that are read again")


def made(fleet: Cluster, token: str) -> str:
    """Return a token that a controller makes."""
    answer = httpx.post(
        f"{fleet.url}/token",
        json={"subject": "newer", "roles": ["admin"]},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    found: str = answer.raise_for_status().json()["token"]
    return found


def test_no_request_fails_and_what_was_kept_is_read_with_the_new_keys(fleet: Cluster) -> None:
    old = fleet.token("admin")
    kept = fleet.admin.put(f"/registry/{HOST}", json={"username": "a", "password": "b"})
    assert kept.status_code == 201
    with asked_all_the_while(fleet, old):
        rotate(fleet, ("tokens",), ("credentials",))
        assert jwt.get_unverified_header(made(fleet, old)) == jwt.get_unverified_header(old)
        rotate(fleet, ("tokens",), ("credentials",))
        new = made(fleet, old)
        assert jwt.get_unverified_header(new) != jwt.get_unverified_header(old)
        assert [status(url, new) for url in urls(fleet)] == [200, 200]
        processes = [fleet.controller, *fleet.controllers]
        wait_until(
            lambda: any("credentials locked anew" in each.stderr for each in processes),
            what="credentials that are locked anew",
        )
        rotate(fleet, ("credentials", "--retire"))
    with asked_all_the_while(fleet, new):
        rotate(fleet, ("tokens", "--retire"))
        assert [status(url, old) for url in urls(fleet)] == [401, 401]
        headers = {"Authorization": f"Bearer {new}"}
        for url in urls(fleet):
            answer = httpx.get(f"{url.rstrip('/')}/registry/{HOST}", headers=headers)
            assert answer.json()["readable"] is True
