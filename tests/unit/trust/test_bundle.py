"""What a machine of a fleet gives another: all that it needs there, and nothing else."""

import json
import stat
from pathlib import Path

import pytest

from towline.errors import InvalidConfiguration
from towline.runtime.keys import CREDENTIALS_KEY
from towline.runtime.state_directory import TOKEN_KEY
from towline.trust import bundle
from towline.trust.bundle import Hardness
from towline.trust.keys import API_CA_KEY, CA_KEY, FILES, JOBS_KEY, Trust, create

PASSPHRASE = "correct horse battery"
QUICK = Hardness(1, 8192)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    state = tmp_path_factory.mktemp("state")
    (state / TOKEN_KEY).touch(0o600)
    (state / TOKEN_KEY).write_text("6b" * 32 + "\n")
    return create(state)


def beside(trust: Trust) -> dict[str, Path]:
    return {name: trust.directory.parent / name for name in bundle.BESIDE}


def sealed(trust: Trust, *parts: str) -> bytes:
    given = beside(trust) if "controller" in parts else {}
    return bundle.seal(trust, given, [*parts], PASSPHRASE, hardness=QUICK).encode()


def unsealed(text: bytes, passphrase: str = PASSPHRASE) -> dict[str, str]:
    return bundle.unseal(text, passphrase, hardness=QUICK)


def test_a_controller_gets_what_it_needs_and_no_more(trust: Trust) -> None:
    files = unsealed(sealed(trust, "controller"))
    assert {API_CA_KEY, JOBS_KEY, TOKEN_KEY, CREDENTIALS_KEY} <= files.keys()
    assert CA_KEY not in files
    assert not any(name.startswith("offline/") for name in files)


def test_a_broker_gets_no_secret_but_the_key_of_its_ca(trust: Trust) -> None:
    files = unsealed(sealed(trust, "broker"))
    public = (".jwt", ".pem", ".pub")
    assert [name for name in files if not name.endswith(public)] == [CA_KEY]


def test_nobody_gets_what_is_to_be_offline(trust: Trust) -> None:
    files = unsealed(sealed(trust, "controller", "broker"))
    expected = {name for name in FILES if not name.startswith("offline/")}
    assert files.keys() == expected | {TOKEN_KEY, CREDENTIALS_KEY}


def test_what_arrives_is_what_was_there_each_file_for_its_owner_alone(
    trust: Trust, tmp_path: Path
) -> None:
    files = unsealed(sealed(trust, "controller"))
    made = bundle.install(tmp_path, files)
    for name in files:
        path = tmp_path / name if name in bundle.BESIDE else made.path(name)
        before = beside(trust).get(name, trust.path(name))
        assert path.read_text() == before.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.node_login("web-01")
    assert made.api_authority.issue(["localhost"])


def test_nothing_of_it_can_be_read_without_the_passphrase(trust: Trust) -> None:
    text = sealed(trust, "controller")
    for name in (JOBS_KEY, API_CA_KEY):
        assert trust.read(name).encode() not in text
    for wrong in ("correct horse batterY", "", "x" * 1000):
        with pytest.raises(InvalidConfiguration, match="passphrase"):
            unsealed(text, wrong)


@pytest.mark.parametrize("passphrase", ["", "elevenchars"])
def test_a_passphrase_that_is_guessed_soon_is_refused(trust: Trust, passphrase: str) -> None:
    with pytest.raises(InvalidConfiguration, match="too short"):
        bundle.seal(trust, {}, ["broker"], passphrase, hardness=QUICK)


def test_what_was_changed_is_refused_and_nothing_written(trust: Trust) -> None:
    document = json.loads(sealed(trust, "broker"))
    changed = [
        {**document, "parts": ["broker", "controller"]},
        {**document, "parts": ["controller"]},
        {**document, "parts": []},
        {**document, "parts": ["node"]},
        {**document, "towline-trust": 2},
        {**document, "salt": document["salt"][4:]},
        {**document, "salt": ""},
        {**document, "sealed": "A" + document["sealed"][1:]},
        {**document, "sealed": ""},
        {**document, "more": 1},
        {name: value for name, value in document.items() if name != "salt"},
    ]
    for each in changed:
        if each == document:
            continue
        with pytest.raises(InvalidConfiguration):
            unsealed(json.dumps(each).encode())
    for text in (b"", b"\xff", b"[]", b"{}", sealed(trust, "broker")[:-10]):
        with pytest.raises(InvalidConfiguration):
            unsealed(text)


def test_what_is_there_is_not_replaced(trust: Trust, tmp_path: Path) -> None:
    files = unsealed(sealed(trust, "controller"))
    (tmp_path / TOKEN_KEY).touch(0o600)
    (tmp_path / TOKEN_KEY).write_text("77" * 32)
    with pytest.raises(InvalidConfiguration, match="another key"):
        bundle.install(tmp_path, files)
    assert {each.name for each in tmp_path.iterdir()} == {TOKEN_KEY}
    (tmp_path / TOKEN_KEY).unlink()
    bundle.install(tmp_path, files)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InvalidConfiguration, match="trust directory already"):
        bundle.install(tmp_path, files)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", bundle.BESIDE)
def test_a_link_that_leads_nowhere_is_taken_for_no_key(
    trust: Trust, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).symlink_to(tmp_path / "gone" / name)
    with pytest.raises(InvalidConfiguration, match="another key"):
        bundle.install(tmp_path, unsealed(sealed(trust, "controller")))
    assert {each.name for each in tmp_path.iterdir()} == {name}


def test_of_one_that_fails_half_way_no_secret_is_left(trust: Trust, tmp_path: Path) -> None:
    files = unsealed(sealed(trust, "controller"))
    with pytest.raises(UnicodeEncodeError):
        bundle.install(tmp_path, {**files, "zz": "\ud800"})
    assert [each.name for each in tmp_path.iterdir()] == ["trust.lock"]


def test_one_that_was_broken_off_is_done_again(trust: Trust, tmp_path: Path) -> None:
    files = unsealed(sealed(trust, "controller"))
    (tmp_path / TOKEN_KEY).touch(0o600)
    (tmp_path / TOKEN_KEY).write_text(files[TOKEN_KEY] + "\n")
    (tmp_path / ".trust-left" / "controller").mkdir(parents=True)
    assert bundle.install(tmp_path, files).read(JOBS_KEY) == files[JOBS_KEY]
    assert not (tmp_path / ".trust-left").exists()
