"""The commands that replace keys, a step at a time, and show which there are and who lacks some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from towline.cli import local
from towline.cli.command import Choice, Command
from towline.cli.connection import Where, client_of, settings_of, take_where, with_connection
from towline.cli.terminal import say
from towline.errors import ApiError, InvalidConfiguration
from towline.runtime import config

if TYPE_CHECKING:
    from towline.endpoints.trust import KeysView, TrustView

COPY = "Copy the file to all other controllers"
KINDS = ["tokens", "credentials", "jobs", "nodes", "ca"]
BY_THEMSELVES = "Nodes that came in by an invite ask for it by themselves"


class Rotation(msgspec.Struct, frozen=True):
    """How a kind of keys is replaced in the files of this machine.

    Attributes:
        kind: as it is called.
        path: the file.
        step: puts a new key behind the other, or the newest before it; returns whether it is the
            first now.
        retire: removes all but the first, and returns how many.
        ids: returns what is public of the keys, as the API shows it; None for keys of which nodes
            know nothing.
        copy: which files are to be copied after a step, and where to.
        known: what nodes need when a key is new, or gone; "" for nothing.
        first: what they need when another one is the first.
    """

    kind: str
    path: Path
    step: Callable[[], bool]
    retire: Callable[[], int]
    ids: Callable[[], list[str]] | None = None
    copy: str = COPY
    known: str = ""
    first: str = ""


def _rotation(kind: str, settings: config.Settings) -> Rotation:
    if kind == "jobs":
        return _of_jobs(settings)
    if kind == "nodes":
        return _of_nodes(settings)
    if kind == "ca":
        return _of_ca(settings)
    path, name = _key_file(kind, settings)
    from towline.runtime import key_files

    return Rotation(
        kind, path, lambda: key_files.rotate(path, name), lambda: key_files.retire(path, name)
    )


def _key_file(kind: str, settings: config.Settings) -> tuple[Path, str]:
    """Return a file that has a key in each line, and what errors call it."""
    from towline.cli import part_keys

    return part_keys.paths(settings, local.directory(settings))[kind], f"The key of {kind}"


def _of_jobs(settings: config.Settings) -> Rotation:
    from towline.runtime import key_files
    from towline.trust import job_keys
    from towline.trust.signing import kid_of

    path, name = _key_file("jobs", settings)

    def ids() -> list[str]:
        signer = job_keys.load_signer(path, create=False)
        return [kid_of(key) for key in signer.public]

    return Rotation(
        "jobs",
        path,
        lambda: key_files.rotate(path, name),
        lambda: key_files.retire(path, name, job_keys.retired),
        ids,
        known=f"{BY_THEMSELVES}; to the others copy jobs.pub, which is in the controllers' state "
        "directory.",
    )


def _of_nodes(settings: config.Settings) -> Rotation:
    from towline.trust import keys, rotation
    from towline.trust.certificates import short_id

    trust = keys.open_trust(local.directory(settings))
    return Rotation(
        "nodes",
        trust.path(keys.NODES_SIGNING),
        lambda: rotation.rotate_logins(trust),
        lambda: rotation.retire_logins(trust),
        lambda: list(map(short_id, trust.login_keys().public)),
        first=f"{BY_THEMSELVES}; give each of the others the login that towline trust login makes "
        "for it now.",
    )


def _of_ca(settings: config.Settings) -> Rotation:
    from towline.trust import keys, rotation
    from towline.trust.certificates import fingerprints, short_id

    trust = keys.open_trust(local.directory(settings))
    return Rotation(
        "ca",
        trust.path(keys.CA),
        lambda: rotation.rotate_authorities(trust),
        lambda: rotation.retire_authorities(trust),
        lambda: list(map(short_id, fingerprints(trust.read(keys.CA)))),
        copy="Copy ca.pem to all controllers, and ca.pem and ca.key to all other brokers",
        known=f"{BY_THEMSELVES}; to the others copy ca.pem.",
    )


@with_connection
@click.command(cls=Command)
@click.argument("kind", metavar="KIND", type=Choice(KINDS))
@click.option("--retire", is_flag=True, help="Remove the old key: the last step.")
@click.option(
    "--anyway",
    is_flag=True,
    help="Take the step though nodes that are here lack a key, or no controller can say so. Such a "
    "node does nothing until it has asked for the key at a controller's URL.",
)
def rotate(kind: str, retire: bool, anyway: bool, **values: Any) -> None:
    """Replace a key of the fleet, a step at a time.

    Run it on one controller's machine, and copy the file to all others after each step: first a
    new key is made that is known, then it is the one that is used, with --retire the old one is
    removed. Controllers read the file again by themselves.

    KIND is tokens, credentials, jobs (what nodes are sent is signed with it), nodes (signs the
    logins of nodes) or ca (the brokers' CA, on a broker's machine). With the last three, the second
    step and the third wait until each node that is here has what it needs, which the controller is
    asked.
    """
    where = take_where(values)
    rotation = _rotation(kind, _here(where))
    # The first step is safe: whoever doesn't know the new key yet is not sent anything by it.
    if rotation.ids is not None and not anyway and (retire or len(rotation.ids()) > 1):
        _refuse_behind(where, rotation, rotation.ids())
    again = f"  towline trust rotate {kind}"
    if retire:
        count = rotation.retire()
        if not count:
            _say(f"{rotation.path} holds one key alone: there is none to remove.")
            return
        gone = "one older key" if count == 1 else f"{count} older keys"
        _say(f"Removed {gone} from {rotation.path}. {rotation.copy}.", rotation.known)
    elif rotation.step():
        _say(
            f"The new key is the first in {rotation.path}, and used within some seconds.",
            f"{rotation.copy}.",
            rotation.first,
            "Then, when nothing needs the old key:",
            f"{again} --retire",
        )
    else:
        _say(
            f"A new key is in {rotation.path}, and known within some seconds.",
            f"{rotation.copy}.",
            rotation.known,
            "Then, which makes it the one that is used:",
            again,
        )


def _say(*lines: str) -> None:
    say(*filter(None, lines))


def _here(where: Where) -> config.Settings:
    """Return the settings of this machine, whichever controller is asked."""
    return config.load(where.config, state=where.state)


def _asked(where: Where) -> tuple[str, TrustView]:
    """Return the URL of a controller, and which keys it says that it has.

    Raises:
        InvalidConfiguration: none is named and none runs here, or there is no token for it.
        ApiError: it doesn't say so.
    """
    settings = settings_of(where)
    url = local.url(settings) if settings.url is None else settings.url
    with client_of(settings, url) as client:
        return url, client.trust()


def _refuse_behind(where: Where, rotation: Rotation, ids: list[str]) -> None:
    """Raise `InvalidConfiguration` unless all nodes that are here know the keys of this machine."""
    try:
        url, found = _asked(where)
    except (InvalidConfiguration, ApiError) as error:
        raise InvalidConfiguration(
            f"No controller says which nodes know the keys of {rotation.kind}, so that nothing is "
            f"changed: {error.error}",
            f"{error.details} Name one with --url, or take the step with --anyway",
        ) from error
    keys = next((each for each in found.kinds if each.kind == rotation.kind), None)
    if keys is None or keys.keys != ids:
        raise InvalidConfiguration(
            f"The controller at {url} has not the keys that {str(rotation.path)!r} holds, so that "
            "nothing is changed.",
            f"{rotation.copy}, and give them some seconds to read it",
        )
    if keys.obstacle:
        raise InvalidConfiguration(
            f"The next step has to wait, so that nothing is changed: {keys.obstacle}.",
            "Try again in a moment; --anyway waits for nothing",
        )
    if keys.nodes_behind:
        raise InvalidConfiguration(
            f"{keys.nodes_behind} of {found.nodes_here} nodes that are here do not know the keys "
            f"of {rotation.kind} yet, so that nothing is changed: {_named(keys)}.",
            f"{rotation.known or rotation.first} towline trust status shows who is left; --anyway "
            "waits for nobody",
        )


def _named(keys: KeysView) -> str:
    more = keys.nodes_behind - len(keys.behind)
    return ", ".join(keys.behind) + (f" and {more} more" if more > 0 else "")


@with_connection
@click.command(cls=Command)
def status(**values: Any) -> None:
    """Show which keys there are, by what is public of them, and which nodes lack some.

    First those on this machine, then those of the controller that is named, or runs here.
    """
    from towline.runtime import state_directory
    from towline.trust import keys, report

    where = take_where(values)
    directory = state_directory.open_directory(local.directory(_here(where)))
    if keys.exists(directory):
        say(*report.status(keys.open_trust(directory)).splitlines(), "")
    try:
        url, found = _asked(where)
    except (InvalidConfiguration, ApiError) as error:
        keys.open_trust(directory)  # where there is none either, this says so
        say(f"No controller says which keys it has: {error.error} {error.details}")
        return
    say(f"At the controller {url}, the first of each kind being the one that is used:")
    width = max(len(each.kind) for each in found.kinds)
    for each in found.kinds:
        say(f"  {each.kind:{width}}  {', '.join(each.keys)}")
        if each.obstacle:
            say(f"  {'':{width}}  {each.obstacle}")
        if each.nodes_behind:
            say(
                f"  {'':{width}}  {each.nodes_behind} of {found.nodes_here} nodes that are here do "
                f"not know these yet: {_named(each)}"
            )
