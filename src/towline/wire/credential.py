"""What a registry lets somebody in with: a user's password, or a token. Pure data."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from towline.wire.fields import Encoded, Text
from towline.wire.reference import DOCKER_HUB, parse_registry

HUB_ADDRESS = "https://index.docker.io/v1/"
"""What engines and their clients have always called Docker Hub where credentials are concerned."""
TOKEN_USER = "<token>"
"""The user name by which a credential helper says that its secret is an identity token."""


class InvalidCredential(ValueError):
    """What was given is no credential; the message says why, and repeats nothing of it."""


class Credential(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a registry lets somebody in with. Its text shows no secret.

    Attributes:
        username, password: where the registry asks for these.
        identity_token: stands in place of a password: the registry gives tokens for it.
        registry_token: a token that the registry itself takes, as it is.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credential({self.who})"

    __str__ = __repr__

    @property
    def kind(self) -> str:
        """What it is: `password`, `identity_token` or `registry_token`."""
        if self.identity_token:
            return "identity_token"
        return "registry_token" if self.registry_token else "password"

    @property
    def who(self) -> str:
        """Whose it is, in words that may be shown to anybody."""
        if self.username:
            return f"the user {self.username!r}"
        return "an identity token" if self.identity_token else "a registry token"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of it must be shown to nobody."""
        secrets = (self.password, self.identity_token, self.registry_token)
        return tuple(secret for secret in secrets if secret)

    @property
    def header(self) -> str:
        """Return it as the header `X-Registry-Auth` has it."""
        given = {
            "username": self.username,
            "password": self.password,
            "identitytoken": self.identity_token,
            "registrytoken": self.registry_token,
        }
        present = {name: value for name, value in given.items() if value}
        return base64.urlsafe_b64encode(msgspec.json.encode(present)).decode()

    def for_engine(self, registry: str) -> dict[str, str]:
        """Return it as the Docker Engine API has it (AuthConfig).

        Args:
            registry: `host[:port]`, as references name it.
        """
        return {
            "username": self.username,
            "password": self.password,
            # Always there: without it aiodocker puts in a server address of its own, and an
            # engine whose images containerd keeps would not take "docker.io" for Docker Hub.
            "identitytoken": self.identity_token,
            "registrytoken": self.registry_token,
            "serveraddress": HUB_ADDRESS if registry == DOCKER_HUB else registry,
        }


class _Entry(msgspec.Struct):
    """The Docker Engine API's AuthConfig; fields that nothing here needs are left unread."""

    username: str | None = None
    password: str | None = None
    auth: str | None = None
    serveraddress: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


def of_entry(values: object) -> Credential | None:
    """Read an AuthConfig, as headers and Docker's configuration file have it; None if it's empty.

    Raises:
        InvalidCredential: it is none.
    """
    try:
        return _credential(msgspec.convert(values, _Entry))
    except msgspec.ValidationError as error:
        raise InvalidCredential(str(error)) from None


def _credential(entry: _Entry) -> Credential | None:
    username, password = entry.username or "", entry.password or ""
    if entry.auth and not (username or password):
        username, password = _user_and_password(entry.auth)
    found = Credential(username, password, entry.identitytoken or "", entry.registrytoken or "")
    if found == Credential():
        return None
    if not found.secrets:
        raise InvalidCredential("it has a user name, but neither a password nor a token")
    if found.password and not (username or found.identity_token or found.registry_token):
        raise InvalidCredential("it has a password, but no user name")
    return found


def _user_and_password(text: str) -> tuple[str, str]:
    try:
        username, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        raise InvalidCredential("its field 'auth' is not base64 of USER:PASSWORD") from None
    if not colon:
        raise InvalidCredential("its field 'auth' is not base64 of USER:PASSWORD")
    return username, password.rstrip("\0")


def of_header(text: str, registry: str) -> Credential | None:
    """Read the header `X-Registry-Auth`; None where it says that there are no credentials.

    Source: https://docs.docker.com/reference/api/engine/ , "Authentication": base64url of a JSON
    object. Some clients use the other alphabet of base64, or leave out the padding.

    Args:
        registry: the one that the request is about.

    Raises:
        InvalidCredential: it can't be read, or is for another registry.
    """
    try:
        text = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidCredential("it is not base64url") from None
    if not raw.strip():
        return None
    try:
        values: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidCredential("what it encodes is not JSON") from None
    try:
        entry = msgspec.convert(values, _Entry)
    except msgspec.ValidationError as error:
        raise InvalidCredential(str(error)) from None
    found = _credential(entry)
    if found is not None and entry.serveraddress:
        named = host_of(entry.serveraddress)
        if named != registry:
            raise InvalidCredential(
                f"its serveraddress is {named!r}, and the image is one of {registry!r}"
            )
    return found


def host_of(address: str) -> str:
    """Return the registry that a server address or a key in Docker's configuration names.

    Those are hosts, or URLs of any path; "" where it is neither.
    """
    rest = address.partition("://")[2] or address
    try:
        return parse_registry(rest.partition("/")[0])
    except ValueError:
        return ""


class Issued(msgspec.Struct, frozen=True):
    """What is sealed to a node.

    Attributes:
        own: whether the job's request brought it; otherwise it is kept for the registry.
    """

    job: str
    registry: str
    credential: Credential
    own: bool


class Supply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The credential that a node is given with a task.

    Attributes:
        sealed: an `Issued`, that only the node can read.
        error: why there is none although one is kept, or ought to be.
        again: whether another controller, or the same a moment later, may have one.
    """

    sealed: Encoded = ""
    error: Text = ""
    again: bool = False
