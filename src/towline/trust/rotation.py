"""The next step by which a key of the trust directory is replaced, in its files on this machine.

A new key is known first, then it is the one that signs, then the old one is gone. Whatever ends a
step half-way leaves files that can be used, and the step can be taken again.
"""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from towline.errors import InvalidConfiguration
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
        InvalidConfiguration: a file can't be read or written, or more than one key is older.
    """
    try:
        keys, first = login_keys.rotated(trust.login_keys())
    except ValueError as error:
        raise _refused(trust, NODES_SIGNING, error) from error
    _write_logins(trust, keys)
    return first


def retire_logins(trust: Trust) -> int:
    """Remove all keys of nodes' logins but the first; return how many; raises as above.

    What stays of them in the file is the public half, by which they are known to be retired.
    """
    before = trust.login_keys()
    _write_logins(trust, login_keys.retired(before))
    return len(before.seeds) - 1


def rotate_authorities(trust: Trust) -> bool:
    """Take the next step with the brokers' CA, as `rotate_logins`; raises as that."""
    certificates, keys = _authorities(trust)
    if len(certificates) > 2:
        raise _refused(
            trust, CA, f"it holds {len(certificates)} certificates: retire those behind the first"
        )
    first = len(certificates) == 2
    if first:
        certificates, keys = certificates[::-1], keys[::-1]
    else:
        made = make_authority()
        certificates, keys = [*certificates, made.certificate], [*keys, made.key]
    # What signs is the key of the first certificate, wherever it stands: so one after the other.
    _write(trust, CA_KEY, "".join(keys))
    _write(trust, CA, "".join(certificates))
    return first


def retire_authorities(trust: Trust) -> int:
    """Remove all CAs of brokers but the first, as `retire_logins`."""
    certificates, keys = _authorities(trust)
    _write(trust, CA, certificates[0])
    _write(trust, CA_KEY, keys[0])
    return len(certificates) - 1


def _authorities(trust: Trust) -> tuple[list[str], list[str]]:
    """Return the certificates, and the key of each, as PEM."""
    path, secret = trust.path(CA), trust.path(CA_KEY)
    text, _ = trust.read(CA), trust.read(CA_KEY)
    keys = read_keys(secret)
    found = []
    for each in read_certificates(path):
        key = next((key for key in keys if key.public_key() == each.public_key()), None)
        if key is None:
            raise InvalidConfiguration(
                f"No key in {str(secret)!r} is that of a certificate in {str(path)!r}.",
                "Put back what belongs together",
            )
        found.append(_pem(key))
    return pem_blocks(text), found


def _pem(key: EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


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
        write_private(trust.path(name), text)
    except OSError as error:
        raise InvalidConfiguration(
            f"{str(trust.path(name))!r} can't be written.", str(error)
        ) from error


def _refused(trust: Trust, name: str, reason: object) -> InvalidConfiguration:
    return InvalidConfiguration(f"{str(trust.path(name))!r} is left as it is: {reason}.")
