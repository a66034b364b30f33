"""The node's own Docker configuration: what `docker login` has left, and credential helpers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path

import msgspec
import structlog

from towline.wire.credential import (
    HUB_ADDRESS,
    TOKEN_USER,
    Credential,
    InvalidCredential,
    host_of,
    of_entry,
)
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.reference import DOCKER_HUB

log = structlog.get_logger()

HELPER_WITHIN = 10.0
"""Seconds that a credential helper may take: one that asks a person would wait for ever."""
LARGEST_ANSWER = 64 * 1024

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_KEPT = b"credentials not found in native keychain"
"""How a helper says that it has none, on standard output, with status 1."""


def default_path() -> Path | None:
    """Return where Docker's own command line has it for this user; None for one without a home."""
    if directory := os.environ.get("DOCKER_CONFIG"):
        return Path(directory) / "config.json"
    try:
        return Path.home() / ".docker" / "config.json"
    except RuntimeError:
        return None


class _Configuration(msgspec.Struct, rename="camel"):
    """The parts of Docker's config.json that are about registries."""

    auths: dict[str, msgspec.Raw] = {}
    creds_store: str = ""
    cred_helpers: dict[str, str] = {}


class _Secret(msgspec.Struct, rename="pascal"):
    """What a credential helper answers."""

    username: str = ""
    secret: str = ""


_configuration = Decoder(_Configuration)
_entry: Decoder[object] = Decoder(object)
_secret = Decoder(_Secret)


class Unusable(Exception):
    """The configuration, or a helper that it names, can't be used; in words without a secret."""


class DockerConfiguration:
    """Docker's configuration file, read anew whenever it is asked.

    Source: https://docs.docker.com/reference/cli/docker/login/ , "Credential stores" and
    "Credential helpers".

    Args:
        path: the file; there need be none.
        helper_within: seconds that a credential helper may take.
    """

    def __init__(self, path: Path, *, helper_within: float = HELPER_WITHIN) -> None:
        self.path = path
        self._helper_within = helper_within

    async def find(self, registry: str) -> Credential | None:
        """Return what is there for a registry, or None.

        A helper of that registry's own comes before the store of all, and both before the file.

        Raises:
            Unusable: the file can't be read, or the helper did not work.
        """
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unusable(f"{str(self.path)!r} can't be read: {error.strerror}") from None
        try:
            found = _configuration.decode(text)
        except Unreadable as error:
            raise Unusable(f"{str(self.path)!r} can't be read: {error}") from None
        named = {host_of(key): helper for key, helper in found.cred_helpers.items()}
        helper = named.get(registry) or found.creds_store
        if helper:
            address = HUB_ADDRESS if registry == DOCKER_HUB else registry
            return await _ask_helper(helper, address, self._helper_within)
        return self._of_file(found, registry)

    def _of_file(self, found: _Configuration, registry: str) -> Credential | None:
        for key in sorted(found.auths, key=lambda key: key != registry):
            if host_of(key) == registry:
                try:
                    return of_entry(_entry.decode(found.auths[key]))
                except (InvalidCredential, Unreadable) as error:
                    raise Unusable(f"{str(self.path)!r}, {registry}: {error}") from None
        return None


async def _ask_helper(name: str, address: str, within: float) -> Credential | None:
    """Run a credential helper.

    Source: https://github.com/docker/docker-credential-helpers , "Development": the address on
    standard input, JSON on standard output.
    """
    program = f"docker-credential-{name}"
    if not _HELPER.fullmatch(name):
        raise Unusable(f"{name[:40]!r} is no credential helper's name")
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            limit=LARGEST_ANSWER,
        )
    except OSError as error:
        raise Unusable(f"the credential helper {program} did not start: {error.strerror}") from None
    try:
        async with asyncio.timeout(within):
            answer, _ = await process.communicate(address.encode())
    except TimeoutError:
        raise Unusable(
            f"the credential helper {program} did not answer within {within:.0f} s"
        ) from None
    finally:
        # Whatever it has started goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.returncode is None:
            await process.wait()
    if process.returncode != 0:
        if answer.strip() == _NOT_KEPT:
            return None
        # Its words are not repeated: they may have anything in them.
        raise Unusable(
            f"the credential helper {program} ended with status {process.returncode}; "
            f"run 'echo {address} | {program} get' as the agent's user to see why"
        )
    try:
        secret = _secret.decode(answer)
    except Unreadable:
        raise Unusable(f"what the credential helper {program} answered can't be read") from None
    if not secret.secret:
        return None
    if secret.username == TOKEN_USER:
        return Credential(identity_token=secret.secret)
    return Credential(secret.username, secret.secret)
