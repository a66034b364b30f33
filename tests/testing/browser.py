"""A real browser, headless, for the pages of a controller."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Response, expect, sync_playwright

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
TIMEOUT = 60_000
"""Milliseconds that the browser has for anything: its own 5 s are little for a busy machine."""
MISSING = "There is no Chromium here; Debian's package is called chromium."


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run the browser that is installed."""
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root. It opens pages of the test's own controller only.
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        expect.set_options(timeout=TIMEOUT)
        with browser:
            yield browser


class Tab:
    """A window of its own, with what it asks for and what its console complains of.

    Attributes:
        page: what a test drives.
        asked: the URLs of all its requests.
        answers: status and URL of each answer to them.
        complaints: errors of its scripts, and what its security policy refused.
    """

    def __init__(self, browser: Browser) -> None:
        self.page = browser.new_page()
        self.page.set_default_timeout(TIMEOUT)
        self.asked: list[str] = []
        self.answers: list[tuple[int, str]] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", self._answered)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _answered(self, response: Response) -> None:
        self.answers.append((response.status, response.url))

    def _said(self, message: ConsoleMessage) -> None:
        # What was answered with an error stands in `answers`.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)
