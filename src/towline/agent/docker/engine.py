"""The node's Docker Engine, through its own API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

import aiohttp
import structlog
from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiodocker.jsonstream import json_stream_stream
from aiodocker.utils import compose_auth_header

from towline.agent.docker.errors import EngineUnreachable
from towline.errors import TaskFailed
from towline.runtime.redaction import strike

log = structlog.get_logger()

T = TypeVar("T")

ANSWER_WITHIN = 60.0
"""Seconds for the engine's quick calls; the pull has no limit."""
UNREACHABLE = 900
"""What aiodocker gives as a status where there was no HTTP response."""

NO_IMAGE = "a-label-that-no-image-has"


class EngineRefused(TaskFailed):
    """The engine answered with an error.

    Attributes:
        status: the HTTP status of its answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """A Docker Engine at `url`, with the API version negotiated on first use.

    Args:
        url: `unix:///path`, `tcp://host:port` or `http://host:port`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.naming = asyncio.Lock()
        """Held while an image's names are moved."""
        self._docker: Docker | None = None
        self._keeps: bool | None = None

    def _client(self) -> Docker:
        if self._docker is None:
            self._docker = Docker(self.url)
        return self._docker

    async def close(self) -> None:
        """Close the connections."""
        if self._docker is not None:
            docker, self._docker = self._docker, None
            await docker.close()

    async def _ask(
        self,
        call: Awaitable[T],
        seconds: float = ANSWER_WITHIN,
        auth: dict[str, str] | None = None,
    ) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await call
        except TimeoutError as error:
            raise EngineUnreachable(
                f"the Docker Engine at {self.url} did not answer within {seconds:.0f} s"
            ) from error
        except (DockerError, aiohttp.ClientError, OSError) as error:
            raise self._translate(error, auth) from error

    def _translate(self, error: Exception, auth: dict[str, str] | None = None) -> TaskFailed:
        """Return an error of the library's as one of ours, without the secrets of a login."""
        words = str(error.message if isinstance(error, DockerError) else error)
        reason = strike(words, _secrets(auth))
        if isinstance(error, DockerError) and error.status != UNREACHABLE:
            return EngineRefused(error.status, reason)
        self._keeps = None
        return EngineUnreachable(f"cannot connect to the Docker Engine at {self.url}: {reason}")

    async def ping(self) -> str:
        """Return the engine's version; raises `EngineUnreachable`."""
        # The API version is asked for again after an absence: the engine may have been upgraded.
        version = await self._ask(self._client().version(), 5.0)
        self._client().api_version = f"v{version['ApiVersion']}"
        return str(version["Version"])

    async def info(self) -> dict[str, Any]:
        """Return what the engine says of itself (`GET /info`)."""
        return dict(await self._ask(self._client().system.info()))

    async def keeps_broken_off(self) -> bool:
        """Whether it keeps what had arrived of a pull that was broken off, for a later one.

        Engines with the containerd image store do. Asked once: it changes with their settings,
        and so with a restart.
        """
        if self._keeps is None:
            status = (await self.info()).get("DriverStatus") or []
            self._keeps = any("io.containerd.snapshotter" in str(entry) for entry in status)
        return self._keeps

    async def release_broken_off(self) -> None:
        """Have it throw away what it keeps of pulls that were broken off.

        Pulls under way then lose what they have fetched, too, and fail. No image is removed: to
        prune images releases all leases of pulls, and the filter lets no image through.
        """
        filters = {"dangling": ["true"], "label": [f"towline.none={NO_IMAGE}"]}
        await self._ask(
            self._client()._query_json(
                "images/prune", "POST", params={"filters": json.dumps(filters)}
            )
        )

    async def image(self, reference: str) -> dict[str, Any] | None:
        """Return what the engine knows of a present image (`GET /images/{name}/json`), or None."""
        return await self._inspect(reference)

    async def parts(self, reference: str) -> dict[str, Any] | None:
        """Return the same, and what of the image is there: `Manifests`, with `Available`.

        Engines with the classic store, and those before 28.0, leave that out.
        """
        return await self._inspect(reference, {"manifests": "1"})

    async def _inspect(
        self, reference: str, parameters: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._ask(
                self._client()._query_json(f"images/{reference}/json", params=parameters)
            )
            return found
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise

    async def digest(self, name: str, auth: dict[str, str] | None = None) -> str:
        """Return what a tag is at its registry now (`GET /distribution/{name}/json`).

        Args:
            name: repository and tag.
            auth: as in `pull`.

        Raises:
            TaskFailed: the registry or the engine refused; in the engine's own words.
        """
        found = await self._ask(
            self._client()._query_json(f"distribution/{name}/json", headers=_login(name, auth)),
            auth=auth,
        )
        return str(found["Descriptor"]["digest"])

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image one more name (`POST /images/{name}/tag`)."""
        await self._do("POST", f"images/{name}/tag", {"repo": repository, "tag": tag})

    async def untag(self, name: str) -> None:
        """Take a name from an image, and remove what has none then (`DELETE /images/{name}`)."""
        await self._do("DELETE", f"images/{name}", {"noprune": "1"})

    async def _do(self, method: str, path: str, parameters: dict[str, str]) -> None:
        async def call() -> None:
            async with self._client()._query(path, method, params=parameters) as response:
                await response.read()

        await self._ask(call())

    async def pull(
        self, repository: str, tag: str, auth: dict[str, str] | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Pull an image (`POST /images/create`), yielding the engine's progress messages.

        Closed before its end, it closes the connection: the engine breaks the pull off.

        Args:
            tag: a tag or a digest.
            auth: an `AuthConfig` of the Docker Engine API, sent as `X-Registry-Auth`.

        Raises:
            TaskFailed: the engine refused, the stream carried an error, or it broke off; with the
                engine's own words.
        """
        try:
            # The library's own call leaves the connection open to the garbage collector, and so
            # the engine pulling, when it is closed before its end.
            async with self._client()._query(
                "images/create",
                "POST",
                params={"fromImage": repository, "tag": tag},
                headers=_login(repository, auth),
                timeout=aiohttp.ClientTimeout(),
            ) as response:
                try:
                    async for message in json_stream_stream(response):
                        yield message
                finally:
                    response.close()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TaskFailed(f"the Docker Engine's progress stream broke off: {error}") from error
        except (DockerError, aiohttp.ClientError, OSError) as error:
            raise self._translate(error, auth) from error

    async def containers(self, *, everything: bool, limit: int, state: str) -> list[dict[str, Any]]:
        """Return containers (`GET /containers/json`), the newest first."""
        parameters: dict[str, Any] = {"all": "1" if everything else "0", "limit": str(limit)}
        if state:
            parameters["filters"] = json.dumps({"status": state.split(",")})
        found: list[dict[str, Any]] = await self._ask(
            self._client()._query_json("containers/json", params=parameters)
        )
        return found


def _login(repository: str, auth: dict[str, str] | None) -> dict[str, str]:
    """Return the headers by which the engine logs in to a registry."""
    if auth is None:
        return {}
    return {"X-Registry-Auth": compose_auth_header(auth, repository.partition("/")[0])}


def _secrets(auth: dict[str, str] | None) -> list[str]:
    """Return what of a login nobody must read in an engine's words."""
    if auth is None:
        return []
    names = ("password", "identitytoken", "registrytoken")
    return [compose_auth_header(auth), *(auth.get(name, "") for name in names)]
