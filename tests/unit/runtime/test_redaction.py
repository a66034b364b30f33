import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from towline.runtime.redaction import strike

SECRET = 'p"ä ss/wörd?>+'
WRITTEN = [
    SECRET,
    json.dumps(SECRET)[1:-1],
    quote(SECRET),
    quote(SECRET, safe=""),
    quote_plus(SECRET),
    base64.b64encode(SECRET.encode()).decode(),
    base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_secret_is_struck_out_in_whatever_form_it_stands(text: str) -> None:
    assert strike(f"denied: {text} is wrong", [SECRET]) == "denied: *** is wrong"


def test_what_looks_like_a_secret_is_struck_out_though_nobody_named_it() -> None:
    words = "GET https://robot:hidden@registry.internal/v2/: eyJhbGci.eyJzdWIi.c2ln is no good"
    assert strike(words) == "GET https://***@registry.internal/v2/: *** is no good"


def test_words_without_a_secret_are_left_alone() -> None:
    words = "unauthorized: authentication required"
    assert strike(words, ["", "au", SECRET]) == words


@pytest.mark.parametrize(
    ("words", "struck"),
    [
        ("token-eyJhbGci.eyJzdWIi.c2ln.", "token-***."),
        (r"line\neyJhbGci.eyJzdWIi.c2ln", r"line\n***"),
        ("eyJa-eyJhbGci.eyJzdWIi.c2ln", "***"),
        ("bearer=eyJhbGci.eyJzdWIi.c2ln, eyJhbGci.eyJzdWIi.", "bearer=***, ***"),
        ("theyJoin.the.dots", "theyJoin.the.dots"),
        ("eyJhbGci.eyJzdWIi", "eyJhbGci.eyJzdWIi"),
    ],
)
def test_a_token_is_struck_out_wherever_it_begins(words: str, struck: str) -> None:
    assert strike(words) == struck
