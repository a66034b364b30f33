"""The next step by which a key of the trust directory is replaced, in its files on this machine.

A new key is known first, then it is the one that signs, then the old one is gone. Whatever ends a
step half-way leaves files that can be used, and the step can be taken again.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from towline.errors import InvalidConfiguration
from towline.runtime.key_files import FIRST_ALREADY, NOT_FIRST_YET
from towline.runtime.state_directory import write_private
from towline.trust import claims, login_keys
from towline.trust.certificates import (
    make_authority,
    pem_blocks,
    read_certificates,
    read_keys,
)
from towline.trust.keys import CA, CA_KEY, NODES_JWT, NODES_SIGNING, OPERATOR_SIGNING, Trust
from towline.trust.login_keys import LoginKeys
from towline.trust.nodes_account import scope_of


def rotate_logins(trust: Trust) -> bool:
    """Put a new key of nodes' logins behind the other, or the newest before it.

    Returns:
        Whether the newest key is the first now.

    Raises:
        InvalidConfiguration: a file can't be read or written, or the newest key is the first
            already.
    """
    return bool(_change_logins(trust, login_keys.rotated).coming)


def retire_logins(trust: Trust) -> int:
    """Remove all keys of nodes' logins but the first; return how many.

    What stays of them in the file is the public half, by which they are known to be retired.

    Raises:
        InvalidConfiguration: a file can't be read or written, or the newest key is not the first
            yet.
    """
    return len(_change_logins(trust, login_keys.retired).keys) - 1


def rotate_authorities(trust: Trust) -> bool:
    """Take the next step with the brokers' CA, as `rotate_logins`; raises as that.

    The keys stay in the order in which they were made: it says which certificate is the newest.
    """
    certificates, keys, coming = _authorities(trust)
    if coming is not None:
        _write(trust, CA, "".join([coming, *(each for each in certificates if each != coming)]))
        return True
    if len(certificates) > 1:
        raise _refused(trust, CA, FIRST_ALREADY)
    made = make_authority()
    # What signs is the key of the first certificate, wherever it stands: so one after the other.
    _write(trust, CA_KEY, "".join([*keys, made.key]))
    _write(trust, CA, "".join([*certificates, made.certificate]))
    return False


def retire_authorities(trust: Trust) -> int:
    """Remove all CAs of brokers but the first, as `retire_logins`."""
    certificates, keys, coming = _authorities(trust)
    if coming is not None:
        raise _refused(trust, CA, NOT_FIRST_YET)
    _write(trust, CA, certificates[0])
    _write(trust, CA_KEY, keys[0])
    return len(certificates) - 1


def _authorities(trust: Trust) -> tuple[list[str], list[str], str | None]:
    """Return the certificates, and the key of each, as PEM, and which is to be the first."""
    path, secret = trust.path(CA), trust.path(CA_KEY)
    text, _ = trust.read(CA), trust.read(CA_KEY)
    keys = read_keys(secret)
    blocks, found, places = pem_blocks(text), [], []
    for each in read_certificates(path):
        place = next(
            (at for at, key in enumerate(keys) if key.public_key() == each.public_key()), None
        )
        if place is None:
            raise InvalidConfiguration(
                f"No key in {str(secret)!r} is that of a certificate in {str(path)!r}.",
                "Put back what belongs together",
            )
        places.append(place)
        found.append(_pem(keys[place]))
    newest = blocks[places.index(max(places))]
    return blocks, found, None if newest == blocks[0] else newest


def _pem(key: EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _change_logins(trust: Trust, alter: Callable[[LoginKeys], LoginKeys]) -> LoginKeys:
    """Write what `alter` returns for the keys of logins, and return those that there were."""
    before = trust.login_keys()
    try:
        after = alter(before)
    except ValueError as error:
        raise _refused(trust, NODES_SIGNING, error) from error
    _write_logins(trust, after)
    return before


def _write_logins(trust: Trust, keys: LoginKeys) -> None:
    # What a further broker is started with, until a controller has sent it what counts by now. It
    # is as old as it was, or it would count for newer than what has been taken back since.
    found, account = trust.account(NODES_JWT)
    changed = claims.sign(
        msgspec.structs.replace(account, signing_keys=tuple(map(scope_of, keys.public))),
        by=trust.read(OPERATOR_SIGNING),
        about=found.sub,
        name=found.name,
        iat=found.iat,
    )
    _write(trust, NODES_SIGNING, keys.text)
    _write(trust, NODES_JWT, f"{changed}\n")


def _write(trust: Trust, name: str, text: str) -> None:
    try:
        write_private(trust.path(name), text, as_before=True)
    except OSError as error:
        raise InvalidConfiguration(
            f"{str(trust.path(name))!r} can't be written.", str(error)
        ) from error


def _refused(trust: Trust, name: str, reason: object) -> InvalidConfiguration:
    return InvalidConfiguration(f"{str(trust.path(name))!r} is left as it is: {reason}.")
