"""The files with the keys that jobs are signed with, and verified by."""

from pathlib import Path

import pytest

from tests.testing.messages import RELEASE
from tests.testing.signing import OTHER_SEED, SEED
from towline.errors import InvalidConfiguration
from towline.trust.job_keys import (
    JOBS_KEY,
    JOBS_PUBLIC,
    load_signer,
    load_verifier,
    publish,
    retired,
)
from towline.trust.signing import Signer, order_for
from towline.wire.decoding import Unreadable

PURPOSE = order_for("task.a.b", "")


def believed(signer: Signer, path: Path) -> bool:
    """Whether an agent with this file believes what is signed."""
    try:
        return bool(load_verifier(path, named=False).open(signer.seal(RELEASE, PURPOSE), PURPOSE))
    except Unreadable:
        return False


def test_a_controller_makes_its_key_once_and_agents_believe_it(tmp_path: Path) -> None:
    path = tmp_path / JOBS_KEY
    signer = load_signer(path, create=True)
    publish(signer, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = load_signer(path, create=True)
    assert again.kid == signer.kid
    assert believed(again, tmp_path / JOBS_PUBLIC)
    assert path.read_text().strip() not in (tmp_path / JOBS_PUBLIC).read_text()
    other = load_signer(tmp_path / "other", create=True)
    assert not believed(other, tmp_path / JOBS_PUBLIC)


def test_keys_are_changed_one_after_another_in_the_files_alone(tmp_path: Path) -> None:
    path, public = tmp_path / JOBS_KEY, tmp_path / JOBS_PUBLIC

    def start(*seeds: bytes) -> Signer:
        path.write_text("".join(f"{seed.hex()}\n" for seed in seeds))
        path.chmod(0o600)
        signer = load_signer(path, create=True)
        publish(signer, tmp_path)
        return signer

    old = start(SEED)
    assert believed(old, public)
    # The new one is known everywhere before it signs, and the old one as long as it does.
    announced = start(SEED, OTHER_SEED)
    assert announced.kid == old.kid
    signing = start(OTHER_SEED, SEED)
    assert signing.kid != old.kid
    assert believed(old, public)
    assert believed(signing, public)
    retired = start(OTHER_SEED)
    assert (believed(old, public), believed(retired, public)) == (False, True)


def test_what_agents_need_is_written_only_when_it_is_new(tmp_path: Path) -> None:
    signer = Signer([SEED])
    publish(signer, tmp_path)
    written = (tmp_path / JOBS_PUBLIC).stat()
    publish(signer, tmp_path)
    assert (tmp_path / JOBS_PUBLIC).stat().st_ino == written.st_ino


def test_a_key_that_is_retired_only_verifies_and_no_agent_is_told_of_it(tmp_path: Path) -> None:
    path = tmp_path / JOBS_KEY
    path.touch(0o600)
    path.write_text(f"{OTHER_SEED.hex()}\nretired {retired(SEED.hex())}\n")
    signer = load_signer(path, create=False)
    assert (signer.public, signer.retired) == (Signer([OTHER_SEED]).public, Signer([SEED]).public)
    publish(signer, tmp_path)
    assert load_verifier(tmp_path / JOBS_PUBLIC, named=True).public == signer.public
    with pytest.raises(ValueError, match="hex"):
        retired("no key")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "\n",
            "ab",
            f"{SEED.hex()}\nno key\n",
            f"{SEED.hex()}00",
            f"towline-jobs {'ab' * 32}",
        ),
        *(f"retired {'ab' * 32}\n", f"{SEED.hex()}\nretired ab\n"),
    ],
)
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / JOBS_KEY).write_text(text)
    (tmp_path / JOBS_KEY).chmod(0o600)
    with pytest.raises(InvalidConfiguration, match="is none"):
        load_signer(tmp_path / JOBS_KEY, create=True)


def test_a_key_that_anybody_may_read_is_refused_and_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / JOBS_KEY
    load_signer(path, create=True)
    path.chmod(0o644)
    with pytest.raises(InvalidConfiguration, match="open to any user"):
        load_signer(path, create=True)
    with pytest.raises(InvalidConfiguration, match="can't be read"):
        load_signer(tmp_path / "missing", create=False, named=True)


def refusal(path: Path, *, named: bool = True) -> InvalidConfiguration:
    with pytest.raises(InvalidConfiguration) as refused:
        load_verifier(path, named=named)
    return refused.value


def test_an_agent_without_a_key_says_which_file_to_copy(tmp_path: Path) -> None:
    for named in (True, False):
        refused = refusal(tmp_path / JOBS_PUBLIC, named=named)
        assert "could believe no controller" in refused.error
        assert f"Copy {JOBS_PUBLIC} of a controller's state directory" in refused.details
    assert "--job-keys" in refused.details


def test_an_agent_refuses_what_is_no_list_of_public_keys(tmp_path: Path) -> None:
    path = tmp_path / JOBS_PUBLIC
    for text in ("", "no key\n", "towline-jobs abc\n", f"ssh-ed25519 {'ab' * 32}\n"):
        path.write_text(text)
        assert "something else" in refusal(path).error
    path.write_bytes(b"\xff\xfe")
    assert "can't be read" in refusal(path).error
    assert "can't be read" in refusal(tmp_path).error


def test_an_agent_refuses_a_controllers_secret(tmp_path: Path) -> None:
    load_signer(tmp_path / JOBS_KEY, create=True)
    refused = refusal(tmp_path / JOBS_KEY)
    assert "has a secret in it" in refused.error
    assert f"copy {JOBS_PUBLIC}" in refused.details


def test_an_agent_refuses_a_file_that_any_user_may_write(tmp_path: Path) -> None:
    publish(Signer([SEED]), tmp_path)
    (tmp_path / JOBS_PUBLIC).chmod(0o646)
    assert "may be written by any user" in refusal(tmp_path / JOBS_PUBLIC).error
    (tmp_path / JOBS_PUBLIC).chmod(0o644)
    load_verifier(tmp_path / JOBS_PUBLIC, named=True)
