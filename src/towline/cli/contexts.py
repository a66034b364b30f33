"""The commands about contexts: which controllers somebody is logged in to, and which is asked."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from towline.cli.command import Group
from towline.cli.options import take_form, with_output
from towline.cli.output import print_document, print_list, print_values
from towline.cli.tables import Column
from towline.cli.terminal import say
from towline.errors import InvalidConfiguration


@click.group(cls=Group)
def context() -> None:
    """Choose which controller commands ask."""


@context.command("list")
def list_(**values: Any) -> None:
    """List the contexts."""
    from towline.runtime import contexts

    form = take_form(values)
    present = contexts.current()
    found: list[dict[str, Any]] = [{"name": contexts.LOCAL, "current": present is None}]
    rows = [["*" if present is None else "", contexts.LOCAL, "of towline up on this machine"]]
    for name in contexts.names():
        each: dict[str, Any] = {"name": name, "current": name == present}
        try:
            read = contexts.read(name)
            each |= {"url": read.url, "logged_in": read.token is not None}
            shown = read.url if read.token else f"{read.url} (logged out)"
        except InvalidConfiguration as error:
            each["error"] = shown = error.error
        rows.append(["*" if name == present else "", name, shown])
        found.append(each)
    print_list(
        form,
        {"contexts": found},
        [Column(""), Column("NAME"), Column("CONTROLLER", words=True)],
        rows,
        [str(each["name"]) for each in found],
    )


@context.command()
@click.argument("name", metavar="CONTEXT")
def use(name: str) -> None:
    """Make a context the current one; local for towline up on this machine."""
    from towline.cli.login import warn_of_hiding
    from towline.runtime import contexts

    contexts.use(None if name == contexts.LOCAL else name)
    say(f"Commands ask the controller of the context {name}.")
    warn_of_hiding()


@context.command()
@click.argument("name", metavar="[CONTEXT]", required=False)
def show(name: str | None, **values: Any) -> None:
    """Show a context, the current one unless another is named; never its token."""
    from towline.cli import first_contact
    from towline.runtime import contexts

    form = take_form(values)
    name = name or contexts.current()
    if name is None or name == contexts.LOCAL:
        raise InvalidConfiguration(
            "There is no context: commands ask the controller of towline up on this machine.",
            "towline login URL makes one",
        )
    found = contexts.read(name)
    shown: dict[str, Any] = {
        "name": name,
        "url": found.url,
        "ca": "those whom the system trusts"
        if found.ca is None
        else ", ".join(f"sha256 {each}" for each in first_contact.fingerprints(found.ca)),
        "logged_in": "yes" if found.token else "no",
    }
    if form.document:
        print_document({**shown, "logged_in": found.token is not None}, form)
    elif form.output == "name":
        say(name)
    else:
        print_values({key.replace("_", " "): value for key, value in shown.items()}, form)


@context.command()
@click.argument("name", metavar="CONTEXT")
def remove(name: str) -> None:
    """Remove a context, with its token."""
    from towline.cli import names
    from towline.runtime import contexts

    with contextlib.suppress(InvalidConfiguration):  # one that is damaged can be removed, too
        found = contexts.read(name)
        names.forget(found.url, found.token)
    contexts.remove(name)
    say(f"The context {name} is removed.")


for command in (list_, show):
    with_output(command)

COMMANDS = (context,)
