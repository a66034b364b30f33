"""The shape of the command line: which commands there are, and what each of them takes.

It is read from the commands themselves, which takes half a second, and kept: while somebody types
there is no time to import them. It is another one as soon as a file of Towline's has changed, or
the settings name other modules.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from towline import __version__
from towline.runtime import sources

if TYPE_CHECKING:
    import click

ROOMS = ("cli", "endpoints", "operations", "signature", ".")
"""Where the files stand from which commands are made."""

Shape = dict[str, Any]
"""A command: `about` it; of a group its `commands` by their words, of which a list of words is
another name for what they lead to; its `options` by their flags, and `arguments`, each with the
`kind` of its value (a list of choices, or what stands for it in the help), and whether there may be
`many`; of an option also its `name`, and `where`, which setting of the connection it says."""


# No `Path` and no `tempfile` here: to import them takes as long as all else that is done.


def file(name: str) -> str:
    """Return where an answer is kept (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return os.path.join(base, "towline", name)


def keep(name: str, what: object) -> None:
    """Write JSON, for this user alone; where that can't be, it is made again the next time."""
    place = file(name)
    new = f"{place}.{os.getpid()}"
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
                json.dump(what, written)
            os.replace(new, place)
        finally:
            forget(os.path.basename(new))


def forget(name: str) -> None:
    """Remove what was kept, if it was."""
    with contextlib.suppress(OSError):
        os.unlink(file(name))


def forget_older(seconds: float, beginning: str) -> None:
    """Remove what was kept longer ago, of what is called so."""
    with contextlib.suppress(OSError), os.scandir(os.path.dirname(file(beginning))) as entries:
        for each in entries:
            if each.name.startswith(beginning) and time.time() - each.stat().st_mtime > seconds:
                forget(each.name)


def kept(name: str) -> Any:
    """Return what was kept; None where there is nothing, or it is not this user's."""
    try:
        with open(file(name), "rb") as opened:
            return json.load(opened) if os.fstat(opened.fileno()).st_uid == os.geteuid() else None
    except (OSError, ValueError):
        return None


def shape() -> Shape:
    """Return the shape of the whole command line."""
    name = f"commands-{_mark()}"
    found: Shape | None = kept(name)
    if found is None:
        found = _read()
        with contextlib.suppress(OSError):
            for old in os.listdir(os.path.dirname(file(name))):
                if old.startswith("commands-"):
                    forget(old)
        keep(name, found)
    return found


def _mark() -> str:
    """Return what is another as soon as commands may be others."""
    here = os.path.dirname(os.path.dirname(__file__))
    parts = [__version__, str(sources.value("operations"))]
    for room in ROOMS:
        with os.scandir(os.path.join(here, room)) as entries:
            parts += sorted(f"{each.name} {each.stat().st_mtime_ns}" for each in entries)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _read() -> Shape:
    import click

    from towline.cli.commands import PLURALS, SAY, WORDS, cli

    context = click.Context(cli, info_name="towline")
    found = _of(cli, context)
    for word, words in WORDS.items():
        # A plural is the noun as long as no verb stands behind it, and its list then.
        found["commands"][word] = [PLURALS[word]] if word in PLURALS else list(words)
    found["commands"] |= {word: [] for word in SAY}
    return found


def _of(command: click.Command, context: click.Context) -> Shape:
    import click

    from towline.cli.connection import PREFIX

    options: dict[str, Any] = {}
    arguments: list[Any] = []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Argument):
            arguments.append({"kind": _kind(parameter), "many": parameter.nargs == -1})
        elif isinstance(parameter, click.Option) and not parameter.hidden:
            name = str(parameter.name)
            told = {
                "about": _first(parameter.help or ""),
                "kind": None if parameter.is_flag or parameter.count else _kind(parameter),
                "many": parameter.multiple or parameter.count,
                "name": name,
                # Which setting of the connection it says: url, token and so on.
                "where": name.removeprefix(PREFIX) if name.startswith(PREFIX) else None,
            }
            options |= dict.fromkeys((*parameter.opts, *parameter.secondary_opts), told)
    found: Shape = {
        "about": command.get_short_help_str(limit=200),
        "options": options,
        "arguments": arguments,
    }
    if isinstance(command, click.Group):
        found["commands"] = {}
        for name in command.list_commands(context):
            _, below, _ = command.resolve_command(context, [name])
            if below is not None and not below.hidden:
                found["commands"][name] = _of(below, click.Context(below, info_name=name))
    return found


def _kind(parameter: click.Parameter) -> list[str] | str:
    import click

    if isinstance(parameter.type, click.Choice):
        return [str(each) for each in parameter.type.choices]
    named = str(parameter.name).upper() if isinstance(parameter, click.Argument) else ""
    return (parameter.metavar or named).strip("[].")


def _first(text: str) -> str:
    """Return the first sentence of a help, without what stands in brackets behind it."""
    return " ".join(text.partition(". ")[0].partition("  [")[0].split())
