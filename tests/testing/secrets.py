"""Secrets looked for in what parts write, in all forms that they might have."""

import base64


def forms(key: bytes) -> set[str]:
    """Return how a key might be written: as it is, and in what encodes bytes as text."""
    raw = {key, bytes.fromhex(key.decode())}
    encoders = (bytes.hex, lambda data: base64.b64encode(data).decode().rstrip("="))
    urlsafe = {base64.urlsafe_b64encode(data).decode().rstrip("=") for data in raw}
    return {key.decode(), *(encode(data) for encode in encoders for data in raw), *urlsafe}


def found(secrets: set[str], text: str) -> set[str]:
    """Return which secrets a text has in it, of tokens also the signature alone."""
    parts = secrets | {secret.rpartition(".")[2] for secret in secrets if secret.count(".") == 2}
    return {part for part in parts if len(part) > 8 and part in text}
