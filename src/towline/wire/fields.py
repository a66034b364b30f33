"""The types of fields in messages: what msgspec checks of each as it decodes them.

A constraint that stands in the type holds wherever the message is decoded, and nowhere costs a
line. What is made here is not checked: only what arrives.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

EARLIEST, LATEST = 946_684_800.0, 7_258_118_400.0
"""The years 2000 and 2200 in seconds since 1970: no clock is further off, and no arithmetic with
moments between them fails."""
LONGEST_TEXT = 8000
"""Characters of a text: more than an agent sends of an error, and little enough for a list."""
LARGEST = 2**53
"""Numbers up to which JSON means the same everywhere (RFC 8259, section 6)."""

JobId: TypeAlias = Annotated[
    str,
    msgspec.Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"),
]
"""A UUID in lower case; part of subjects."""
MachineId: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^(?:_|[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?)\Z")
]
"""A machine id, or `_` for none; part of subjects."""
StartId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
"""What an agent draws at each start; part of subjects."""
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[!-~]*\Z")]
"""Visible ASCII: a hostname, a capability, a kind, a word of the protocol."""
Encoded: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[!-~]*\Z")]
"""Visible ASCII of any length: what is encrypted, as base64."""
Login: TypeAlias = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT, pattern=r"^[!-~]*\Z")]
"""A JWT by which a node logs in at the broker."""
Signature: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]
"""An ed25519 signature. Hex has one form for it, base64 several that decoders take for the same."""
Text: TypeAlias = Annotated[
    str, msgspec.Meta(max_length=LONGEST_TEXT, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*\Z")
]
"""Text for people: no control characters but tabs and ends of lines."""
Moment: TypeAlias = Annotated[float, msgspec.Meta(ge=EARLIEST, le=LATEST)]
"""Seconds since 1970, UTC."""
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=LATEST - EARLIEST)]
"""A span of time."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
"""How many there are of something: nodes, bytes."""
ErrorCode: TypeAlias = Annotated[int, msgspec.Meta(ge=400, le=599)]
"""The HTTP status of an error."""
