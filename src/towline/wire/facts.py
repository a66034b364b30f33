"""Facts: what a machine is, as its agent finds it. Pure data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from towline.wire.fields import Count, Name, Text

MOST_INTERFACES = 64
MOST_ROUTES = 128
"""Interfaces and routes of a machine that its facts name: container hosts may have thousands."""
LARGEST_CUSTOM = 16 * 1024
"""Bytes of the custom facts of a machine at most, as JSON."""

Family = Literal["inet", "inet6", "dual"]


class Interface(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network interface.

    Attributes:
        ipv4, ipv6: its first address of each family, a global one where it has one.
        mac: its hardware address.
        family: of which families it has addresses; None for one without any.
    """

    name: Name
    ipv4: Name | None = None
    ipv6: Name | None = None
    mac: Name | None = None
    family: Family | None = None


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """A route of the kernel's main table.

    Attributes:
        destination, mask: which addresses it is for: all zeros for the default route.
        gateway: all zeros where they are reached directly.
        flags: letters as route(8) shows them: `UG`.
    """

    destination: Name
    gateway: Name
    interface: Name
    mask: Name | None = None
    metric: Count | None = None
    flags: Name | None = None


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a machine is. Text that is not known is "".

    Attributes:
        architecture, kernel: as uname(2) has them.
        cpu_count: how many processors there are; 0 where it is not known.
        distribution, os_version: as os-release(5) has them.
        fqdn: the machine's name with its domain.
        service_manager: what starts services: systemd, openrc …
        package_manager: what installs packages: apt, dnf, apk …
        containerized: whether the agent runs in a container.
        interfaces: the primary one first.
        primary_interface: that of the default route.
        custom: what people have written down about the machine.
    """

    architecture: Text = ""
    kernel: Text = ""
    cpu_count: Count = 0
    distribution: Text = ""
    os_version: Text = ""
    fqdn: Name = ""
    service_manager: Name = ""
    package_manager: Name = ""
    containerized: bool = False
    interfaces: Annotated[list[Interface], msgspec.Meta(max_length=MOST_INTERFACES)] = []
    primary_interface: Name = ""
    routes: Annotated[list[Route], msgspec.Meta(max_length=MOST_ROUTES)] = []
    custom: dict[Name, Any] = {}


def known(facts: Facts, hostname: str) -> dict[str, Any]:
    """Return the facts that parameters may refer to; what is not known is left out.

    Args:
        hostname: the node's name for people.
    """
    texts = {
        "hostname": hostname,
        "fqdn": facts.fqdn,
        "arch": facts.architecture,
        "kernel": facts.kernel,
    }
    found: dict[str, Any] = {name: text for name, text in texts.items() if text}
    if facts.primary_interface:
        found["interface"] = {"primary": facts.primary_interface}
    found["containerized"] = facts.containerized
    if facts.custom:
        found["custom"] = facts.custom
    return found


def named(facts: Facts, hostname: str) -> dict[str, str]:
    """Return the same as text by name, as `@fact.NAME` has it, with dots on the way inside.

    What is neither text nor an object is as JSON has it; null is not known.
    """
    return dict(_named("", known(facts, hostname)))


def _named(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _named(f"{name}.", value)
        elif isinstance(value, str):
            yield name, value
        elif value is not None:
            yield name, msgspec.json.encode(value).decode()
