"""What nodes are given stays as it was while the files that it comes from are being replaced."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.testing.signing import SIGNER
from towline.controller.joining import Joining
from towline.errors import InvalidConfiguration
from towline.trust import claims
from towline.trust.certificates import make_authority
from towline.trust.keys import CA, NODES_JWT, NODES_SIGNING, Trust, create
from towline.wire.member import ACCEPTED, MemberRecord

NOBODY: Any = None
NKEY = claims.public_key(claims.make_seed(claims.USER))
RECORD = MemberRecord(
    *("m1", NKEY, "", "web-01", ACCEPTED, "i1"), created=0.0, by="ann", changed=0.0
)


class Members:
    """One that is in."""

    async def until_known(self) -> None:
        """Return."""

    def get(self, machine: str) -> MemberRecord:
        """Return it, whatever is asked for."""
        return RECORD


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return create(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def joining(trust: Trust) -> Joining:
    members: Any = Members()
    return Joining(trust, ["tls://h:1"], SIGNER, members, NOBODY, NOBODY, NOBODY)


@contextlib.contextmanager
def being_copied(trust: Trust, text: str, *names: str) -> Iterator[None]:
    """Have another text in files while the block goes on."""
    before = {trust.path(name): trust.path(name).read_text() for name in names}
    for path in before:
        path.write_text(text)
    try:
        yield
    finally:
        for path, each in before.items():
            path.write_text(each)


@pytest.mark.parametrize(
    "text",
    [
        *("", "what", make_authority().certificate[:-40]),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
async def test_what_is_no_ca_is_given_to_nobody(joining: Joining, trust: Trust, text: str) -> None:
    trusted = joining.trusted
    with being_copied(trust, text, CA), pytest.raises(InvalidConfiguration, match=r"ca\.pem"):
        joining.read_again()
    assert joining.trusted == trusted
    assert (await joining.renewed("m1")).ca == trust.read(CA)


async def test_logins_are_made_by_what_was_read_whatever_the_files_have_meanwhile(
    joining: Joining, trust: Trust
) -> None:
    with being_copied(trust, "", NODES_SIGNING, NODES_JWT):
        renewal = await joining.renewed("m1")
    found, user = claims.read(renewal.jwt, claims.User)
    assert (found.iss, found.sub) == (trust.login_keys().public[0], NKEY)
    assert user.issuer_account == trust.account(NODES_JWT)[0].sub
