"""Where the CLI finds the API and its token."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from towline import config
from towline.duration import parse_duration
from towline.errors import InvalidConfiguration

if TYPE_CHECKING:
    from towline.client import Client

LOCAL_TOKEN_LIFETIME = 3600.0


def connection_parameters() -> list[click.Parameter]:
    """Return the options `--url`, `--token`, `--state` and `--config`."""
    return [
        click.Option(["--url"], help="The controller, for example http://127.0.0.1:8080."),
        click.Option(["--token"], help="Better in TOWLINE_TOKEN, where others can't see it."),
        click.Option(["--state"], metavar="DIR", help="What towline up left there is used."),
        click.Option(["--config", "config_file"], metavar="FILE", help="A TOML file."),
    ]


def with_connection(command: click.Command) -> click.Command:
    """Add the connection's options to a command."""
    command.params += connection_parameters()
    return command


def duration(text: str) -> float:
    """Return the seconds that `text` names; raises `InvalidConfiguration`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidConfiguration("The duration is not valid.", str(error)) from error


def connect(
    *, url: str | None, token: str | None, state: str | None, config_file: str | None
) -> Client:
    """Return a client, from flags, else environment or file, else what `towline up` left.

    Raises:
        InvalidConfiguration: no URL or no token is to be found.
    """
    from towline import auth
    from towline import state as states
    from towline.client import Client

    settings = config.load(config_file, url=url, token=token, state=state)
    directory = Path(settings.state) if settings.state else states.default_directory()
    found_url, found_token = settings.url, settings.token
    if found_url is None:
        try:
            found_url = (directory / states.URL).read_text().strip()
        except OSError as error:
            raise InvalidConfiguration(
                "No controller is named, and none runs here.",
                f"Give --url, set TOWLINE_URL, or start towline up ({error})",
            ) from error
    if found_token is None:
        key = directory / states.TOKEN_KEY
        if not key.exists():
            raise InvalidConfiguration(
                "There is no token.", "Give --token or set TOWLINE_TOKEN; towline token create"
            )
        found_token = auth.create_token(
            auth.load_key(key, create=False),
            subject=f"local:{getpass.getuser()}",
            roles=["admin"],
            lifetime=LOCAL_TOKEN_LIFETIME,
        )
    return Client(found_url, found_token)
