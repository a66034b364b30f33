"""An OpenID Connect issuer: the keys that it publishes, and who a token of it stands for.

Whoever has a token decides what stands in its head. So what it may be signed with follows from the
issuer's key alone, never from the token: a secret, or none, is no way to sign one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec
import structlog

from towline.controller.token_keys import LONGEST_TOKEN
from towline.errors import InvalidConfiguration, TowlineError
from towline.wire.fields import Text

if TYPE_CHECKING:
    from towline.runtime.config import Settings

log = structlog.get_logger()

ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""What a key of each type may sign with, where it doesn't say which it is for."""
SMALLEST_RSA = 2048
LONGEST_SUBJECT = 255
MOST_KEYS = 100
LARGEST_DOCUMENT = 1024 * 1024
"""Bytes of what an issuer answers, at most."""
FETCHED_WITHIN = 5.0
"""Seconds that an issuer has for each of its documents."""
FETCHED_EVERY = 3600.0
"""Seconds after which keys are fetched again: one that an issuer withdraws counts no more."""
AGAIN_AFTER = 30.0
"""Seconds between two fetches, at least, however many tokens name keys that are not known."""


_FAILURES = (
    *(httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError),
    *(ValueError, RecursionError, msgspec.MsgspecError),
)
"""What fetching keys may end with."""


class Provider(msgspec.Struct, frozen=True):
    """What the configuration says of an issuer.

    Attributes:
        issuer: its URL, as its tokens name it.
        audience: what its tokens must be for.
        claim: where its tokens have the groups.
        groups: the roles of each group.
    """

    issuer: str
    audience: str
    claim: str = "groups"
    groups: dict[str, list[str]] = {}


def provider_of(settings: Settings) -> Provider | None:
    """Return the issuer that the settings name; None where they name none.

    Raises:
        InvalidConfiguration: its URL is none to trust, or it lacks an audience or groups.
    """
    if settings.oidc_issuer is None:
        return None
    if not _trusted(settings.oidc_issuer):
        raise InvalidConfiguration(
            f"The setting 'oidc-issuer', {settings.oidc_issuer!r}, is no issuer.",
            "Write the URL as its tokens have it, https://…, without query and fragment",
        )
    if not settings.oidc_audience or not settings.oidc_groups:
        raise InvalidConfiguration(
            "The setting 'oidc-issuer' lacks others.",
            "Write oidc-audience, what the tokens are for, and [oidc-groups], the roles of each "
            "group",
        )
    return Provider(
        settings.oidc_issuer,
        settings.oidc_audience,
        settings.oidc_groups_claim,
        settings.oidc_groups,
    )


def _trusted(url: str) -> bool:
    """Return whether what a URL answers is that of the host which it names."""
    try:
        parts = urlsplit(url)
        if parts.query or parts.fragment or parts.username or not parts.hostname:
            return False
        return parts.scheme == "https" or (parts.scheme == "http" and _here(parts.hostname))
    except ValueError:
        return False


def _here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Claims(msgspec.Struct):
    """What of a token counts; its groups stand beside it."""

    sub: Text
    exp: float
    iat: float
    jti: Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[!-~]*\Z")] = ""


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _Keys(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Key(msgspec.Struct):
    """A key of an issuer, and what it may sign with."""

    key: Any
    algorithms: Sequence[str]


class Issuer:
    """Knows an issuer's keys, and verifies its tokens by them.

    Attributes:
        version: rises whenever the keys are others than before.

    Args:
        fetched_within, fetched_every, again_after: seconds; see the constants.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        fetched_within: float = FETCHED_WITHIN,
        fetched_every: float = FETCHED_EVERY,
        again_after: float = AGAIN_AFTER,
    ) -> None:
        self.provider = provider
        self.version = 0
        self._fetched_within = fetched_within
        self._fetched_every = fetched_every
        self._again_after = again_after
        self._keys: dict[str, _Key] = {}
        self._document: list[dict[str, Any]] = []
        self._tried: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._trouble = "they have not been fetched yet"

    async def run(self) -> None:
        """Fetch the keys now and then, for ever."""
        while True:
            await self._fetch()
            await asyncio.sleep(self._again_after if self._trouble else self._fetched_every)

    async def prepare(self, token: str) -> None:
        """Fetch the keys, where a token names one that is not known, unless they just were.

        Raises:
            TowlineError: no keys could ever be fetched.
        """
        if len(token) > LONGEST_TOKEN:
            return
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
            return  # whoever verifies it says what is wrong with it
        if claims.get("iss") != self.provider.issuer or self._key(header) is not None:
            return
        if self._fetching is not None:
            await asyncio.shield(self._fetching)
        elif self._tried is None or time.monotonic() - self._tried >= self._again_after:
            await self._fetch()
        if not self._keys:
            raise TowlineError.because(
                "The keys of the issuer of the token can't be had just now",
                self._trouble,
                "Try again in a moment; the controller's log says more",
            )

    def verify(
        self, token: str, header: Mapping[str, object], *, leeway: float
    ) -> tuple[Claims, list[str]]:
        """Return what a token says, and the roles that its groups have.

        Args:
            leeway: seconds that the clock of the issuer may be ahead of ours.

        Raises:
            jwt.InvalidTokenError, msgspec.ValidationError: it is not valid.
        """
        provider = self.provider
        key = self._key(header)
        if key is None:
            raise jwt.InvalidSignatureError("no key of this controller or its issuer has signed it")
        claims = jwt.decode(
            token,
            key.key,
            algorithms=list(key.algorithms),
            audience=provider.audience,
            issuer=provider.issuer,
            leeway=leeway,
            options={"require": ["sub", "exp", "iat", "iss", "aud"]},
        )
        named = claims.get(provider.claim) or []
        groups = [named] if isinstance(named, str) else named
        if not isinstance(groups, list):
            raise jwt.InvalidTokenError(f"its {provider.claim!r} are no groups")
        held = {group for group in groups if isinstance(group, str)}
        roles = {role for group in held for role in provider.groups.get(group, ())}
        found = msgspec.convert(claims, Claims)
        if not 1 <= len(found.sub) <= LONGEST_SUBJECT:
            raise jwt.InvalidTokenError(f"its subject has not 1 to {LONGEST_SUBJECT} characters")
        return found, sorted(roles)

    def _key(self, header: Mapping[str, object]) -> _Key | None:
        named = header.get("kid")
        if named is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(named) if isinstance(named, str) else None

    # Fetching

    async def _fetch(self) -> None:
        """Fetch the keys, once for all who wait for them; what fails is logged."""
        if self._fetching is None:
            self._tried = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch_once())
        await asyncio.shield(self._fetching)

    async def _fetch_once(self) -> None:
        try:
            found = await self._documents()
        except _FAILURES as error:
            self._trouble = str(error) or type(error).__name__
            log.warning(
                "keys of the issuer not fetched",
                issuer=self.provider.issuer,
                reason=self._trouble,
            )
        else:
            self._trouble = ""
            if found != self._document:
                self._document, self._keys = found, _keys(found)
                self.version += 1
                log.info(
                    "keys of the issuer fetched",
                    issuer=self.provider.issuer,
                    keys=list(self._keys),
                )
        finally:
            self._fetching = None

    async def _documents(self) -> list[dict[str, Any]]:
        """Return the keys that the issuer publishes; raises `ValueError` for what are none."""
        issuer = self.provider.issuer
        # To read the certificates takes longer than requests may wait for.
        context = await asyncio.to_thread(ssl.create_default_context)
        async with httpx.AsyncClient(verify=context) as client:
            text = await self._get(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            discovery = msgspec.json.decode(text, type=_Discovery)
            if discovery.issuer != issuer:
                raise ValueError(f"it calls itself {discovery.issuer[:200]!r}")
            if not _trusted(discovery.jwks_uri):
                raise ValueError(f"its keys are at {discovery.jwks_uri[:200]!r}, not encrypted")
            text = await self._get(client, discovery.jwks_uri)
            found = msgspec.json.decode(text, type=_Keys).keys[:MOST_KEYS]
            if not _keys(found):
                raise ValueError("it has no keys that tokens could be verified by")
            return found

    async def _get(self, client: httpx.AsyncClient, url: str) -> bytes:
        received = bytearray()
        async with asyncio.timeout(self._fetched_within), client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise ValueError(f"{url} answers {answer.status_code}")
            async for chunk in answer.aiter_bytes():
                received += chunk
                if len(received) > LARGEST_DOCUMENT:
                    raise ValueError(f"{url} answers more than {LARGEST_DOCUMENT} bytes")
        return bytes(received)


def _keys(found: list[dict[str, Any]]) -> dict[str, _Key]:
    """Return those of an issuer's keys that sign tokens, by their ids."""
    keys: dict[str, _Key] = {}
    for each in found:
        kind, allowed = each.get("kty"), ALGORITHMS.get(str(each.get("kty")), ())
        if "alg" in each:
            allowed = tuple(name for name in allowed if name == each["alg"])
        if not allowed or each.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(each, algorithm=allowed[0] if kind == "RSA" else None).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            log.warning("key of the issuer not read", kid=str(each.get("kid")), reason=str(error))
            continue
        if kind == "RSA" and key.key_size < SMALLEST_RSA:
            log.warning("key of the issuer is too small", kid=str(each.get("kid")))
            continue
        keys[str(each.get("kid", ""))] = _Key(key, allowed)
    return keys
