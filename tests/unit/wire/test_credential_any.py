"""Credentials in whatever form: read as they were written, or refused without a word of them."""

import base64
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from towline.wire.credential import Credential, InvalidCredential, of_entry, of_header

REGISTRY = "registry.example:5000"
SECRET = "s3cr3t-that-nobody-sees"
TEXTS = st.text(min_size=1, max_size=40)
CREDENTIALS = st.builds(Credential, TEXTS, TEXTS) | st.builds(
    Credential,
    username=st.just("") | TEXTS,
    identity_token=TEXTS,
    registry_token=st.just("") | TEXTS,
)
NAMES = ("username", "password", "auth", "serveraddress", "identitytoken", "registrytoken")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
ENTRIES = JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@given(CREDENTIALS, st.booleans(), st.booleans())
def test_a_header_has_what_was_written_into_it(
    credential: Credential, padded: bool, standard: bool
) -> None:
    header = credential.header if padded else credential.header.rstrip("=")
    if standard:
        header = header.replace("-", "+").replace("_", "/")
    assert of_header(header, REGISTRY) == credential


@given(CREDENTIALS)
def test_an_engine_s_form_reads_as_what_it_was_made_of(credential: Credential) -> None:
    assert of_entry(credential.for_engine(REGISTRY)) == credential


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
@example(base64.b64encode(b"[" * 100_000).decode())
def test_any_header_is_a_credential_or_none_or_refused(text: str) -> None:
    try:
        found = of_header(text, REGISTRY)
    except InvalidCredential:
        return
    assert found is None or found.secrets


@given(ENTRIES)
@example({"username": SECRET, "password": [SECRET]})
@example({"auth": SECRET})
@example({"username": "a", "password": SECRET, "serveraddress": f"ann:{SECRET}@x.example"})
def test_a_refusal_repeats_nothing_of_a_header(value: Any) -> None:
    try:
        found = of_header(encoded(value), REGISTRY)
    except InvalidCredential as error:
        words = str(error)
    else:
        words = "" if found is None or found.username == SECRET else str(found)
    assert SECRET not in words
