"""What the parts have in common that answer as a Docker Engine does."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from tests.testing.plain_http import UNENCRYPTED
from tests.testing.process import Failed

# The kernel's limit for the path of a unix socket is 108 bytes, the closing NUL included.
_SOCKET_LIMIT = 107


class EngineApi:
    """An engine in a directory of its own, on a unix socket there, asked through its API."""

    def __init__(self) -> None:
        self.directory = _short_directory()
        self.socket = self.directory / "d.sock"
        if len(os.fsencode(self.socket)) > _SOCKET_LIMIT:
            raise Failed(f"too long for a unix socket: {self.socket}")
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket), verify=UNENCRYPTED),
            base_url="http://docker",
            timeout=60,
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it answers."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop everything and remove its data."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The engine's address as `DOCKER_HOST` would have it: unix:///…"""
        return f"unix://{self.socket}"

    def reachable(self) -> bool:
        """Say whether the daemon answers."""
        try:
            return self._http.get("/_ping", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def version(self) -> dict[str, Any]:
        """Return what the engine says of itself (`GET /version`)."""
        answer: dict[str, Any] = self._http.get("/version").raise_for_status().json()
        return answer

    def image(self, reference: str, *, manifests: bool = False) -> dict[str, Any] | None:
        """Inspect an image by reference or id; None if the engine has none of that name.

        With `manifests` engines that know several platforms' images of it list them.
        """
        answer = self._http.get(
            f"/images/{quote(reference, safe='/:@')}/json",
            params={"manifests": "1"} if manifests else {},
        )
        if answer.status_code == 404:
            return None
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def image_id(self, reference: str) -> str | None:
        """Return the engine's id for a reference, or None."""
        found = self.image(reference)
        return found["Id"] if found else None

    def images(self) -> list[dict[str, Any]]:
        """List the images that the engine has."""
        answer: list[dict[str, Any]] = self._http.get("/images/json").raise_for_status().json()
        return answer

    def disk_usage(self) -> dict[str, Any]:
        """Return what the engine says that it has on the disk (`GET /system/df`)."""
        answer: dict[str, Any] = self._http.get("/system/df").raise_for_status().json()
        return answer

    def tag(self, reference: str, repository: str, tag: str) -> None:
        """Give an image one more name."""
        path = f"/images/{quote(reference, safe='/:@')}/tag"
        self._http.post(path, params={"repo": repository, "tag": tag}).raise_for_status()

    def remove_image(self, reference: str) -> None:
        """Remove an image; without effect if there is none of that name."""
        answer = self._http.delete(
            f"/images/{quote(reference, safe='/:@')}", params={"force": "true"}
        )
        if answer.status_code != 404:
            answer.raise_for_status()

    def remove_all_images(self) -> None:
        """Remove every image."""
        for found in self.images():
            self.remove_image(found["Id"])

    @contextmanager
    def containers(self, reference: str, count: int) -> Iterator[list[str]]:
        """Create so many containers of an image, none of which runs; remove them at the end."""
        asked = {"Image": reference, "Cmd": ["nothing"]}
        made = []
        for _ in range(count):
            answer = self._http.post("/containers/create", json=asked).raise_for_status()
            made.append(str(answer.json()["Id"]))
        try:
            yield made
        finally:
            for each in made:
                self._http.delete(f"/containers/{each}").raise_for_status()

    def pull(self, reference: str, platform: str = "") -> list[dict[str, Any]]:
        """Pull directly, not through Towline, and return the engine's progress messages.

        The reference carries a tag or a digest. A failure is in the messages, whether the engine
        refused or began the stream: see `pull_errors`.
        """
        parameters = {"fromImage": reference, **({"platform": platform} if platform else {})}
        answer = self._http.post("/images/create", params=parameters, timeout=120)
        return [json.loads(line) for line in answer.text.splitlines() if line.strip()]


def pull_errors(progress: Sequence[dict[str, Any]]) -> list[str]:
    """Return the engine's words for what failed, out of what `Engine.pull` returned.

    A refusal (status 4xx, 5xx) says `message`, a stream that had begun with 200 says `error`.
    """
    return [m.get("error") or m["message"] for m in progress if "error" in m or "message" in m]


def _short_directory() -> Path:
    """Make a directory whose path leaves room for the daemon's own sockets below it."""
    wanted = tempfile.gettempdir()
    base = wanted if len(wanted) < 40 else "/tmp"
    return Path(tempfile.mkdtemp(prefix="tl-", dir=base)).resolve()
