"""Facts of the machine, gathered by psutil and from the files that systems agree on."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
from pathlib import Path
from typing import Any

import msgspec
import psutil

from towline.agent.fields import clean, clean_name
from towline.agent.host import network
from towline.wire.decoding import DEEPEST, Decoder, Unreadable
from towline.wire.facts import LARGEST_CUSTOM, MOST_INTERFACES, MOST_ROUTES, Facts
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

_custom = Decoder(dict[Name, Any], largest=LARGEST_CUSTOM, deepest=DEEPEST - 8)
"""Not so deep that the registration that they are part of could not be read."""


class Disk(msgspec.Struct, frozen=True):
    """A disk of the machine.

    Attributes:
        path: where it is mounted.
        used: how much of it is in use, in per cent of what there is for everybody.
    """

    path: str
    used: float


class Gathered(msgspec.Struct, frozen=True):
    """What was found out about the machine at one moment.

    Attributes:
        troubles: why files of custom facts count for nothing, by path.
        fullest: the fullest disk; None where none is known.
    """

    facts: Facts
    troubles: dict[str, str] = {}
    fullest: Disk | None = None


def gather(custom: Path = CUSTOM) -> Gathered:
    """Return what is known of this machine at this moment.

    It looks the machine's name up and reads files, and so may take as long as name servers do.

    Args:
        custom: the directory of custom facts.
    """
    system = {}
    with contextlib.suppress(OSError, ValueError):
        system = platform.freedesktop_os_release()
    routes = network.routes()
    primary = network.primary_interface(routes)
    interfaces = network.interfaces(primary)
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
    return Gathered(facts, troubles, _fullest())


def _fqdn() -> str:
    """Return the machine's name with its domain, as `hostname --fqdn` has it.

    Where it has no domain: its name. Where that is not known at this moment: "".

    Source: getaddrinfo(3), AI_CANONNAME.
    """
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    except socket.gaierror as error:
        return "" if error.errno == socket.EAI_AGAIN else name
    except UnicodeError:
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


def _fullest() -> Disk | None:
    """Return the fullest of the machine's own disks that can be written to, and of the root.

    Those of the network are left out: a server that is away would be waited for.
    """
    partitions = {
        each.device: each.mountpoint
        for each in reversed(psutil.disk_partitions())
        if "ro" not in each.opts.split(",")
    }
    disks = []
    for path in {"/", *partitions.values()}:
        # It may have been unmounted meanwhile.
        with contextlib.suppress(OSError):
            disks.append(Disk(path, psutil.disk_usage(path).percent))
    return max(disks, key=lambda disk: (disk.used, disk.path), default=None)


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
