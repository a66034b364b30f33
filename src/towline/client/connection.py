"""The HTTP connection to a controller: how it is made, and how its answers are checked."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.request import getproxies

import httpx

from towline.errors import ApiError, InvalidConfiguration, Unreachable, sentence

MARGIN = 15.0
"""Seconds that the HTTP request may take beyond the wait that it asks for."""
GATEWAY = (502, 504)
"""Statuses by which what stands before a controller says that this one gave no answer."""
STOPPING = 503
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
"""Failures before anything of a request was sent."""


Authorities: TypeAlias = str | os.PathLike[str] | ssl.SSLContext
"""Who signs the certificates that are trusted: a PEM file, or what verifies them."""


def connection(url: str, token: str, ca: Authorities | None = None) -> dict[str, Any]:
    """Return the arguments of an HTTP client of the API.

    Args:
        ca: who signs the controller's certificate; None for those whom the system trusts.

    Raises:
        InvalidConfiguration: `url` or `token` is not valid, and the error repeats neither; or `ca`
            can't be read.
    """
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL:
        base = httpx.URL()
    # A user name in it would take the place of the token.
    if base.scheme not in ("http", "https") or not base.host or base.userinfo:
        raise InvalidConfiguration(
            "The controller's URL is not valid.", "Write https://HOST:PORT, without a user name"
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
    local = is_loopback(base.host)
    if local:
        # No proxy is asked for this machine: it would read the token, and reach another.
        made["trust_env"] = False
    if base.scheme == "http" and (local or not getproxies()):
        # No TLS is spoken here. To read the system's certificates takes 30 ms, more than a request
        # does; this context trusts nobody.
        made["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        made["verify"] = _verifying(ca)
    return made


def is_loopback(host: str) -> bool:
    """Return whether a URL's host is this machine, as it reaches itself alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _verifying(ca: Authorities | None) -> ssl.SSLContext:
    if isinstance(ca, ssl.SSLContext):
        return ca
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise InvalidConfiguration(
            f"The CA's certificates, {str(ca)!r}, can't be read.", str(error)
        ) from error


def body(response: httpx.Response) -> Any:
    """Return the body of an answer that is no error; None where it has none.

    Raises:
        Unreachable: the controller was not there to answer, or couldn't reach the broker.
        ApiError: the answer is another error, or comes from something that is no controller.
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
        said = str(known.get("error") or f"{response.status_code} from {response.url.host}")
        details = str(known.get("details", ""))
        status, job = response.status_code, _job_of(response)
        if status in (*GATEWAY, STOPPING):
            raise Unreachable(said, details, job, status=status, unknown=True)
        if status == 500 and "retry-after" in response.headers:
            # With a job: whether it was stored is not known.
            raise Unreachable(said, details, job, status=status, unknown=job is not None)
        raise ApiError(said, details, job, status=status)
    return found


def foreign(response: httpx.Response, cause: object) -> ApiError:
    """Return the error of an answer that no controller of this version gives."""
    where = response.url.copy_with(raw_path=b"/")
    return ApiError(
        f"What answers at {where} is no controller.",
        str(cause),
        _job_of(response),
        status=response.status_code,
    )


def _job_of(response: httpx.Response) -> str | None:
    """Return the id of the job that an answer is about; None where it names none."""
    before, _, job_id = response.headers.get("location", "").partition("/job/")
    return None if before else job_id or None


def unreachable(url: str, error: httpx.HTTPError) -> ApiError:
    """Return the error of a controller that gave no answer: `Unreachable` if it isn't the way."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(url, cause)
        if isinstance(cause, ssl.SSLError) and cause.reason in _PLAIN:
            return ApiError(
                f"What answers at {url} does not encrypt.",
                "Write http://, as controllers answer on loopback, if that is what you want: "
                "others may then read the token",
            )
    details = str(error)
    if isinstance(error, httpx.RemoteProtocolError) and url.startswith("http:"):
        details += " Beyond loopback controllers encrypt: write https://"
    return Unreachable(
        sentence(f"The controller at {url} does not answer", error),
        details,
        unknown=not isinstance(error, NOT_SENT),
    )


_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
"""What OpenSSL calls an answer that is no TLS."""
_OTHER_NAME = (62, 64)
_OTHER_TIME = (9, 10)
"""What OpenSSL calls a certificate for another name or address, and one that is not valid yet, or
no more (X509_V_ERR_… in its x509_vfy.h)."""


def _untrusted(url: str, error: ssl.SSLCertVerificationError) -> ApiError:
    said = error.verify_message.rstrip(".")
    if error.verify_code in _OTHER_NAME:
        mend = (
            "ask it by a name that the certificate has, or start the controller with "
            "--address and this name"
        )
    elif error.verify_code in _OTHER_TIME:
        mend = "set the clock of this machine, or renew the certificate"
    else:
        mend = (
            "name the file with the CA that has signed it, with --ca, TOWLINE_CA or ca=. The "
            "fleet's own is trust/api-ca.pem in the state directory of each controller"
        )
    return ApiError(f"The certificate of what answers at {url} is not trusted.", f"{said}: {mend}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
