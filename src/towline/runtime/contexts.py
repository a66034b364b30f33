"""Contexts: the controllers that a person has logged in to, each with its URL, token and CA.

Each is a file below `towline/contexts` in the person's configuration directory, and one of them may
be the current one. They are that person's alone: whoever reads a token may do what it allows.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from towline.errors import InvalidConfiguration

LOCAL = "local"
"""What no context is called: the controller of `towline up` on this machine."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_CURRENT = "current-context"


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a controller is reached.

    Attributes:
        url: the controller's.
        token: what it is sent; None after `towline logout`.
        ca: who signs its certificate, as PEM; None for those whom the system trusts.
    """

    url: str
    token: str | None = None
    ca: str | None = None


def directory() -> Path | None:
    """Return where contexts are (XDG Base Directory Specification); None without a home."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        # The specification has relative paths ignored.
        base = Path(given) if os.path.isabs(given) else Path.home() / ".config"
    except RuntimeError:  # user ids in containers often have no home
        return None
    return base / "towline"


def check_name(name: str) -> str:
    """Return a context's name; raises `InvalidConfiguration` where it can be none."""
    if name == LOCAL or not _NAME.match(name):
        raise InvalidConfiguration(
            f"A context can't be called {name!r}.",
            f"Write up to 63 letters, digits, '.', '_' and '-', and not {LOCAL!r}",
        )
    return name


def names() -> list[str]:
    """Return the names of all contexts, sorted."""
    place = directory()
    if place is None:
        return []
    try:
        found = os.listdir(place / "contexts")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(place / "contexts", error) from error
    return sorted(name[:-5] for name in found if name.endswith(".json") and _NAME.match(name[:-5]))


def read(name: str) -> Context:
    """Return a context.

    Raises:
        InvalidConfiguration: there is none of that name, others can read it, or it is damaged.
    """
    from towline.runtime.secret_file import check_secret_file

    path = _path(name)
    try:
        check_secret_file(path, f"The context {name!r}", named=False)
        return msgspec.json.decode(path.read_bytes(), type=Context)
    except FileNotFoundError as error:
        known = ", ".join(names()) or "none"
        raise InvalidConfiguration(
            f"There is no context {name!r}.", f"There are: {known}. towline login URL makes one"
        ) from error
    except msgspec.DecodeError as error:
        raise InvalidConfiguration(
            f"The context {name!r} is damaged: {str(path)!r} can't be read.",
            f"{error}. Remove it with towline context remove {name}, and log in again",
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def write(name: str, context: Context) -> None:
    """Keep a context, in place of the one of that name that may be there, and sync it."""
    _write(_path(name), msgspec.json.encode(context).decode() + "\n")


def remove(name: str) -> None:
    """Remove a context; raises `InvalidConfiguration` where there is none of that name."""
    from towline.runtime.state_directory import sync_directory

    path = _path(name)
    if name not in names():
        read(name)
    if current() == name:
        use(None)
    try:
        path.unlink()
        sync_directory(path.parent)
    except OSError as error:
        raise InvalidConfiguration(f"The context {name!r} can't be removed.", str(error)) from error


def current() -> str | None:
    """Return the name of the current context; None where there is none.

    Raises:
        InvalidConfiguration: the file that says so can't be read.
    """
    place = directory()
    if place is None:
        return None
    path = place / _CURRENT
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if not name:
        return None
    if not _NAME.match(name):
        raise InvalidConfiguration(
            f"{str(path)!r} names no context.", "Name one with towline context use NAME"
        )
    return name


def use(name: str | None) -> None:
    """Make a context the current one; None for none.

    Raises:
        InvalidConfiguration: there is no such context, or the choice can't be kept.
    """
    if name is not None:
        read(name)
    place = directory()
    if place is not None and (name is not None or (place / _CURRENT).exists()):
        _write(place / _CURRENT, f"{name or ''}\n")


def _path(name: str) -> Path:
    place = directory()
    if place is None:
        raise InvalidConfiguration(
            "There is no home directory to keep contexts in.", "Set XDG_CONFIG_HOME"
        )
    return place / "contexts" / f"{check_name(name)}.json"


def _write(path: Path, text: str) -> None:
    from towline.runtime.state_directory import make_private, write_private

    try:
        # Each by itself: what is missing above a directory is made as the person's umask has it.
        for each in (path.parent.parent, path.parent) if path.suffix else (path.parent,):
            make_private(each)
        write_private(path, text)
    except OSError as error:
        raise InvalidConfiguration(f"{str(path)!r} can't be written.", str(error)) from error


def _unreadable(path: Path, error: Exception) -> InvalidConfiguration:
    return InvalidConfiguration(f"{str(path)!r} can't be read.", str(error))
