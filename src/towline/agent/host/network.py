"""The machine's network: interfaces by psutil, routes as /proc/net has them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import psutil

from towline.agent.fields import clean_name
from towline.wire.facts import Interface, Route

_FLAGS = {0x1: "U", 0x2: "G", 0x4: "H", 0x8: "R", 0x10: "D", 0x20: "M", 0x200: "!"}
"""RTF_* of linux/route.h and the letters that route(8) shows for them."""
_NO_IPV6_ROUTE = 0x80000000 | 0x01000000 | 0x00100000 | 0x200
"""RTF_LOCAL, RTF_CACHE, RTF_ANYCAST and RTF_REJECT of linux/ipv6_route.h: no way to others."""
_ANYWHERE = frozenset({"0.0.0.0", "::"})


def interfaces(primary: str) -> list[Interface]:
    """Return the interfaces that are up: first the primary one, then devices, then others.

    The machine's ends of those of containers and guests are left out, which are no devices, and
    have no address that others could reach: there may be thousands, and they come and go.
    """
    found = []
    stats = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        flags = stats[name].flags.split(",") if name in stats else []
        if "up" not in flags or "loopback" in flags:
            continue
        ipv4 = _best([IPv4Address(a.address) for a in addresses if a.family == socket.AF_INET])
        ipv6 = _best(
            [
                IPv6Address(a.address.partition("%")[0])
                for a in addresses
                if a.family == socket.AF_INET6
            ]
        )
        device = os.path.exists(f"/sys/class/net/{name}/device")
        if not device and all(each is None or each.is_link_local for each in (ipv4, ipv6)):
            continue
        mac = next((a.address for a in addresses if a.family == psutil.AF_LINK), None)
        interface = Interface(
            clean_name(name),
            None if ipv4 is None else str(ipv4),
            None if ipv6 is None else str(ipv6),
            mac or None,
            "dual" if ipv4 and ipv6 else "inet" if ipv4 else "inet6" if ipv6 else None,
        )
        found.append((name != primary, not device, name, interface))
    return [interface for *_, interface in sorted(found, key=lambda each: each[:3])]


def _best(addresses: list[Any]) -> Any:
    """Return the first address that is reachable from elsewhere, else the first one, else None."""
    return min(addresses, key=lambda address: address.is_link_local, default=None)


def routes() -> list[Route]:
    """Return the routes of the kernel's main tables, IPv4 first."""
    return [*_ipv4_routes(), *_ipv6_routes()]


def _ipv4_routes() -> Iterator[Route]:
    """Yield the IPv4 routes of the main table.

    Source: the kernel's net/ipv4/fib_trie.c, fib_route_seq_show: addresses in hexadecimal, in the
    machine's own order of bytes.
    """
    for fields in _lines("/proc/net/route"):
        interface, destination, gateway, flags, _, _, metric, mask = fields[:8]
        yield Route(
            _ipv4(destination),
            _ipv4(gateway),
            interface,
            _ipv4(mask),
            int(metric),
            _flags(int(flags, 16)),
        )


def _ipv4(text: str) -> str:
    return socket.inet_ntoa(int(text, 16).to_bytes(4, sys.byteorder))


def _ipv6_routes() -> Iterator[Route]:
    """Yield the IPv6 routes to other machines.

    Source: the kernel's net/ipv6/route.c, rt6_info_route; numbers in hexadecimal.
    """
    for fields in _lines("/proc/net/ipv6_route", header=0):
        destination, length, _, _, gateway, metric, _, _, flags, interface = fields[:10]
        network = IPv6Network((int(destination, 16), int(length, 16)))
        if network.is_link_local or network.is_multicast or int(flags, 16) & _NO_IPV6_ROUTE:
            continue
        yield Route(
            str(network.network_address),
            str(IPv6Address(int(gateway, 16))),
            interface,
            str(network.netmask),
            int(metric, 16),
            _flags(int(flags, 16)),
        )


def _lines(path: str, header: int = 1) -> list[list[str]]:
    """Return the fields of a file's lines; none where the kernel has no such file."""
    try:
        return [line.split() for line in Path(path).read_text().splitlines()[header:]]
    except OSError:
        return []


def _flags(bits: int) -> str:
    return "".join(letter for bit, letter in _FLAGS.items() if bits & bit)


def primary_interface(routes: list[Route]) -> str:
    """Return the interface of the default route: that of IPv4 first, then of the least metric."""
    default = [
        route
        for route in routes
        if route.destination in _ANYWHERE
        and route.mask in _ANYWHERE
        and "!" not in (route.flags or "")
    ]
    best = min(default, key=lambda route: (":" in route.destination, route.metric), default=None)
    return "" if best is None else best.interface
