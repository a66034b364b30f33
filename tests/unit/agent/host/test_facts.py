"""Facts: what the machine is, and what people have written down about it."""

import os
import platform
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from towline.agent.host.facts import MOST_FILES, custom_facts, gather
from towline.wire.decoding import DEEPEST
from towline.wire.facts import LARGEST_CUSTOM, Facts, named


def written(directory: Path, **files: Any) -> tuple[dict[str, Any], list[str]]:
    """Write files of facts; return what is read, and the names of those that count for nothing."""
    for name, value in files.items():
        content = value if isinstance(value, bytes) else msgspec.json.encode(value)
        (directory / f"{name}.json").write_bytes(content)
    facts, troubles = custom_facts(directory)
    assert all(troubles.values())
    return facts, [Path(path).stem for path in troubles]


def test_the_machine_is_as_the_system_says(tmp_path: Path) -> None:
    facts = gather(tmp_path).facts
    assert (facts.architecture, facts.kernel) == (os.uname().machine, os.uname().release)
    assert facts.cpu_count == os.cpu_count()
    assert facts.distribution == platform.freedesktop_os_release()["ID"]
    assert facts.fqdn.partition(".")[0] == socket.gethostname().partition(".")[0]
    assert facts.package_manager in {"apt", "dnf", "yum", "zypper", "apk", "pacman"}
    assert facts.custom == {}


def test_the_fullest_disk_is_one_of_the_machine(tmp_path: Path) -> None:
    fullest = gather(tmp_path).fullest
    assert fullest is not None
    assert os.path.ismount(fullest.path)
    assert 0 < fullest.used <= 100


def test_a_process_in_a_container_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("container", "podman")
    assert gather(tmp_path).facts.containerized


def test_custom_facts_of_all_files_are_one_object(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        a={"rack": "r1", "site": {"city": "Oslo"}},
        b={"rack": "r2", "slots": [1, 2], "spare": True},
    )
    assert found == (
        {"rack": "r2", "site": {"city": "Oslo"}, "slots": [1, 2], "spare": True},
        [],
    )
    (tmp_path / "notes.txt").write_text("no facts")
    assert written(tmp_path) == found
    assert gather(tmp_path).facts.custom == found[0]


def test_no_directory_is_no_custom_facts(tmp_path: Path) -> None:
    assert custom_facts(tmp_path / "facts.d") == ({}, {})


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b'"rack"', b'{"a": NaN}', b'{"": "\xff"}', b'{"a b": 1}'),
        b'{"a": ' * DEEPEST + b"1" + b"}" * DEEPEST,
        b'{"a": "' + b"x" * LARGEST_CUSTOM + b'"}',
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_that_cannot_be_read_counts_for_nothing_and_the_others_for_all(
    tmp_path: Path, content: bytes
) -> None:
    found = written(tmp_path, a={"a": 1}, b=content, c={"c": 3})
    assert found == ({"a": 1, "c": 3}, ["b"])


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "directory.json").mkdir()
    (tmp_path / "nowhere.json").symlink_to(tmp_path / "nothing")
    facts, troubles = written(tmp_path, rack={"rack": "r1"})
    assert facts == {"rack": "r1"}
    assert sorted(troubles) == ["directory", "nowhere", "pipe"]


def test_all_files_together_have_a_bound(tmp_path: Path) -> None:
    half = "x" * (LARGEST_CUSTOM // 2)
    assert written(tmp_path, a={"a": half}, b={"b": half}, c={"c": 1}) == (
        {"a": half, "c": 1},
        ["b"],
    )
    several: dict[str, Any] = {f"d{number:03}": {} for number in range(MOST_FILES)}
    assert written(tmp_path, **several)[1] == ["b", "d097", "d098", "d099"]


def test_parameters_may_refer_to_facts_by_these_names() -> None:
    facts = Facts(
        architecture="x86_64",
        kernel="6.1",
        fqdn="web-01.example.org",
        primary_interface="eth0",
        custom={
            "rack": "r1",
            "site": {"city": "Oslo", "floor": 2},
            "spare": False,
            "tags": ["a", 1],
            "owner": None,
        },
    )
    assert named(facts, "web-01") == {
        "hostname": "web-01",
        "fqdn": "web-01.example.org",
        "arch": "x86_64",
        "kernel": "6.1",
        "interface.primary": "eth0",
        "containerized": "false",
        "custom.rack": "r1",
        "custom.site.city": "Oslo",
        "custom.site.floor": "2",
        "custom.spare": "false",
        "custom.tags": '["a",1]',
    }


def test_what_is_not_known_has_no_name() -> None:
    assert named(Facts(), "web-01") == {"hostname": "web-01", "containerized": "false"}
