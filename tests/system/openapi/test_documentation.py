"""The page that shows the OpenAPI document, as it is served."""

from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx
import pytest

from tests.testing.cluster import Cluster

TYPES = {"css": "text/css", "js": "text/javascript", "json": "application/json"}
PREFIXES = pytest.mark.parametrize("prefix", ["", "/api"])


class Page(HTMLParser):
    """What an HTML page loads or links to, and what stands inline in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.inline = ""
        self._in_code = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_code = tag in ("script", "style")
        for name, value in attrs:
            if name in ("src", "href"):
                self.links.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline += value or ""

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.inline += data


def linked(answer: httpx.Response) -> list[str]:
    """Return the URLs of all that the page loads or links to."""
    links = [link for link in Page(answer.text).links if not link.startswith("data:")]
    return [urljoin(str(answer.url), link) for link in links]


@PREFIXES
def test_the_page_loads_only_what_is_served_beside_it(fleet: Cluster, prefix: str) -> None:
    answer = fleet.anyone.get(f"{prefix}/docs")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert Page(answer.text).inline.strip() == ""
    links = linked(answer)
    assert len(links) >= 5
    for link in links:
        assert link.startswith(f"{fleet.url}{prefix}/")
        loaded = fleet.anyone.get(link)
        assert loaded.status_code == 200
        kind = TYPES[link.rpartition(".")[2]]
        assert loaded.headers["Content-Type"].partition(";")[0] == kind
        assert loaded.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_may_run_nothing_inline_and_stand_in_no_frame(fleet: Cluster) -> None:
    policy = fleet.anyone.get("/docs").headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_what_a_browser_has_is_not_sent_again(fleet: Cluster) -> None:
    page = fleet.anyone.get("/docs")
    for link in (str(page.url), *linked(page)):
        tag = fleet.anyone.get(link).headers["ETag"]
        again = fleet.anyone.get(link, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
        other = fleet.anyone.get(link, headers={"If-None-Match": '"other"'})
        assert other.status_code == 200


def test_what_is_long_is_compressed_for_those_who_accept_that(fleet: Cluster) -> None:
    for link in linked(fleet.anyone.get("/docs")):
        packed = fleet.anyone.get(link, headers={"Accept-Encoding": "br, gzip"})
        plain = fleet.anyone.get(link, headers={"Accept-Encoding": "identity"})
        assert packed.content == plain.content
        if len(plain.content) > 2000:
            assert packed.headers["Content-Encoding"] == "gzip"
            assert int(packed.headers["Content-Length"]) < len(plain.content) / 2
