"""The state directory: where a machine's part of Towline keeps what it must not lose."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import tempfile
import uuid
from pathlib import Path

from towline.errors import InvalidConfiguration, StateInUse
from towline.wire.target import InvalidTarget, parse_hostname, parse_machine_id

TOKEN_KEY = "token.key"
URL = "controller.url"


def default_directory() -> Path:
    """Return where the platform expects state: systemd's choice, /var/lib, or the user's own."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/towline")
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "towline"


def open_directory(path: Path) -> Path:
    """Make the directory where it is absent, for its owner alone, and return its absolute path.

    Raises:
        InvalidConfiguration: it can't be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(f"{str(path)!r} is not writable")
        return path.resolve()
    except OSError as error:
        raise InvalidConfiguration(
            f"The state directory {str(path)!r} can't be used.",
            f"{error}; name another with --state",
        ) from error


class Lock:
    """Held on a state directory by the one process of a kind that may use it.

    The kernel drops it with the process, so one that was killed leaves nothing to clean up.

    Raises:
        StateInUse: another process holds it.
    """

    def __init__(self, directory: Path, part: str) -> None:
        path = directory / f"{part}.lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode().strip()
            os.close(self._descriptor)
            raise StateInUse(
                f"Another towline {part} (process {holder or '?'}) uses {str(directory)!r}.",
                "Stop it, or name another directory with --state",
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._descriptor)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def keep_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole at once, unless it is there by then.

    For keys: another process may be about to read the file, or to make it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w") as file:
            file.write(text)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def machine_id(directory: Path, given: str | None) -> str:
    """Return the node's machine id: the given one, else this state directory's own.

    The directory's own is derived from the machine's id and the directory's path on the first
    start, so that several agents on one machine are several nodes and a node whose state was lost
    keeps its name; where the machine has no id it is drawn at random.

    Raises:
        InvalidConfiguration: `given`, or what stands in the directory, can't be a machine id.
    """
    if given is not None:
        try:
            return parse_machine_id(given)
        except InvalidTarget as error:
            raise InvalidConfiguration("The machine id is not valid.", str(error)) from error
    path = directory / "machine-id"
    if path.exists():
        try:
            return parse_machine_id(path.read_text().strip())
        except (OSError, ValueError) as error:
            raise InvalidConfiguration(
                f"The machine id in {str(path)!r} is not valid.",
                f"{error}; where the file is removed it is made again, the same on this machine",
            ) from error
    try:
        seed = Path("/etc/machine-id").read_text().strip()
    except OSError:
        seed = ""
    # The machine's id itself stays private, as machine-id(5) asks.
    derived = hashlib.sha256(f"towline {seed} {directory.resolve()}".encode()).hexdigest()[:32]
    made = derived if seed else uuid.uuid4().hex
    write_private(path, made + "\n")
    return made


def hostname(given: str | None) -> str:
    """Return the node's hostname: the given one, else the machine's.

    Raises:
        InvalidConfiguration: it can't be a hostname.
    """
    try:
        return parse_hostname(given or socket.gethostname()).name
    except InvalidTarget as error:
        raise InvalidConfiguration(
            "The hostname is not valid.", f"{error}; give one with --hostname"
        ) from error
