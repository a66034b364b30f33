"""The state directory: where the parts of Towline on a machine keep what they must not lose."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from towline.errors import InvalidConfiguration, StateInUse
from towline.wire.target import InvalidTarget, parse_hostname, parse_machine_id

TOKEN_KEY = "token.key"
"""The file with the keys of tokens."""
URL = "controller.url"
"""The file with the URL of the controller of `towline up`."""
API_CA = "trust/api-ca.pem"
"""The certificate of the CA of the fleet's API."""
LAYOUT = "layout"
"""The file that says how the others are laid out."""
PRESENT_LAYOUT = "2"
KEPT_BEFORE = ("broker", "index.sqlite", "ledger.sqlite")
"""What version 0.1 kept, and this one can't read."""


def default_directory() -> Path:
    """Return where the platform keeps state: systemd's choice, /var/lib, or the user's own."""
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
        make_private(path)
        _check_layout(path)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(f"{str(path)!r} is not writable")
        return path.resolve()
    except OSError as error:
        raise InvalidConfiguration(
            f"The state directory {str(path)!r} can't be used.",
            f"{error}; name another with --state",
        ) from error


def _check_layout(directory: Path) -> None:
    """Refuse a directory that another version has written; mark one that is new.

    Raises:
        InvalidConfiguration: this version can't go on with what it has.
        OSError: it can't be read or written.
    """
    try:
        found = (directory / LAYOUT).read_text().strip()
    except FileNotFoundError:
        found = ""
    if found == PRESENT_LAYOUT:
        return
    old = [name for name in KEPT_BEFORE if (directory / name).exists()]
    if not found and not old:
        write_private(directory / LAYOUT, f"{PRESENT_LAYOUT}\n")
        return
    shown = ", ".join(old) or "what it keeps"
    raise InvalidConfiguration(
        f"The state directory {str(directory)!r} is of another version of Towline, and this one "
        "can't go on with its jobs.",
        f"Let that version finish them, then move {shown} out of it (and {LAYOUT}, where it is "
        "there): the node's id and all keys stay; or name another with --state",
    )


class Lock:
    """A lock on a state directory: of each kind of process only one at a time has it.

    The kernel releases it when the process ends, so one that was killed leaves nothing to clean up.

    Raises:
        StateInUse: another process has it.
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
        """Release the lock."""
        os.close(self._descriptor)


def make_private(directory: Path) -> None:
    """Make a directory that only its owner may enter, and what is missing above it.

    A directory that is there is left as it is. When this returns, a power cut can't undo it.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in missing:
        sync_directory(path.parent)


def write_private(path: Path, text: str, *, as_before: bool = False) -> None:
    """Write a file that only its owner may read, in place of the one that may be there.

    Whatever ends this half-way, a power cut included, leaves the old file or the new one, whole.
    When this returns it is the new one.

    Args:
        as_before: whether owner, group and mode are those of the one that is there: what reads it
            may be another user.
    """
    with _temporary(path, text, as_before=as_before) as temporary:
        os.replace(temporary, path)
        sync_directory(path.parent)


def keep_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, unless there is one by then.

    It is for keys, which another process may be about to read or to make: a file appears whole, as
    in `write_private`, and stays. The directory is made where it is absent.
    """
    make_private(path.parent)
    with _temporary(path, text) as temporary:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        # Also where another process has made the file: that one may not have come so far yet.
        sync_directory(path.parent)


@contextlib.contextmanager
def _temporary(path: Path, text: str, *, as_before: bool = False) -> Iterator[str]:
    """Yield the path of a temporary file beside `path` with `text` in it, synced."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            if as_before:
                _take_over(descriptor, path)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _take_over(descriptor: int, path: Path) -> None:
    """Give an open file the owner, the group and the mode of the one at `path`, if there is one."""
    try:
        before = path.stat()
    except FileNotFoundError:
        return
    own = os.fstat(descriptor)
    if (before.st_uid, before.st_gid) != (own.st_uid, own.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def sync_directory(path: Path) -> None:
    """Make the names in a directory outlast a power cut."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        # A directory may be writable and not readable.
        os.sync()
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # fsync(2): a file system that can't sync directories says EINVAL.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def machine_id(directory: Path, given: str | None) -> str:
    """Return the node's machine id: the given one, else that of this state directory.

    The directory's own id is derived on the first start from the machine's id and the directory's
    path, so that several agents on one machine are several nodes, and a node whose state was lost
    keeps its id. On a machine without an id it is drawn at random.

    Raises:
        InvalidConfiguration: `given`, or what the directory has, can't be a machine id.
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
    # machine-id(5) asks that the machine's own id stay confidential.
    named = f"towline {seed} ".encode() + os.fsencode(directory.resolve())
    derived = hashlib.sha256(named).hexdigest()[:32]
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
