"""Passages of gates that tests of jobs ask for, and streams of events that they read."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from tests.testing.process import wait_until

NODES = ("one", "two", "three")
Ask = Callable[..., httpx.Response]


def job_id(answer: httpx.Response) -> str:
    """Return the id of a job that was accepted."""
    assert answer.is_success, answer.text
    return str(answer.json()["job_id"])


class Listener:
    """Reads a stream of events in the background."""

    def __init__(self, client: httpx.Client, path: str, after: str | None = None) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.status = 0
        self.ended = False
        self._client = client
        self._path = path
        self._headers = {"Last-Event-ID": after} if after is not None else {}
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self.status != 0, what="the stream's answer")

    def _read(self) -> None:
        asked = self._client.stream("GET", self._path, headers=self._headers)
        with suppress(httpx.TransportError), asked as response:
            self.status = response.status_code
            event: dict[str, str] = {}
            for line in response.iter_lines():
                if line:
                    field, _, value = line.partition(": ")
                    event[field] = value
                    continue
                if "data" in event:
                    received = (event["id"], event["event"], json.loads(event["data"]))
                    self.events.append(received)
                event = {}
        self.ended = True

    @property
    def kinds(self) -> list[str]:
        """The kinds of all events so far."""
        return [kind for _, kind, _ in self.events]

    def until_end(self) -> list[str]:
        """Wait for the stream's end; return the kinds of all its events."""
        wait_until(lambda: self.ended, what="the stream's end")
        return self.kinds
