"""The files of keys of nodes' logins and of the brokers' CA, step by step."""

import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.x509 import AuthorityKeyIdentifier, SubjectKeyIdentifier

from towline.errors import InvalidConfiguration
from towline.runtime.keys import CREDENTIALS_KEY
from towline.runtime.state_directory import TOKEN_KEY
from towline.trust import claims, login_keys, report, rotation
from towline.trust.bundle import Hardness, install, seal, unseal
from towline.trust.certificates import pem_blocks, read_certificates
from towline.trust.keys import CA, CA_KEY, NODES_JWT, NODES_SIGNING, Trust, create
from towline.trust.login_keys import LoginKeys

OLD, NEW, NEWER = (claims.make_seed(claims.ACCOUNT) for _ in range(3))
PUBLIC = {seed: claims.public_key(seed) for seed in (OLD, NEW, NEWER)}


QUICK = Hardness(1, 8192)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return create(tmp_path)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """The trust directory of another fleet."""
    return create(tmp_path_factory.mktemp("other"))


def issuer(trust: Trust) -> str:
    """Return who has signed a login that is made now."""
    return claims.read(claims.token_in(trust.node_login("m")), claims.User)[0].iss


def signer(trust: Trust) -> int:
    """Return which of the CAs in the file signs a certificate that is made now."""
    made = trust.directory.parent / "made.pem"
    made.write_text(trust.authority.issue(["localhost"]).certificate)
    (certificate,) = read_certificates(made)
    key = certificate.extensions.get_extension_for_class(AuthorityKeyIdentifier).value
    known = [
        each.extensions.get_extension_for_class(SubjectKeyIdentifier).value.digest
        for each in read_certificates(trust.path(CA))
    ]
    assert key.key_identifier is not None
    return known.index(key.key_identifier)


def test_what_is_written_of_keys_of_logins_is_read_as_the_same() -> None:
    keys = LoginKeys((NEW,), (PUBLIC[NEWER],), (OLD,))
    assert login_keys.read(keys.text) == keys
    assert keys.first == NEW
    assert keys.public == (PUBLIC[NEW], PUBLIC[OLD])


def altered(text: str) -> str:
    """Return a text with another last letter."""
    return text[:-1] + ("A" if text[-1] != "A" else "B")


WRONG = {
    "nothing": "",
    "a blank line": "\n",
    "no seed": PUBLIC[OLD],
    "a user's seed": claims.make_seed(claims.USER),
    "an operator's seed behind": f"{OLD}\n{claims.make_seed(claims.OPERATOR)}",
    "a public half that is cut off": f"{OLD}\nretired {PUBLIC[NEW][:-1]}",
    "a public half that was altered": f"{OLD}\nretired {altered(PUBLIC[NEW])}",
    "a user's public half": f"{OLD}\nretired {claims.public_key(claims.make_seed(claims.USER))}",
    "a word": f"{OLD}\nwhat",
    "another word before a public half": f"{OLD}\nwhat {PUBLIC[NEW]}",
    "more than a public half": f"{OLD}\nretired {PUBLIC[NEW]} {PUBLIC[NEW]}",
    "a seed that was altered": altered(OLD),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_file_of_keys_of_logins_is_refused(trust: Trust, what: str) -> None:
    trust.path(NODES_SIGNING).write_text(WRONG[what])
    for use in (trust.login_keys, lambda: trust.node_login("m")):
        with pytest.raises(InvalidConfiguration, match=r"nodes-signing\.seed"):
            use()


def test_logins_of_keys_that_others_know_are_let_in_until_the_file_says_that_they_are_retired() -> (
    None
):
    assert LoginKeys((OLD,)).known([PUBLIC[OLD], PUBLIC[NEW]]) == (PUBLIC[OLD], PUBLIC[NEW])
    assert LoginKeys((OLD, NEW)).known([PUBLIC[OLD]]) == (PUBLIC[OLD], PUBLIC[NEW])
    assert LoginKeys((NEW,), (PUBLIC[OLD],)).known([PUBLIC[OLD], PUBLIC[NEW]]) == (PUBLIC[NEW],)


def test_the_key_of_logins_is_replaced_in_three_steps(trust: Trust) -> None:
    old = trust.login_keys().public[0]
    _, before = trust.account(NODES_JWT)
    made = trust.account(NODES_JWT)[0].iat

    def lets_in() -> list[str]:
        found, account = trust.account(NODES_JWT)
        assert found.iat == made
        assert account.limits == before.limits
        assert {each.template for each in account.signing_keys} == {
            each.template for each in before.signing_keys
        }
        return [each.key for each in account.signing_keys]

    assert not rotation.rotate_logins(trust)
    new = trust.login_keys().public[1]
    assert issuer(trust) == old
    assert lets_in() == [old, new]
    assert rotation.rotate_logins(trust)
    assert issuer(trust) == new
    assert lets_in() == [new, old]
    assert rotation.retire_logins(trust) == 1
    assert trust.login_keys().public == (new,)
    assert trust.login_keys().retired == (old,)
    assert lets_in() == [new]
    assert stat.S_IMODE(trust.path(NODES_SIGNING).stat().st_mode) == 0o600
    assert set(trust.accounts().accounts)  # brokers take them as before
    # And once more, from there.
    assert not rotation.rotate_logins(trust)
    assert rotation.rotate_logins(trust)
    assert rotation.retire_logins(trust) == 1
    assert trust.login_keys().retired == (old, new)


def test_the_brokers_ca_is_replaced_in_three_steps(trust: Trust) -> None:
    (old,) = pem_blocks(trust.read(CA))
    assert not rotation.rotate_authorities(trust)
    _, new = pem_blocks(trust.read(CA))
    assert pem_blocks(trust.read(CA)) == [old, new]
    assert signer(trust) == 0
    assert rotation.rotate_authorities(trust)
    assert pem_blocks(trust.read(CA)) == [new, old]
    assert signer(trust) == 0
    assert len(ssl.create_default_context(cafile=trust.path(CA)).get_ca_certs()) == 2
    assert rotation.retire_authorities(trust) == 1
    assert pem_blocks(trust.read(CA)) == [new]
    assert len(pem_blocks(trust.read(CA_KEY))) == 1
    assert signer(trust) == 0
    assert stat.S_IMODE(trust.path(CA_KEY).stat().st_mode) == 0o600


def test_a_step_with_the_ca_that_ended_half_way_leaves_what_can_be_used_and_is_taken_again(
    trust: Trust,
) -> None:
    certificates = trust.read(CA)
    rotation.rotate_authorities(trust)
    trust.path(CA).write_text(certificates + "\n")
    assert signer(trust) == 0
    assert not rotation.rotate_authorities(trust)
    assert len(pem_blocks(trust.read(CA))) == 2
    assert signer(trust) == 0
    assert rotation.rotate_authorities(trust)
    keys = trust.path(CA_KEY).read_text()
    rotation.retire_authorities(trust)
    trust.path(CA_KEY).write_text(keys)
    assert signer(trust) == 0
    assert rotation.retire_authorities(trust) == 0
    assert len(pem_blocks(trust.read(CA_KEY))) == 1


STEPS: dict[str, tuple[Callable[[Trust], bool], Callable[[Trust], int], str]] = {
    NODES_SIGNING: (rotation.rotate_logins, rotation.retire_logins, NODES_SIGNING),
    CA: (rotation.rotate_authorities, rotation.retire_authorities, CA_KEY),
}


@pytest.mark.parametrize("name", STEPS)
def test_no_step_is_taken_twice_and_none_before_its_time(trust: Trust, name: str) -> None:
    rotate, retire, secret = STEPS[name]
    trust.path(secret).chmod(0o640)

    def texts() -> list[str]:
        return [trust.read(each) for each in (name, secret)]

    rotate(trust)
    known = texts()
    with pytest.raises(InvalidConfiguration, match=r"left as it is: .* not the first yet"):
        retire(trust)
    assert texts() == known
    rotate(trust)
    signs = texts()
    with pytest.raises(InvalidConfiguration, match=r"left as it is: .* --retire"):
        rotate(trust)
    assert texts() == signs
    assert retire(trust) == 1
    assert stat.S_IMODE(trust.path(secret).stat().st_mode) == 0o640
    assert signs[0].startswith(trust.read(name).split("retired")[0].strip())


def test_a_key_of_a_ca_without_its_certificate_signs_nothing(trust: Trust, other: Trust) -> None:
    trust.path(CA).write_text(other.read(CA))
    for use in (lambda: trust.authority, lambda: rotation.rotate_authorities(trust)):
        with pytest.raises(InvalidConfiguration, match=r"ca\.key"):
            use()


def test_several_keys_are_shown_and_brought_to_other_machines(trust: Trust, tmp_path: Path) -> None:
    rotation.rotate_logins(trust)
    rotation.rotate_authorities(trust)
    shown = report.status(trust)
    assert "unusable" not in shown
    for key in trust.login_keys().public:
        assert key in shown
    assert shown.count("sha256") == 3
    state = trust.directory.parent
    beside = {name: state / name for name in (TOKEN_KEY, CREDENTIALS_KEY)}
    beside[TOKEN_KEY].write_text("6b" * 32)
    text = seal(trust, beside, ["controller", "broker"], "correct horse", hardness=QUICK)
    further = tmp_path / "further"
    further.mkdir()
    made = install(further, unseal(text.encode(), "correct horse", hardness=QUICK))
    assert made.login_keys() == trust.login_keys()
    for name in (CA, CA_KEY):
        assert pem_blocks(made.read(name)) == pem_blocks(trust.read(name))
    assert signer(made) == 0
    rotation.rotate_logins(trust)
    rotation.retire_logins(trust)
    assert "(retired)" in report.status(trust)
