"""Where commands find the API and their token."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import click
import msgspec

from towline.cli.command import CONTEXT
from towline.errors import InvalidConfiguration
from towline.runtime import config
from towline.units import parse_duration

if TYPE_CHECKING:
    from towline.client import Client

PREFIX = "connection_"
"""Keeps the names of these options apart from those of an operation's parameters."""


class Where(msgspec.Struct, frozen=True):
    """Where the API is, by the command line; None for what it doesn't say."""

    url: str | None
    token: str | None
    ca: str | None
    state: str | None
    config: str | None
    context: str | None


def connection_parameters(taken: Collection[str] = ()) -> list[click.Parameter]:
    """Return the options that say where the API is.

    Args:
        taken: flags that the command has for something else. `--state-dir` is never among them.
    """
    options = (
        (
            "url",
            ["--url"],
            "URL",
            "The controller's URL, for example https://controller.example:8080.",
        ),
        ("token", ["--token"], "TOKEN", "The token. In TOWLINE_TOKEN other users can't see it."),
        (
            "ca",
            ["--ca"],
            "FILE",
            "The certificates that sign the controller's, in place of those the system trusts.",
        ),
        (
            "state",
            ["--state", "--state-dir"],
            "DIR",
            "The state directory, where towline up keeps URL and key.",
        ),
        ("config", ["--config"], "FILE", "The configuration file, TOML."),
        (
            *("context", ["--context"], "CONTEXT"),
            "The context of towline login that says where the controller is; "
            "local for that of towline up on this machine.",
        ),
    )
    parameters: list[click.Parameter] = []
    for name, flags, metavar, text in options:
        free = [flag for flag in flags if flag not in taken]
        if free:
            parameters.append(click.Option([*free, f"{PREFIX}{name}"], metavar=metavar, help=text))
    return parameters


def take_where(values: dict[str, Any]) -> Where:
    """Take the values of `connection_parameters` out of those of a command."""
    return Where(*(values.pop(f"{PREFIX}{name}", None) for name in Where.__struct_fields__))


def settings_of(where: Where) -> config.Settings:
    """Return the settings of a command; raises as `config.load_connection`."""
    flags = {name: getattr(where, name) for name in where.__struct_fields__}
    return config.load_connection(flags.pop("config"), **flags)


def with_connection(command: click.Command) -> click.Command:
    """Add the options that say where the API is to a command."""
    command.params += connection_parameters()
    return command


def duration(text: str) -> float:
    """Return the duration that `text` writes, in seconds; raises `InvalidConfiguration`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidConfiguration("The duration is not valid.", str(error)) from error


def connect(where: Where) -> Client:
    """Return a client.

    URL, token and the fleet's own CA come from the settings or a context, or else from this
    machine's state.

    Raises:
        InvalidConfiguration: there is no URL or no token, one is not valid, or the CA can't be
            read.
    """
    from towline.cli import local

    settings = settings_of(where)
    return client_of(settings, local.url(settings) if settings.url is None else settings.url)


def client_of(settings: config.Settings, url: str) -> Client:
    """Return a client of the controller at a URL; see `connect`."""
    from towline.cli import first_contact, local
    from towline.client import Client

    token = local.token(settings, url) if settings.token is None else settings.token
    running = click.get_current_context(silent=True)
    if running is not None and settings.context is not None:
        from towline.runtime import contexts

        # A token that a flag or a variable has put before it is no matter of logging in.
        if contexts.read(settings.context).token == token:
            running.meta[CONTEXT] = settings.context
    if settings.ca is not None or not local.encrypted(url):
        return Client(url, token, ca=settings.ca)
    if settings.context is not None:
        return Client(url, token, ca=first_contact.trusting(settings.context))
    return Client(url, token, ca=local.authorities(settings))
