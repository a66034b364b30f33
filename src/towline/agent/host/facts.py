"""Facts of the machine, gathered by psutil and from the files that systems agree on."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import msgspec
import psutil

from towline.agent.fields import clean, clean_name
from towline.wire.decoding import DEEPEST, Decoder, Unreadable
from towline.wire.facts import (
    LARGEST_CUSTOM,
    MOST_INTERFACES,
    MOST_ROUTES,
    Facts,
    Interface,
    Route,
)
from towline.wire.fields import Name

CUSTOM = Path("/etc/towline/facts.d")
"""The directory of custom facts, unless the configuration names another."""
MOST_FILES = 100
"""Files in that directory that are read."""

_SERVICE_MANAGERS = {
    # sd_booted(3) looks for this directory; the others make theirs as they start, too.
    "/run/systemd/system": "systemd",
    "/run/openrc": "openrc",
    "/run/runit": "runit",
    "/run/s6": "s6",
}
_PACKAGE_MANAGERS = [
    ("apt", "apt-get", {"debian", "ubuntu"}),
    ("dnf", "dnf", {"fedora", "rhel", "centos"}),
    ("yum", "yum", {"fedora", "rhel", "centos"}),
    ("zypper", "zypper", {"suse", "opensuse"}),
    ("apk", "apk", {"alpine"}),
    ("pacman", "pacman", {"arch"}),
]
"""Each with its program, and the distributions whose own it is: some have others' as packages."""
_SIGNS_OF_CONTAINERS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
"""Files that the usual engines, and whatever follows systemd's interface, put into containers."""

_FLAGS = {0x1: "U", 0x2: "G", 0x4: "H", 0x8: "R", 0x10: "D", 0x20: "M", 0x200: "!"}
"""RTF_* of linux/route.h and the letters that route(8) shows for them."""
_NO_IPV6_ROUTE = 0x80000000 | 0x01000000 | 0x00100000 | 0x200
"""RTF_LOCAL, RTF_CACHE, RTF_ANYCAST and RTF_REJECT of linux/ipv6_route.h: no way to others."""
_ANYWHERE = frozenset({"0.0.0.0", "::"})

_custom = Decoder(dict[Name, Any], largest=LARGEST_CUSTOM, deepest=DEEPEST - 8)
"""Not so deep that the registration that they are part of could not be read."""


class Gathered(msgspec.Struct, frozen=True):
    """What was found out about the machine at one moment.

    Attributes:
        troubles: why files of custom facts count for nothing, by path.
    """

    facts: Facts
    troubles: dict[str, str]


def gather(custom: Path = CUSTOM) -> Gathered:
    """Return what is known of this machine at this moment.

    It looks the machine's name up and reads files, and so may take as long as name servers do.

    Args:
        custom: the directory of custom facts.
    """
    system = {}
    with contextlib.suppress(OSError, ValueError):
        system = platform.freedesktop_os_release()
    routes = [*_ipv4_routes(), *_ipv6_routes()]
    primary = _primary(routes)
    interfaces = _interfaces(primary)
    names = {interface.name for interface in interfaces}
    written, troubles = custom_facts(custom)
    facts = Facts(
        architecture=clean(platform.machine()),
        kernel=clean(platform.release()),
        cpu_count=os.cpu_count() or 0,
        distribution=clean(system.get("ID", "")),
        os_version=clean(system.get("VERSION_ID", "")),
        fqdn=clean_name(_fqdn()),
        service_manager=_service_manager(),
        package_manager=_package_manager(system),
        containerized=_containerized(),
        interfaces=interfaces[:MOST_INTERFACES],
        primary_interface=primary,
        routes=[route for route in routes if route.interface in names][:MOST_ROUTES],
        custom=written,
    )
    return Gathered(facts, troubles)


def _fqdn() -> str:
    """Return the machine's name with its domain, as `hostname --fqdn` has it.

    Where no name with a domain is known: its name.

    Source: getaddrinfo(3), AI_CANONNAME.
    """
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    except (OSError, UnicodeError):
        return name
    canonical = found[0][3].rstrip(".")
    known = "." in canonical and not canonical.startswith("localhost.")
    return canonical if known else name


def _service_manager() -> str:
    for path, name in _SERVICE_MANAGERS.items():
        if os.path.isdir(path):
            return name
    return ""


def _package_manager(system: dict[str, str]) -> str:
    """Return the package manager whose program is there, the distribution's own before others.

    Source: os-release(5), ID and ID_LIKE.
    """
    distributions = {system.get("ID", ""), *system.get("ID_LIKE", "").split()}
    there = [each for each in _PACKAGE_MANAGERS if shutil.which(each[1]) is not None]
    own = [each for each in there if each[2] & distributions]
    return next((name for name, *_ in own + there), "")


def _containerized() -> bool:
    """Return whether this process runs in a container.

    Source: https://systemd.io/CONTAINER_INTERFACE; Kubernetes' environment variables.
    """
    if any(os.path.exists(path) for path in _SIGNS_OF_CONTAINERS):
        return True
    return any(os.environ.get(name) for name in ("container", "KUBERNETES_SERVICE_HOST"))


# The network


def _interfaces(primary: str) -> list[Interface]:
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


def _primary(routes: list[Route]) -> str:
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


# What people have written down


def custom_facts(directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the custom facts of a directory, and why files of it count for nothing, by path.

    Each file `*.json` holds an object; of a name that several have, the last file's counts.
    """
    facts: dict[str, Any] = {}
    troubles: dict[str, str] = {}
    try:
        paths = sorted(directory.glob("*.json"))
    except OSError as error:
        return {}, {str(directory): str(error)}
    for number, path in enumerate(paths):
        try:
            if number >= MOST_FILES:
                raise Unreadable(f"it is one of more than {MOST_FILES}")
            if not path.is_file():
                raise Unreadable("it is no file")
            with path.open("rb") as file:
                found = facts | _custom.decode(file.read(LARGEST_CUSTOM + 1))
            if len(msgspec.json.encode(found)) > LARGEST_CUSTOM:
                raise Unreadable(f"with it there are more than {LARGEST_CUSTOM} bytes of facts")
        except (OSError, OverflowError, Unreadable) as error:
            troubles[str(path)] = str(error)
        else:
            facts = found
    return facts, troubles
