"""What a node trusts has one hash for both sides, and says of which kinds of keys it differs."""

import msgspec
import pytest

from towline.trust.certificates import make_authority
from towline.trust.trusted import KINDS, Trusted, differing
from towline.wire.fields import Name

TRUSTED = Trusted("certificate\n", frozenset(["aa", "bb"]), "ACCOUNT")


def test_blanks_around_certificates_and_the_order_of_keys_do_not_count() -> None:
    same = Trusted("certificate", frozenset(["bb", "aa"]), "ACCOUNT")
    assert same.hash == TRUSTED.hash
    one, two = (make_authority().certificate for _ in range(2))
    assert Trusted(one + two).hash == Trusted(f"{two}\n{one}").hash
    assert len({Trusted(each).hash for each in (one, two, one + two)}) == 3
    assert differing(same.hash, TRUSTED.hash) == []
    assert msgspec.convert(TRUSTED.hash, Name) == TRUSTED.hash


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("ca", Trusted("another", TRUSTED.jobs, TRUSTED.issuer)),
        ("jobs", Trusted(TRUSTED.ca, frozenset(["aa"]), TRUSTED.issuer)),
        ("nodes", Trusted(TRUSTED.ca, TRUSTED.jobs, "OTHER")),
    ],
)
def test_what_differs_is_named_by_its_kind(kind: str, other: Trusted) -> None:
    assert differing(other.hash, TRUSTED.hash) == [kind]


@pytest.mark.parametrize("said", ["", "x", "a.b.c.d"])
def test_a_node_that_says_nothing_of_the_kind_differs_in_all(said: str) -> None:
    assert differing(said, TRUSTED.hash) == [*KINDS]
