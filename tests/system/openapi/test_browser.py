"""People find, read and try the API's operations in a browser."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.system.openapi.document import LOAD_PATH, PULL_PATH, entries
from tests.testing.browser import MISSING, PROGRAM, Tab, running_browser
from tests.testing.cluster import LABELS, Cluster
from tests.testing.process import wait_until

VISIBLE = """
section => [...section.querySelectorAll("*")]
    .filter(each => each.children.length === 0 && each.checkVisibility())
    .map(each => each.textContent.trim())
"""
"""Returns the texts in a part of the page that can be seen."""

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def opened(tab: Tab, url: str) -> Page:
    """Open the documentation, and wait until its operations are there."""
    tab.page.goto(url)
    tab.page.locator(".opblock").first.wait_for()
    return tab.page


def operation(page: Page, method: str, path: str) -> Locator:
    """Return an operation's box."""
    return page.locator(f".opblock-{method}", has=page.locator(f'[data-path="{path}"]'))


def unfold(box: Locator) -> None:
    box.locator(".opblock-summary-control").click()
    expect(box.locator(".responses-table").first).to_be_visible()


def authorize(page: Page, token: str) -> None:
    """Give the page a token, as a person does."""
    page.get_by_role("button", name="Authorize").click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_label("auth-bearer-value").fill(token)
    dialog.get_by_role("button", name="Apply credentials").first.click()
    dialog.get_by_role("button", name="Close").first.click()


def status(box: Locator) -> Locator:
    return box.locator(".live-responses-table .response-col_status").last


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_person_finds_an_operation_and_tries_it(
    fleet: Cluster, browser: Browser, prefix: str
) -> None:
    tab = Tab(browser)
    page = opened(tab, f"{fleet.url}{prefix}/docs")
    page.get_by_placeholder("Filter").fill("/load")
    expect(page.locator(".opblock")).to_have_count(1)
    box = operation(page, "get", LOAD_PATH)
    unfold(box)
    expect(box.locator(".sample")).to_contain_text("/node/web-01/load")
    box.get_by_role("button", name="Try it out").click()
    box.get_by_placeholder("hostname").fill("_all")
    box.get_by_role("button", name="Execute").click()
    expect(status(box)).to_contain_text("401")

    authorize(page, fleet.token("read"))
    box.get_by_role("button", name="Execute").click()
    expect(status(box)).to_contain_text("200")
    for hostname in LABELS:
        expect(box.locator(".response-col_description pre").first).to_contain_text(hostname)
    assert tab.complaints == []
    assert all(url.startswith((f"{fleet.url}/", "data:")) for url in tab.asked)
    tried = [status for status, url in tab.answers if url == f"{fleet.url}{prefix}/node/_all/load"]
    assert tried == [401, 200]


def test_operations_of_every_domain_can_be_read_also_on_a_narrow_screen(
    fleet: Cluster, browser: Browser, api: dict[str, Any]
) -> None:
    tab = Tab(browser)
    page = opened(tab, f"{fleet.url}/docs")
    everything = list(entries(api))
    expect(page.locator(".opblock")).to_have_count(len(everything))
    # Swagger UI takes half a second for each that it unfolds.
    first = {entry["tags"][0]: each for *each, entry in reversed(everything)}
    for path, method in (*first.values(), (PULL_PATH, "post")):
        entry = api["paths"][path][method]
        box = operation(page, method, path)
        unfold(box)
        text = box.inner_text()
        assert entry["summary"] in text
        for parameter in entry.get("parameters", []):
            assert f"\n{parameter['name']}" in text
        for code, response in entry["responses"].items():
            assert re.search(rf"\n{code}\s+{re.escape(response['description'][:10])}", text)
    schemas = page.locator("section.models")
    schemas.get_by_role("button").first.click()
    # Of more than a hundred Swagger UI shows those alone that have been scrolled to.
    wanted, seen = {*api["components"]["schemas"]}, set[str]()
    page.mouse.move(640, 360)

    def scrolled_past_all() -> bool:
        # All at once: the browser takes a third of a second for each name that it is asked for.
        seen.update(schemas.evaluate(VISIBLE))
        page.mouse.wheel(0, 300)
        return wanted <= seen

    wait_until(scrolled_past_all, what="every schema in the list")
    expect(page.get_by_text("Could not render")).to_have_count(0)
    assert tab.complaints == []
    assert {status for status, _ in tab.answers} == {200}

    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_page_is_as_dark_as_the_person_wants_it(fleet: Cluster, browser: Browser) -> None:
    page = opened(Tab(browser), f"{fleet.url}/docs")
    text = page.locator(".opblock-summary-path").first
    expect(text).to_have_css("color", "rgb(59, 65, 81)")
    page.emulate_media(color_scheme="dark")
    expect(text).to_have_css("color", "rgb(228, 230, 230)")
