"""The registries that images may come from, by the setting `registries`."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Self

import msgspec

from towline.errors import InvalidConfiguration
from towline.wire.reference import InvalidReference, parse_registry
from towline.wire.text import quoted
from towline.wire.wildcard import ANYTHING, matches

MOST_SHOWN = 10
"""Patterns that a refusal names."""

_PATTERN = re.compile(r"[a-z0-9.:\[\]*-]{1,1024}")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_WITH_IPV4_AT_ITS_END = tuple(
    map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
)
"""Where an IPv6 address has one of IPv4 in it: "IPv4-compatible" and "IPv4-translated" ones
(RFC 7915), and NAT64's (RFC 6052, RFC 8215)."""


class Registries(msgspec.Struct, frozen=True):
    """The registries that images may come from.

    Attributes:
        patterns: texts of `HOST` or `HOST:PORT`, in which `*` stands for any characters; None for
            all registries but link-local addresses.
    """

    patterns: tuple[str, ...] | None = None

    @classmethod
    def of(cls, patterns: Sequence[str] | None) -> Self:
        """Read the setting.

        Raises:
            InvalidConfiguration: a pattern is none.
        """
        return cls(None if patterns is None else tuple(map(_pattern, patterns)))

    def problem(self, registry: str) -> str | None:
        """Return why no image may come from a registry, as the end of a sentence; None if it may.

        Args:
            registry: as `parse_registry` returns it.
        """
        patterns = self.patterns or ()
        if registry in patterns:
            return None
        if link_local(registry):
            return f"{quoted(registry)} is a link-local address, and 'registries' doesn't name it"
        if self.patterns is None or any(matches(pattern, registry) for pattern in patterns):
            return None
        shown = ", ".join(patterns[:MOST_SHOWN]) or "none at all"
        more = len(patterns) - MOST_SHOWN
        shown += f" and {more} more" if more > 0 else ""
        return f"{quoted(registry)} is none of those that 'registries' allows ({shown})"


ALL = Registries()
"""All but link-local addresses: where nobody has set which."""


def link_local(registry: str) -> bool:
    """Return whether a registry is a link-local address, in whatever spelling an engine takes.

    Those are 169.254.0.0/16 and fe80::/10, where clouds have what machines ask for their secrets.
    Addresses of IPv4 may have fewer than four numbers, decimal, octal or hexadecimal, and may stand
    in one of IPv6. What a name resolves to is not looked at.
    """
    return any(address.is_link_local for address in _addresses(registry))


def _addresses(registry: str) -> list[IPv4Address | IPv6Address]:
    """Return the addresses that a registry may be; none where it is a name."""
    found: list[IPv4Address | IPv6Address] = []
    if registry.startswith("["):
        with contextlib.suppress(ValueError):
            whole = IPv6Address(registry[1:].partition("]")[0])
            found.append(whole)
            found += [inner for inner in (whole.ipv4_mapped, whole.sixtofour) if inner]
            if any(whole in network for network in _WITH_IPV4_AT_ITS_END):
                found.append(IPv4Address(int(whole) & 0xFFFFFFFF))
        return found
    host = registry.partition(":")[0]
    with contextlib.suppress(OSError):
        found.append(IPv4Address(socket.inet_aton(host)))
    if _DECIMAL.fullmatch(host):
        # Zeros in front make a number octal to some, and mean nothing to others.
        with contextlib.suppress(ValueError):
            found.append(IPv4Address(".".join(str(int(part)) for part in host.split("."))))
    return found


def _pattern(text: str) -> str:
    wanted = "Write HOST or HOST:PORT, in which * stands for any characters: *.example, docker.io"
    if ANYTHING in text:
        if not _PATTERN.fullmatch(text.lower()):
            what = f"The setting 'registries' has {quoted(text)} in it, which is no registry."
            raise InvalidConfiguration(what, wanted)
        return text.lower()
    try:
        return parse_registry(text)
    except InvalidReference as error:
        what = "The setting 'registries' is not valid"
        raise InvalidConfiguration.because(what, error, wanted) from error
