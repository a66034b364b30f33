"""The line of an invite is read, or refused in a sentence, whatever stands in it."""

import contextlib

import httpx
from hypothesis import given
from hypothesis import strategies as st

from towline.agent.joining import Invite, read_line
from towline.errors import InvalidConfiguration

PARTS = st.text("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-", min_size=1)
URLS = st.one_of(
    st.text(),
    st.builds("{}://{}".format, st.sampled_from(["http", "https", "HTTP", "ftp"]), st.text()),
    st.builds("http://[{}]:{}".format, st.text("0123456789abcdef:%.[]"), st.text(":0123456789a")),
)
TOKENS = st.one_of(st.text(), st.builds(".".join, st.lists(st.text() | st.just("twl1"))))


@given(line=st.text() | st.builds("towline agent join {} {}".format, URLS, TOKENS))
def test_any_text_is_an_invite_with_a_url_that_can_be_asked_or_refused(line: str) -> None:
    with contextlib.suppress(InvalidConfiguration):
        found = read_line(line)
        assert all((found.id, found.secret, found.pin))
        assert httpx.URL(found.url).host


@given(url=URLS)
def test_whatever_the_url_of_an_invite_is_it_can_be_asked_or_is_refused(url: str) -> None:
    with contextlib.suppress(InvalidConfiguration):
        assert httpx.URL(read_line(f"{url} twl1.a.b.c").url).host


@given(invite=PARTS, secret=PARTS, pin=PARTS, port=st.integers(1, 65535))
def test_what_is_printed_is_read(invite: str, secret: str, pin: str, port: int) -> None:
    url = f"https://controller.example:{port}"
    line = f"towline agent join {url} twl1.{invite}.{secret}.{pin}"
    assert read_line(line) == Invite(url, invite, secret, pin)
    assert read_line(line.partition(" join ")[2]) == Invite(url, invite, secret, pin)
