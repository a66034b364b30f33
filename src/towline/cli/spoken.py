"""What the API says, in the words of whoever types commands.

The API speaks of its routes and fields: `POST /job/…/resume lets it go on`. Whoever has typed a
command is told of commands and options instead. An endpoint knows the words of its command, and a
command its options: from these each text is translated, and none is written twice.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

import click

from towline.cli.command import CONTEXT
from towline.errors import ApiError, TowlineError

ROUTE = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/\S*[\w}])")
"""How texts write a route."""
FIELD = re.compile(r"`(?:\$\.)?(\w+)(?:\[\.\.\.\])?`")
"""How texts write a field: in backticks, with a JSON path's `$.` where msgspec has written it."""
CALL = re.compile(r"^[\w.]+: a parameter is not valid: ")
"""With what the Python client begins an error: no command is called as its methods are."""
UNKNOWN = "GET /openapi.json"
"""What the API refers those to who ask for what it doesn't have."""
OLDER = (
    "The controller does not know this: it may be of an older version, or something else.",
    "towline health shows its version",
)
ELSEWHERE = {"target_hostname": "--on", "hostname": "--on", "credential": "--registry-user"}
"""Options of commands that are written by hand, by the field that each becomes."""


def translate(error: TowlineError, command: click.Command) -> None:
    """Have an error speak of commands and options in place of routes and fields.

    Args:
        command: what was typed.
    """
    if UNKNOWN in error.details:
        error.error, error.details = OLDER
    own = options_of(command.params)
    options = {**ELSEWHERE, **job_options(), **own}
    if "--on" in own.values():
        options.setdefault("target", "--on")
    error.error = in_commands(CALL.sub("", error.error), options)
    error.details = in_commands(error.details, options)
    running = click.get_current_context(silent=True)
    if isinstance(error, ApiError) and error.status == 401 and running is not None:
        name = running.meta.get(CONTEXT)
        if name is not None:
            error.details = f"Log in again: towline login --name {name}"


def in_commands(text: str, options: Mapping[str, str]) -> str:
    """Return a text with commands in place of routes, and options in place of fields.

    What is no route of the API, such as one of a container engine, stays as it is; so does a field
    that is no option.

    Args:
        options: what is typed for a field or a header, by its name.
    """
    text = ROUTE.sub(lambda found: command_of(found[1], found[2]) or found[0], text)
    text = FIELD.sub(lambda found: options.get(found[1], found[0]), text)
    for header, option in _headers().items():
        text = text.replace(f"header {header}", f"option {option}").replace(header, option)
    return text


def plain(text: str, parameters: Iterable[click.Parameter] = ()) -> str:
    """Return a text of the API's description as the help of a command has it.

    Args:
        parameters: those of the command.
    """
    options = {**ELSEWHERE, **job_options(), **options_of(parameters)}
    return in_commands(text, options).replace("`", "")


def command_of(method: str, path: str) -> str | None:
    """Return the command that asks for a route; None where there is none.

    Example:
        command_of("POST", "/agent/web-01/drain")  # "towline node drain web-01"
    """
    from towline.endpoints import offered

    segments = path.split("/")
    known = [each for each in offered if each.method == method]
    # A fixed segment counts more than a placeholder: /agent/pending is no node of that name.
    for endpoint in sorted(known, key=lambda each: each.path.count("{")):
        route = endpoint.path.split("/")
        if len(route) != len(segments):
            continue
        pairs = list(zip(route, segments, strict=True))
        if all(fixed.startswith("{") or fixed == given for fixed, given in pairs):
            words = endpoint.typed
            named = [shlex.quote(given) for fixed, given in pairs if fixed.startswith("{")]
            return " ".join(["towline", words, *named]) if words else None
    return None


def options_of(parameters: Iterable[click.Parameter]) -> dict[str, str]:
    """Return what is typed for each parameter of a command, by the parameter's name."""
    found = {}
    for parameter in parameters:
        name = str(parameter.name)
        if isinstance(parameter, click.Option):
            found[name] = max(parameter.opts, key=len)
        else:
            found[name] = parameter.metavar or name.upper()
    return found


def job_options() -> dict[str, str]:
    """Return what is typed for each option of jobs, by its field."""
    from towline.cli.options import JOB_OPTIONS, flags

    return {each.name: flags(each)[0] for each in JOB_OPTIONS}


def _headers() -> dict[str, str]:
    """Return what is typed for what stands in a header, by the header's name."""
    from towline.options import JobOptions
    from towline.signature import Place, of_group

    typed = {**ELSEWHERE, **job_options(), "wait": "--wait"}
    headed = [each for each in of_group("options", JobOptions) if each.place is Place.HEADER]
    # "Prefer" is a word, too: no error speaks of the header.
    return {each.header.name: typed[each.name] for each in headed if "-" in each.header.name}
