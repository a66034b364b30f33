"""What `towline up` tells a person: what runs, where its logs are, and what to type next."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from towline.cli.terminal import printable
from towline.errors import InvalidConfiguration

if TYPE_CHECKING:
    from towline.runtime.teller import Teller

LOG = "up.log"
"""The file in the state directory that logs go to."""
PATIENCE = 3.0
"""Seconds that an obstacle lasts before a person is told of it: a start has several by itself."""
IMAGE = "hello-world"
"""An image that is small, and that everybody can pull."""


class Words(msgspec.Struct, frozen=True):
    """What is to be told of.

    Attributes:
        url: where the API answers.
        shared_at: `HOST:PORT` of a broker that other machines reach; None where none can.
        directory: the state directory.
        config_file: as the command line names it.
        hostname: of the node.
        level: of the logs.
        own_ca: whether the API's certificate is by the fleet's own CA.
    """

    url: str
    shared_at: str | None
    directory: Path
    config_file: str | None
    hostname: str
    level: str
    own_ca: bool

    @property
    def where(self) -> list[str]:
        """What commands need to find this controller, and the key to make tokens with."""
        found = ["--state", str(self.directory)]
        return found + (["--config", self.config_file] if self.config_file else [])


@contextlib.contextmanager
def plain(words: Words) -> Iterator[Teller]:
    """Tell it where no terminal is, in as few lines as a service manager wants to keep."""
    from towline.runtime.process import print_line
    from towline.runtime.teller import Teller

    print_line(f"Towline answers at {words.url}")
    if words.shared_at is not None:
        print_line(f"The broker answers at tls://{words.shared_at}")
    token = f"towline token create --subject NAME --role admin {shlex.join(words.where)}"
    print_line(f"A token: {token}")
    yield Teller(print_line)


@contextlib.contextmanager
def on_terminal(words: Words) -> Iterator[Teller]:
    """Tell it to a person at a terminal, and have the logs go to a file meanwhile.

    Raises:
        InvalidConfiguration: the file can't be written.
    """
    from towline.runtime import logs
    from towline.runtime.log_file import LogFile
    from towline.runtime.process import print_line
    from towline.runtime.teller import Teller

    told = False

    def show(line: str) -> None:
        nonlocal told
        print_line(printable(line))
        if line == "ready" and not told:
            told = True
            for each in steps:
                print_line(printable(each))

    steps = next_steps(words)
    file = LogFile(words.directory / LOG)
    logs.configure("up", words.level, file.write)
    print_line(f"Towline starts here: a broker, a controller, and an agent ({words.hostname}).")
    print_line(f"  answers at  {words.url}")
    if words.shared_at is not None:
        print_line(f"  broker at   tls://{words.shared_at}")
    print_line(printable(f"  logs in     {file.path}"))
    print_line("  ^C ends all of it")
    yield Teller(show, file, patience=PATIENCE)
    print_line("ended")
    file.close()


def next_steps(words: Words) -> list[str]:
    """Return the lines that say what to type next, each with the words that work here."""
    from towline.client.connection import is_loopback
    from towline.runtime import contexts, state_directory

    typed = _program()
    where: list[str] = []
    if words.directory != state_directory.default_directory().resolve() or words.config_file:
        where = words.where
    elif _has_context():
        where = ["--context", contexts.LOCAL]

    def command(*arguments: str, at: Sequence[str] = where) -> str:
        return f"  {typed} {shlex.join([*arguments, *at])}"

    lines = [
        "",
        "In a second terminal, as the same user:",
        command("pull", IMAGE, "--on", words.hostname),
        command("node", "list"),
        command("token", "create", "--subject", "NAME", "--role", "admin"),
        "",
    ]
    if words.shared_at is None:
        return [
            *lines,
            "Only this machine reaches it. For others to come in, end it, and start it with",
            command("up", "--listen", f"{_address()}:8080"),
        ]
    port = urlsplit(words.url).port or 443
    url, invite = words.url, command("node", "invite")
    if is_loopback(urlsplit(url).hostname or ""):
        url = f"https://{_address()}:{port}"
        # The directory says that this other URL is of the controller here.
        invite = command("node", "invite", "--url", url, at=words.where)
    lines += ["Another machine comes in by the line that this prints:", invite]
    if url.startswith("https:"):
        lines += ["", "People elsewhere log in by such a token:", f"  towline login {url}"]
        if words.own_ca:
            lines[-1] += f" --pin {_pin(words.directory)}"
    return lines


def _has_context() -> bool:
    """Return whether commands would ask somebody else than the controller of this machine."""
    from towline.runtime import contexts

    try:
        return contexts.current() is not None
    except InvalidConfiguration:  # commands say what is wrong with it
        return True


def _program() -> str:
    """Return how this program is typed, as it was for this process."""
    given = sys.argv[0]
    if os.path.basename(given) == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m towline"
    found = shutil.which("towline")
    if found is not None and os.path.realpath(found) == os.path.realpath(given):
        return "towline"
    return shlex.quote(given)


def _address() -> str:
    """Return an address by which other machines reach this one, or a placeholder for it."""
    from towline.trust.certificates import names_of_machine

    for name in names_of_machine():
        try:
            found = ipaddress.ip_address(name)
        except ValueError:
            continue
        if found.version == 4 and not (found.is_loopback or found.is_link_local):
            return name
    return "ADDRESS"


def _pin(directory: Path) -> str:
    """Return the fingerprint of the API's own CA."""
    from towline.cli import first_contact
    from towline.runtime import state_directory

    return first_contact.fingerprint((directory / state_directory.API_CA).read_text())
