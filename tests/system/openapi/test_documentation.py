"""The page that shows the OpenAPI document."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import pytest

from tests.system.openapi.document import content, entries, is_json, resolved
from tests.testing.cluster import Cluster


class Links(HTMLParser):
    """All that an HTML page refers to, and the text of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.code = ""
        self._in_code = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_code = tag in ("script", "style")
        links = ("src", "href", "action", "srcset", "data", "poster", "manifest")
        self.links += [value or "" for name, value in attrs if name in links]
        self.code += "".join(
            value or "" for name, value in attrs if name.startswith(("style", "on"))
        )

    def handle_endtag(self, tag: str) -> None:
        self._in_code = False

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.code += data


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_documentation_needs_nothing_from_elsewhere(fleet: Cluster, prefix: str) -> None:
    answer = fleet.anyone.get(f"{prefix}/docs")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Links(answer.text)
    fetched = re.findall(
        r"""(?:fetch\(|url\(|import\s*\(?|@import)\s*["']?([^"')\s;]+)""", page.code
    )
    assert fetched == ["openapi.json"]
    assert not re.search(r"""["'(]\s*(https?:)?//""", page.code)
    for link in page.links + fetched:
        assert urljoin(str(answer.url), link) == f"{fleet.url}{prefix}/openapi.json"
    assert fleet.anyone.get(f"{prefix}/openapi.json").status_code == 200


def test_the_documentation_finds_in_the_document_what_it_shows(
    fleet: Cluster, api: dict[str, Any]
) -> None:
    page = Links(fleet.anyone.get("/docs").text)
    for name in ("info.description", "info.version", "components.schemas", "paths"):
        assert f"api.{name}" in page.code
        resolved(api, f"#/{name.replace('.', '/')}")
    for _, _, entry in entries(api):
        assert entry["summary"]
        for response in entry["responses"].values():
            assert response["description"]
            assert content(api, response) if is_json(response) else True
