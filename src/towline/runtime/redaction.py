"""Redaction: secrets are struck out of words before anybody reads them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

STRUCK = "***"
SHORTEST = 4
"""Characters. Where all of a shorter secret were struck out of words, the gaps would spell it."""

_LOOKS_SECRET = re.compile(
    r"(?<=//)[^/\s\"]+(?=@)"
    # From the beginning of a run of such characters on, and never twice from within one: the words
    # of a registry may be long, and would take a time that grows with the square of that.
    r"|(?<![\w-])(?>(?P<apart>[\w-]*?)(?:\b|(?<=\\[nrt]))(?=eyJ))[\w-]++\.[\w-]++\.[\w-]*+"
)
"""Passwords in URLs, and anything that looks like a JWT."""


def suspicious(text: str) -> bool:
    """Return whether anything in `text` begins as what looks like a secret; mostly nothing does."""
    return "//" in text or "eyJ" in text


def strike(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without what looks like a secret, and without `secrets` in any of their forms.

    Args:
        secrets: what is known to be secret: passwords, tokens.
    """
    if not secrets and not suspicious(text):
        return text
    for form in sorted({form for secret in secrets for form in forms(secret)}, key=len)[::-1]:
        text = text.replace(form, STRUCK)
    return _LOOKS_SECRET.sub(lambda found: (found["apart"] or "") + STRUCK, text)


def forms(secret: str) -> set[str]:
    """Return the forms in which programs write a secret: plain, and as in JSON, URLs and base64."""
    if len(secret) < SHORTEST:
        return set()
    raw = secret.encode(errors="surrogateescape")
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        *encoded,
        *(text.rstrip("=") for text in encoded),
    }
