"""What people are shown of the trust directory: what is there, and nothing that is secret."""

from __future__ import annotations

import datetime
from collections.abc import Container

from nacl.signing import SigningKey

from towline.errors import InvalidConfiguration
from towline.trust import claims, keys
from towline.trust.certificates import fingerprint, read_certificates
from towline.trust.job_keys import load_signer
from towline.trust.keys import FILES, Trust
from towline.trust.pinned import pin_of
from towline.trust.signing import kid_of

ADVICE = """
Controllers and brokers need what is not in offline; a machine with a broker alone needs no
controller either, one with a controller alone no ca.key. Whoever asks the API needs api-ca.pem.
Nodes need nothing of it: towline node invite prints a line for each to come in by.

Move the directory offline to a medium that is no machine's, and keep a second copy of it:
whoever has it can become anything in this fleet, and without it some keys can't be replaced.
"""


def files(trust: Trust, there: Container[str] = FILES) -> str:
    """Return which files there are, what each is for and who needs it."""
    width = max(map(len, FILES))
    return "\n".join(f"  {name:{width}}  {FILES[name]}" for name in FILES if name in there)


def status(trust: Trust) -> str:
    """Return, a line each, which files are on this machine, and whose keys and until when."""
    width = max(map(len, FILES))
    lines = [f"In {trust.directory}:"]
    for name in FILES:
        lines.append(f"  {name:{width}}  {_state(trust, name)}")
    return "\n".join(lines)


def _state(trust: Trust, name: str) -> str:
    path = trust.path(name)
    if not path.exists():
        return "not on this machine"
    try:
        return _described(trust, name)
    except (InvalidConfiguration, claims.NotTrusted) as error:
        return f"unusable: {error.error} {error.details}"
    except ValueError as error:
        return f"unusable: {error}"


def _described(trust: Trust, name: str) -> str:
    if name in (keys.CA, keys.API_CA):
        return "; ".join(
            f"sha256 {fingerprint(each)}, until {each.not_valid_after_utc:%Y-%m-%d}"
            for each in read_certificates(trust.path(name))
        )
    if name == keys.CA_KEY:
        _ = trust.authority
        return f"the key of {keys.CA}"
    if name == keys.API_CA_KEY:
        _ = trust.api_authority
        return f"the key of {keys.API_CA}"
    if name == keys.JOBS_KEY:
        # The names are those by which an agent says what it does not believe.
        signer = load_signer(trust.path(name), create=False)
        shown = [f"{kid_of(key)} (ed25519 {key.hex()})" for key in signer.public]
        return ", ".join([*shown, *(f"retired {kid_of(key)}" for key in signer.retired)])
    if name == keys.ENROL_KEY:
        return f"x25519 {bytes(trust.enrolment().public_key).hex()}"
    if name == keys.BUNDLE:
        return f"pin {pin_of(bytes.fromhex(trust.bundle().root))}"
    if name == keys.NODES_SIGNING:
        found = trust.login_keys()
        return ", ".join((*found.public, *(f"{key} (retired)" for key in found.retired)))
    text = trust.read(name)
    if name == keys.ROOT:
        return f"ed25519 {SigningKey(bytes.fromhex(text)).verify_key.encode().hex()}"
    if name == keys.ROOT_PUBLIC:
        return f"ed25519 {text}"
    if name.endswith(".seed"):
        return claims.public_key(text)
    if name.endswith(".creds"):
        jwt, _ = claims.read(claims.token_in(text), claims.User)
    elif name == keys.OPERATOR_JWT:
        jwt, _ = claims.read(text, claims.Operator)
    else:
        jwt, _ = claims.read(text, claims.Account)
    return f"{jwt.sub}, {_until(jwt.exp)}"


def _until(moment: int) -> str:
    if not moment:
        return "for good"
    return f"until {datetime.datetime.fromtimestamp(moment, datetime.UTC):%Y-%m-%d}"
