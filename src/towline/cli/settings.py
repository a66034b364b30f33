"""Which setting an option stands for, so that its help names the variable and the default."""

from __future__ import annotations

import click
import msgspec

from towline.cli.connection import PREFIX
from towline.runtime import sources
from towline.runtime.config import Settings

CONFIG = "config_file"
"""What the option `--config` of a command that reads settings is called in it."""
NO_SETTINGS = {"expires", "roles"}
"""Options of such commands that are called as a setting is, and say something else."""
OTHER_DEFAULTS = {("up", "broker_listen")}
"""Options without which a command does not do what the setting's default says."""


def variable(command: click.Command, option: click.Option) -> str | None:
    """Return the environment variable of an option; None where no setting stands behind it."""
    name = _setting(command, option)
    return None if name is None else sources.name_of(name)


def explained(command: click.Command, option: click.Option, text: str) -> str:
    """Return the help of an option with its environment variable and its default."""
    name = _setting(command, option)
    if name is None:
        return text
    extras = [f"env var: {sources.name_of(name)}"]
    if text.endswith("]"):
        text, _, said = text[:-1].rpartition("  [")
        extras.append(said)
    default = _DEFAULTS.get(name)
    known = isinstance(default, str | int) and not isinstance(default, bool)
    if known and (command.name, name) not in OTHER_DEFAULTS:
        extras.append(f"default: {default}")
    return f"{text}  [{'; '.join(extras)}]"


def _setting(command: click.Command, option: click.Option) -> str | None:
    """Return the field of `Settings` that an option fills, or `config`."""
    name = str(option.name)
    if name == CONFIG:
        return "config"
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    reads = any(each.name == CONFIG for each in command.params)
    # An option with a default of its own leaves nothing for a setting to say.
    if not reads or name in NO_SETTINGS or name not in _DEFAULTS or option.required:
        return None
    return name if option.show_default is None else None


_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Settings)}
