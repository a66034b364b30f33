"""Where settings stand, before they are read as such: the environment, and a TOML file."""

from __future__ import annotations

import os
from typing import Any

from towline.errors import InvalidConfiguration

USUAL = "/etc/towline/towline.toml"
"""The configuration file where none is named. It need not be there."""


def value(key: str) -> Any:
    """Return what a setting is before flags are looked at, unread; None where nothing sets it.

    Args:
        key: as the file has it, for example `log-level`.

    Raises:
        InvalidConfiguration: the file can't be read.
    """
    return variable(name_of(key)) or of_file(None).get(key)


def name_of(key: str) -> str:
    """Return the environment variable of a setting.

    Args:
        key: as the file has it, `log-level`, or its field, `log_level`.
    """
    return f"TOWLINE_{key.replace('-', '_').upper()}"


def variable(name: str) -> str | None:
    """Return an environment variable; None where it is unset, or empty, which means the same."""
    return os.environ.get(name) or None


def file(path: str | None) -> str:
    """Return the configuration file: the one that is named, be it by `TOWLINE_CONFIG`, or USUAL."""
    # No `Path`: most commands need no other, and it would take a tenth of the time of the help.
    return path or variable("TOWLINE_CONFIG") or USUAL


def of_file(path: str | None) -> dict[str, Any]:
    """Return what the configuration file says, by key.

    Args:
        path: as the command line names it.

    Raises:
        InvalidConfiguration: it can't be read, or it is named and not there.
    """
    place = file(path)
    try:
        content = open(place, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        if path is None and variable("TOWLINE_CONFIG") is None:
            return {}
        raise InvalidConfiguration(
            f"The configuration file {place!r} is not there.", str(error)
        ) from error
    except OSError as error:
        raise _unreadable(place, error) from error
    # Most machines have no file, and many commands need no settings.
    import tomllib

    with content:
        try:
            return tomllib.load(content)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _unreadable(place, error) from error


def _unreadable(place: str, error: Exception) -> InvalidConfiguration:
    return InvalidConfiguration(f"The configuration file {place!r} can't be read.", str(error))
