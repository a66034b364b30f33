"""The HTTP connection to a controller: how it is made, and how its answers are checked."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.request import getproxies

import httpx

from towline.errors import ApiError, InvalidConfiguration, sentence

MARGIN = 15.0
"""Seconds that the HTTP request may take beyond the wait that it asks for."""


def connection(url: str, token: str) -> dict[str, Any]:
    """Return the arguments of an HTTP client of the API.

    Raises:
        InvalidConfiguration: `url` or `token` is not valid; the error repeats neither.
    """
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL:
        base = httpx.URL()
    # A user name in it would take the place of the token.
    if base.scheme not in ("http", "https") or not base.host or base.userinfo:
        raise InvalidConfiguration(
            "The controller's URL is not valid.", "Write http://HOST:PORT, without a user name"
        )
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidConfiguration(
            "The token is not valid.", "It is one line of ASCII, as towline token create prints it"
        )
    made: dict[str, Any] = {
        "base_url": base,
        "headers": {"Authorization": f"Bearer {token}"},
    }
    if base.scheme == "http" and not getproxies():
        # No TLS is spoken here. To read the system's certificates takes 30 ms, more than a request
        # does; this context trusts nobody.
        made["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return made


def body(response: httpx.Response) -> Any:
    """Return the body of an answer that is no error; None where it has none.

    Raises:
        ApiError: the answer is an error, or comes from something that is no controller.
    """
    found: object = None
    if response.content:
        try:
            found = response.json()
        except (ValueError, RecursionError) as error:
            if response.is_success:
                raise foreign(response, error) from error
    if not response.is_success:
        known = found if isinstance(found, dict) else {}
        before, _, job_id = response.headers.get("location", "").partition("/job/")
        said = str(known.get("error") or f"{response.status_code} from {response.url.host}")
        details = str(known.get("details", ""))
        raise ApiError(
            said, details, None if before else job_id or None, status=response.status_code
        )
    return found


def foreign(response: httpx.Response, cause: object) -> ApiError:
    """Return the error of an answer that no controller of this version gives."""
    where = response.url.copy_with(raw_path=b"/")
    return ApiError(
        f"What answers at {where} is no controller.", str(cause), status=response.status_code
    )


def unreachable(url: str, error: httpx.HTTPError) -> ApiError:
    """Return the error of a controller that gave no answer."""
    return ApiError(sentence(f"The controller at {url} does not answer", error), str(error))
