"""The node's Docker Engine, through its own API."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec
import structlog
from aiodocker import Docker
from aiodocker.utils import compose_auth_header
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from towline.agent.docker.answers import (
    Container,
    Distribution,
    Happening,
    Image,
    ImageUser,
    Info,
    ListedImage,
    Refusal,
    Version,
)
from towline.agent.docker.errors import (
    EngineRefused,
    EngineUnreachable,
    Passing,
    UnreadableAnswer,
)
from towline.errors import TaskFailed
from towline.runtime.redaction import strike
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.platform import Platform

log = structlog.get_logger()

T = TypeVar("T")

ANSWER_WITHIN = 60.0
"""Seconds for the engine's quick calls; the pull has no limit."""
PING_WITHIN = 5.0
"""Seconds for the engine to say that it is there."""
RESOLVE_WITHIN = 15.0
"""Seconds for the engine to find out what a tag is: a pull can do without."""
LARGEST_LIST = 64 * 1024 * 1024
"""Bytes of a list of all images, or of all containers: an image has some kilobytes, with its
labels."""

NO_IMAGE = "a-label-that-no-image-has"


_list: Decoder[list[msgspec.Raw] | None] = Decoder(
    list[msgspec.Raw] | None,  # type: ignore[arg-type]
    largest=LARGEST_LIST,
)
_happening = Decoder(Happening)
_message = Decoder(dict[str, Any])
_refused = Decoder(Refusal)


class Engine:
    """A Docker Engine at `url`, or what answers as one does, in its own version of the API.

    Whatever it answers, of whatever shape: its methods raise nothing but `TaskFailed`.

    Attributes:
        platform: what it pulls images for unless asked otherwise; None where that isn't known.

    Args:
        url: `unix:///path`, `tcp://host:port` or `http://host:port`.
        ping_within, resolve_within: seconds; see the constants.
    """

    def __init__(
        self,
        url: str,
        *,
        ping_within: float = PING_WITHIN,
        resolve_within: float = RESOLVE_WITHIN,
    ) -> None:
        self.url = url
        self.platform: Platform | None = None
        self.naming = asyncio.Lock()
        """Locked while an image's names are moved."""
        self._ping_within = ping_within
        self._resolve_within = resolve_within
        self._docker: Docker | None = None
        self._root: str | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._docker is not None:
            docker, self._docker = self._docker, None
            await docker.close()

    async def ping(self) -> str:
        """Return the engine's version; "" where what stands before it lets only images through."""
        # The API version is asked for again after an absence: the engine may have been upgraded.
        return await self._ask_version(self._ping_within)

    async def _ask_version(self, within: float) -> str:
        try:
            found = await self._ask(Version, "GET", "version", within=within)
        except EngineRefused as refused:
            if not await self._lists_images(within):
                raise refused from None
            return ""
        self._root, self.platform = f"/v{found.api_version}", found.platform
        return found.version

    async def _lists_images(self, within: float) -> bool:
        """Return whether it lists images where its version isn't known: then it is an engine."""
        self._root, self.platform = "", None
        filters = {"label": [f"towline.none={NO_IMAGE}"]}
        try:
            await self._ask(
                *(list[Any], "GET", "images/json", {"filters": json.dumps(filters)}), within=within
            )
        except TaskFailed:
            self._root = None
            return False
        return True

    async def info(self) -> Info:
        """Return what the engine says of itself."""
        return await self._ask(Info, "GET", "info")

    async def image(self, name: str) -> Image | None:
        """Return what the engine knows of a present image, or None."""
        try:
            return await self._ask(Image, "GET", f"images/{name}/json", {"manifests": "1"})
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise

    async def digest(self, name: str, auth: dict[str, str] | None = None) -> str:
        """Return what a tag is at its registry now.

        Args:
            name: repository and tag.
            auth: as in `pull`.

        Raises:
            TaskFailed: the registry or the engine refused; in the engine's own words.
        """
        path = f"distribution/{name}/json"
        found = await self._ask(
            *(Distribution, "GET", path),
            repository=name,
            auth=auth,
            within=self._resolve_within,
        )
        return found.descriptor.digest

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image one more name."""
        await self._send("POST", f"images/{name}/tag", {"repo": repository, "tag": tag})

    async def untag(self, name: str) -> None:
        """Take a name from an image, and remove what has none then."""
        await self._send("DELETE", f"images/{name}", {"noprune": "1"})

    async def containers(self, *, everything: bool, limit: int, state: str) -> list[Container]:
        """Return containers, the newest first.

        Args:
            everything: whether those that don't run are among them.
            limit: how many at most.
            state: which only, by commas; "" for all.
        """
        parameters = {"all": "1" if everything else "0", "limit": str(limit)}
        if state:
            parameters["filters"] = json.dumps({"status": state.split(",")})
        return await self._ask(list[Container], "GET", "containers/json", parameters)

    async def images(self) -> list[ListedImage]:
        """Return the images that it has, but those of which it says what no engine says."""
        return await self.ask_each(ListedImage, "images/json", {"manifests": "1"})

    async def image_users(self) -> Counter[str]:
        """Return how many containers were made of each image, by its id, running or not."""
        found = await self.ask_each(ImageUser, "containers/json", {"all": "1"})
        return Counter(each.image for each in found)

    @asynccontextmanager
    async def happenings(self) -> AsyncIterator[AsyncIterator[Happening]]:
        """Yield what happens to images and containers from now on (`GET /events`).

        It ends when the engine ends it.

        Raises:
            TaskFailed: the engine refused, or can't be read; also while it is followed.
        """
        filters = json.dumps({"type": ["image", "container"]})
        async with self._request("GET", "events", {"filters": filters}, "", None) as response:
            try:
                yield self._happenings(response)
            finally:
                response.close()

    async def _happenings(self, response: aiohttp.ClientResponse) -> AsyncIterator[Happening]:
        try:
            while line := await response.content.readline():
                if line.strip():
                    yield _happening.decode(line)
        except (ValueError, HttpProcessingError) as error:
            # A line may also be too long.
            raise UnreadableAnswer(
                f"the events of the Docker Engine at {self.url} can't be read: {error}"
            ) from error

    async def pull(
        self,
        repository: str,
        tag: str,
        auth: dict[str, str] | None = None,
        platform: Platform | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Pull an image (`POST /images/create`), yielding the engine's progress messages.

        Closed before its end, it closes the connection: the engine breaks the pull off.

        Args:
            tag: a tag or a digest.
            auth: an `AuthConfig` of the Docker Engine API, sent as `X-Registry-Auth`.
            platform: what the image is to be for; engines before API version 1.32 pass over it.

        Raises:
            TaskFailed: the engine refused, the stream carried an error, or it broke off; with the
                engine's own words.
        """
        parameters = {"fromImage": repository, "tag": tag}
        if platform is not None:
            parameters["platform"] = str(platform)
        async with self._request("POST", "images/create", parameters, repository, auth) as response:
            try:
                while line := await response.content.readline():
                    yield self._message(line, auth)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                raise Passing(
                    "the Docker Engine's progress stream ended before the pull was complete"
                ) from error
            except (ValueError, HttpProcessingError) as error:
                raise TaskFailed(
                    "the Docker Engine's progress stream can't be read: a line is too long"
                ) from error
            finally:
                # Left to the garbage collector, the engine would go on pulling.
                response.close()

    def _message(self, line: bytes, auth: dict[str, str] | None) -> dict[str, Any]:
        """Return a message of the stream; raises the error that it carries."""
        try:
            message = _message.decode(line)
        except Unreadable as error:
            raise TaskFailed(
                f"the Docker Engine's progress stream can't be read: {error}"
            ) from error
        if "error" in message or "errorDetail" in message:
            detail = message.get("errorDetail")
            words = detail.get("message") if isinstance(detail, dict) else None
            words = words or message.get("error") or "unknown error in the progress stream"
            raise EngineRefused(0, strike(str(words), _secrets(auth)))
        return message

    async def ask(
        self,
        type: type[T],
        method: str,
        path: str,
        parameters: dict[str, str] | None = None,
        *,
        within: float | None = None,
    ) -> T:
        """Return what it answers to what has no method here.

        Args:
            type: what its JSON is read as.
            path: without the version.
            within: seconds; those of its quick calls unless given.

        Raises:
            TaskFailed: it did not answer, refused, or answered something else.
        """
        return await self._ask(type, method, path, parameters, within=within)

    async def _ask(
        self,
        type: type[T],
        method: str,
        path: str,
        parameters: dict[str, str] | None = None,
        *,
        repository: str = "",
        auth: dict[str, str] | None = None,
        within: float | None = None,
    ) -> T:
        """Return what the engine answers.

        Args:
            type: what its JSON is read as.
            repository, auth: what it is to log in to, and how; see `pull`.
            within: seconds; those of its quick calls unless given.

        Raises:
            EngineUnreachable: it did not answer.
            EngineRefused: it answered with an error.
            UnreadableAnswer: it answered something else than a Docker Engine does.
        """
        body = await self._send(
            method, path, parameters, repository=repository, auth=auth, within=within
        )
        try:
            return Decoder(type).decode(body)
        except Unreadable as error:
            raise UnreadableAnswer(
                f"what the Docker Engine at {self.url} answered to {method} /{path} can't be read: "
                f"{error}"
            ) from error

    async def ask_each(self, type: type[T], path: str, parameters: dict[str, str]) -> list[T]:
        """Return what of a list can be read; raises as `ask`."""
        body = await self._send("GET", path, parameters)
        try:
            listed = _list.decode(body)
        except Unreadable as error:
            raise UnreadableAnswer(
                f"what the Docker Engine at {self.url} answered to GET /{path} can't be read: "
                f"{error}"
            ) from error
        decoder, found = msgspec.json.Decoder(type), []
        for each in listed or ():
            # What one of them is like hides no other.
            with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
                found.append(decoder.decode(each))
        return found

    async def _send(
        self,
        method: str,
        path: str,
        parameters: dict[str, str] | None = None,
        *,
        repository: str = "",
        auth: dict[str, str] | None = None,
        within: float | None = None,
    ) -> bytes:
        """Return the body of what the engine answers; see `_ask`."""
        seconds = ANSWER_WITHIN if within is None else within
        try:
            async with (
                asyncio.timeout(seconds),
                self._request(method, path, parameters, repository, auth) as response,
            ):
                return await response.read()
        except TimeoutError as error:
            raise EngineUnreachable(
                f"the Docker Engine at {self.url} did not answer within {seconds:.0f} s"
            ) from error

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        parameters: dict[str, str] | None,
        repository: str,
        auth: dict[str, str] | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the engine's answer; raises as `_ask`, also while the answer is read."""
        headers = {"Content-Type": "application/json"}
        if auth is not None:
            address = repository.partition("/")[0]
            headers["X-Registry-Auth"] = compose_auth_header(auth, address)
        try:
            docker = self._client()
            if path != "version" and self._root is None:
                # A busy engine, and Podman's service above all, takes its time for that.
                await self._ask_version(ANSWER_WITHIN)
            root = "" if path == "version" else self._root
            url = URL(f"{docker.docker_host}{root}/{path}")
            async with docker.session.request(
                method, url, params=parameters, headers=headers, timeout=aiohttp.ClientTimeout()
            ) as response:
                if not response.ok:
                    raise EngineRefused(response.status, await _refusal(response, auth))
                yield response
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise self._unreachable(str(error) or type(error).__name__, auth) from error

    def _client(self) -> Docker:
        if self._docker is None:
            try:
                self._docker = Docker(self.url)
            except (ValueError, OSError) as error:
                # What the environment says of certificates can't be used.
                raise self._unreachable(str(error)) from error
        return self._docker

    def _unreachable(self, reason: str, auth: dict[str, str] | None = None) -> EngineUnreachable:
        words = strike(reason, _secrets(auth))
        return EngineUnreachable(f"cannot connect to the Docker Engine at {self.url}: {words}")


async def _refusal(response: aiohttp.ClientResponse, auth: dict[str, str] | None) -> str:
    """Return the engine's words of why it refused, without the secrets of a login."""
    body = await response.read()
    try:
        words = _refused.decode(body).message
    except Unreadable:
        words = f"HTTP status {response.status}: {body.decode(errors='replace').strip()}"
    return strike(words, _secrets(auth))


def _secrets(auth: dict[str, str] | None) -> list[str]:
    """Return what of a login nobody must read in an engine's words."""
    if auth is None:
        return []
    names = ("password", "identitytoken", "registrytoken")
    return [compose_auth_header(auth), *(auth.get(name, "") for name in names)]
