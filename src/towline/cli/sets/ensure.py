"""`towline ensure`: images that nodes are to have, and to keep; it waits until they do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from towline.cli import last_words, outcome
from towline.cli.command import Choice, Command
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.form import Form
from towline.cli.options import take_form, with_results_output
from towline.cli.orders import Order, patiently
from towline.cli.output import print_document, print_names
from towline.cli.results import print_results
from towline.cli.run import deadline_of
from towline.cli.sets.changes import body_of, declare, foreseen, found_of, replacing
from towline.cli.sets.differences import differences, said
from towline.cli.sets.foreseen import print_foreseen
from towline.cli.sets.names import name_for
from towline.cli.sets.waiting import Key, Removed, Waiting, key_of
from towline.cli.target import OF_SETS, ON
from towline.cli.terminal import say
from towline.cli.values import Value, check_values, file_option, take_values
from towline.errors import ApiError, InvalidConfiguration, Unreachable
from towline.wire.platform import InvalidPlatform, Platform
from towline.wire.reference import Reference
from towline.wire.target import InvalidTarget, parse_target

if TYPE_CHECKING:
    from towline.client import Client
    from towline.endpoints.set_views import SetView

PENDING = "pending"
SHARES = ("canary", "max_parallel", "max_failures")


@with_connection
@with_results_output
@click.command(cls=Command, epilog=outcome.IN_HELP)
@click.argument("image", metavar="IMAGE...", nargs=-1, required=False)
@file_option("IMAGE")
@click.option("--on", help=f"Which nodes, now and later. {OF_SETS}", **ON)
@click.option(
    "--set", "name", metavar="SET", help="The set that has them; by default that of the target."
)
@click.option("--platform", metavar="OS/ARCH", help="For another platform than each engine's own.")
@click.option(
    "--follow",
    type=Choice(("tag", "digest")),
    help="Whether nodes get what the tag names from now on, or what it names today.",
)
@click.option("--every", metavar="DURATION", help="How often tags are looked up.")
@click.option(
    "--window",
    metavar="TIMES",
    help="When new digests may begin, for example '02:00-04:00 Europe/Berlin'.",
)
@click.option(
    "--keep", metavar="NUMBER", type=click.IntRange(0), help="How many older digests stay."
)
@click.option("--canary", metavar="N|N%", help="How many nodes get a new digest first, alone.")
@click.option("--max-parallel", metavar="N|N%", help="How many nodes get it at a time.")
@click.option("--max-failures", metavar="N|N%", help="After how many that fail it is stopped.")
@click.option("--dry-run", is_flag=True, help="Declare nothing, and show what nodes lack.")
@click.option(
    "--wait", metavar="DURATION", help="How long to wait at most; by default, to the end."
)
def ensure(on: str | None, name: str | None, wait: str | None, **values: Any) -> None:
    """Have images on nodes, and keep them there.

    They are put into a set, that of the target unless --set names one, in place of what it has of
    the same repositories. Nodes that come later get them, too, one that has lost an image gets it
    again, and what a tag names anew is rolled out. The command waits for the nodes that are here.

    \b
    Example:
        towline ensure nginx:1.27 --on group:web
    """
    where, form = take_where(values), take_form(values)
    platform = values.pop("platform") or ""
    deadline = deadline_of(wait)
    given, _ = take_values(values, "image")
    _check(given, platform, on)
    images = [each.text for each in given]
    if on is None and name is None:
        raise click.UsageError("Missing option '--on': which nodes are to have it?")
    called = name if name is not None else name_for(str(on))

    def make(found: SetView | None) -> Mapping[str, Any]:
        return _body(found, called, on, images, platform, values)

    with connect(where) as client:
        if values.pop("dry_run"):
            found = found_of(client, called)
            print_foreseen(foreseen(client, called, make(found)), called, found, make(found), form)
            sys.exit(outcome.ALL_WELL)
        doubt = f"it is not known whether {called} was declared: towline set show {called} shows it"
        with last_words.instead(doubt):
            after, before = patiently(
                lambda: declare(client, called, make),
                lambda words: say(words, error=True),
                doubt=False,
            )
        if form.for_people:
            _say_declared(after, before)
        _wait(client, after, _keys(after, images, platform), deadline, form)


def _check(images: Sequence[Value], platform: str, on: str | None) -> None:
    """Refuse what can't be meant before anything is asked for; raises `InvalidConfiguration`."""
    check_values(images, Reference.parse)
    try:
        if platform:
            Platform.parse(platform)
        if on is not None:
            parse_target(on)
    except (InvalidPlatform, InvalidTarget) as error:
        raise InvalidConfiguration(f"Nothing was asked for: {error}") from error


def _body(
    found: SetView | None,
    name: str,
    on: str | None,
    new: Sequence[str],
    platform: str,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what is to be declared.

    Args:
        found: the set as it is; None where there is none.
        on: the target; None for that of the set.
        given: other options of the command; None for what stays as it is.
    """
    if found is None and on is None:
        raise InvalidConfiguration(
            f"There is no set {name}.", "Say which nodes it is for: --on TARGET"
        )
    body = {} if found is None else body_of(found)
    if found is not None and on is not None and str(parse_target(on)) != found.target:
        raise InvalidConfiguration(
            f"The set {name} is for {found.target}, not for {on}.",
            "Name another set: --set NAME; or leave --on out: towline apply changes a target",
        )
    body["target"] = on if found is None else found.target
    body["images"] = replacing(body.get("images", []), new, platform)
    body |= {n: given[n] for n in ("follow", "every", "window", "keep") if given[n] is not None}
    shares = {share: given[share] for share in SHARES if given[share] is not None}
    if shares:
        body["options"] = {**(body.get("options") or {}), **shares}
    return body


def _keys(found: SetView, new: Sequence[str], platform: str) -> list[Key]:
    """Return which images of a set are those that were asked for."""
    of = str(Platform.parse(platform)) if platform else ""
    asked = {(str(Reference.parse(image)), of) for image in new}
    return [
        key_of(each)
        for each in found.images
        if (str(Reference.parse(each.image)), each.platform or "") in asked
    ]


def _say_declared(after: SetView, before: SetView | None) -> None:
    name = after.name
    if before is None:
        say(f"set {name} is declared for {after.target}", error=True)
    elif before.generation == after.generation:
        say(f"set {name} is declared so already", error=True)
    else:
        changed = differences(said(body_of(before)), said(body_of(after)))
        say(f"set {name} is changed:", *(f"  {line}" for line in changed), error=True)
    if before is not None and before.source and before.generation != after.generation:
        say(
            f"it is applied from {before.source}: the next towline apply takes this back",
            error=True,
        )


def _wait(
    client: Client, declared: SetView, images: Sequence[Key], deadline: float, form: Form
) -> NoReturn:
    """Wait for nodes, print where they stand, and end with the exit status that this makes."""
    waiting = Waiting(client, declared, images, deadline, watched=form.for_people)
    name = declared.name
    goes_on = [
        f"set {name} stays declared, and Towline goes on",
        f"  towline set show {name} shows how far it is",
        f"  towline set pause {name} stops it",
    ]
    error: ApiError | None = None
    with last_words.instead(*goes_on):
        try:
            waiting.run()
        except Unreachable:
            raise
        except ApiError as caught:
            error = caught
    orders = [*waiting.orders.values()]
    _print(waiting, orders, form)
    if error is not None:
        outcome.report(error)
        if isinstance(error, Removed):
            sys.exit(outcome.REFUSED)
        say(*goes_on, error=True)
        sys.exit(outcome.GOES_ON)
    statuses = [status for order in orders for status in order.statuses]
    nobody = waiting.known and not statuses and not waiting.replaced
    # Nobody has what no node was waited for: a script that goes on by 0 would do so too early.
    waited_for = statuses if statuses and not waiting.replaced else [*statuses, PENDING]
    for image, _ in waiting.replaced:
        say(
            f"somebody else has taken {Reference.parse(image).familiar} out of set {name} "
            f"meanwhile: towline set history {name} shows who",
            error=True,
        )
    if nobody:
        say(f"no node is {waiting.found.target} yet: those that come will get it", error=True)
    elif form.for_people:
        _say_rest(waiting, waited_for)
    sys.exit(outcome.exit_status(waited_for))


def _print(waiting: Waiting, orders: Sequence[Order], form: Form) -> None:
    found = waiting.found
    if form.document:
        rows = zip(waiting.orders, orders, strict=True)
        results = [{"image": key[0], **row} for key, order in rows for row in order.rows]
        print_document({"set": msgspec.to_builtins(found), "results": results}, form)
    elif form.output == "name":
        print_names([found.name])
    else:
        for number, order in enumerate(orders):
            if number:
                say("")
            if order.rows:
                print_results(order.rows, None, form, seconds=order.seconds, title=order.name)


def _say_rest(waiting: Waiting, statuses: Sequence[str]) -> None:
    """Say what is still to come, if there is something."""
    found = waiting.found
    if waiting.held_back:
        say(f"set {found.name} is paused: towline set resume {found.name}", error=True)
    elif outcome.exit_status(statuses) == outcome.GOES_ON:
        say(f"not done yet: towline set show {found.name} shows the rest", error=True)
    elif "failed" in statuses:
        say(f"it is tried again: towline set show {found.name} shows what comes of it", error=True)


COMMANDS = (ensure,)
