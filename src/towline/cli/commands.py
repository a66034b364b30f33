"""The root of all commands: what each is called, what is said of it, and where it is.

Nothing of a command is imported before it is wanted: what the root says of it is declared here.
Each noun stands here once, in the singular. Its plural and short forms are other words for the same
command: they are replaced before anything is looked up.
"""

from __future__ import annotations

import importlib
import re

import click

from towline import __version__
from towline.cli.command import Group
from towline.runtime import sources

SERVE, JOBS, TRUST = "towline.cli.serve", "towline.cli.jobs", "towline.cli.trust"
DOCKER, NODE = "towline.operations.docker", "towline.operations.node"
IMAGE = "towline.operations.image"
ENDPOINTS = "towline.endpoints"
HELP = ("-h", "--help")
ON_NODES, FLEET, ACCESS, PARTS, WAY = (
    "Do something on nodes",
    "Look after nodes and jobs",
    "Say who may do what",
    "Run the parts",
    "Find your way",
)
HEADINGS = (ON_NODES, FLEET, ACCESS, PARTS, WAY)
"""Under these the help lists commands, in this order."""


class Listed(click.Command):
    """A command as the list of all of them has it.

    Args:
        about: what it does, in one line; of a group, what its commands are for.
        modules: those that have the command, and those with the operations and endpoints that it,
            or a command of the group, is made of.
        heading: under which the help lists it.
        plural: another word for a group, which by itself is its `list`.
    """

    def __init__(
        self,
        name: str,
        about: str,
        *modules: str,
        heading: str = ON_NODES,
        plural: str | None = None,
    ) -> None:
        super().__init__(name, short_help=about)
        self.modules = modules
        self.heading = heading
        self.plural = plural


class Root(Group):
    """All commands: those listed here, and those of the modules that the settings name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted({*self.commands, *self._further(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command as it is listed, or None where there is none of this name."""
        return self.commands.get(cmd_name) or self._further(ctx).get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with, and what follows its name."""
        name, command, rest = super().resolve_command(ctx, spelt_out(args))
        return name, _found(ctx, command) if isinstance(command, Listed) else command, rest

    def words(self, ctx: click.Context) -> list[str]:
        """Return what may be typed in place of a command, short forms included."""
        return [*self.list_commands(ctx), *WORDS, *SAY]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments: `help COMMAND` is `COMMAND --help`, and `version` is `--version`."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        elif args == ["version"]:
            args = ["--version"]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, under their headings, and after them the short forms."""
        listed = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        found = [each for each in listed if isinstance(each, Listed)]
        width = max(len(str(each.name)) for each in found)
        for heading in HEADINGS:
            rows = [
                (f"{each.name:{width}}", each.get_short_help_str(formatter.width - width - 6))
                for each in found
                if each.heading == heading
            ]
            if heading == ON_NODES:
                rows.append((f"{'pull':{width}}", "Pull container images: docker pull."))
            with formatter.section(heading):
                formatter.write_dl(rows)
        short: dict[str, list[str]] = {}
        for word, (noun, verb) in WORDS.items():
            if word == "pull":  # what most come for stands among the commands themselves
                continue
            short.setdefault(verb if verb == "list" else noun, []).append(word)
        with formatter.section("Short forms"):
            formatter.write_dl([_short_forms(words, width) for words in short.values()])

    def _further(self, ctx: click.Context) -> dict[str, Listed]:
        """Return the commands that are not listed here, by name."""
        if not sources.value("operations"):
            return {}
        from towline.cli import generated

        by_hand = {each.name for each in LISTED if _single(_by_hand(each))} | {*WORDS, *SAY}
        return {
            name: Listed(name, about)
            for name, about in generated.further(ctx, by_hand).items()
            if name not in self.commands
        }


def _short_forms(words: list[str], width: int) -> tuple[str, str]:
    """Return a line of the help: the first of some short forms with what it means, and the rest."""
    first, *others = words
    also = f"; also {', '.join(others)}" if others else ""
    return f"{first:{width}}", " ".join(WORDS[first]) + also


def _by_hand(listed: Listed) -> click.Command | None:
    """Return the command, or the group, of a name that is written by hand; None for none."""
    found: click.Command | None = None
    for module in map(importlib.import_module, listed.modules):
        for command in getattr(module, "COMMANDS", ()):
            found = command if command.name == listed.name else found
    return found


def _single(found: click.Command | None) -> bool:
    return found is not None and not isinstance(found, click.Group)


def _found(ctx: click.Context, listed: Listed) -> click.Command | None:
    """Return the command itself: one written by hand, one that is made, or a group of both.

    Raises:
        InvalidConfiguration: one that is made has the name of one that is written by hand.
    """
    found = _by_hand(listed)
    # Of modules that the settings name any command may be.
    made = {*listed.modules} & {DOCKER, IMAGE, NODE, ENDPOINTS} or sources.value("operations")
    if _single(found) or (found is not None and not made):
        return found
    from towline.cli import generated

    group = found if isinstance(found, click.Group) else None
    return generated.command(ctx, str(listed.name), listed.short_help, group)


LISTED = (
    Listed(
        *("agent", "Run an agent, which makes this machine a node.", "towline.cli.agent"),
        heading=PARTS,
    ),
    Listed(
        *("apply", "Declare the sets that files have."),
        "towline.cli.sets.apply",
    ),
    Listed(
        *("audit", "List who changed something and who was refused."),
        *("towline.cli.audit", ENDPOINTS),
        heading=ACCESS,
    ),
    Listed("broker", "Run a broker with the keys of towline trust init.", TRUST, heading=PARTS),
    Listed(
        *("completion", "Print the script by which bash, zsh or fish completes towline."),
        "towline.cli.completion",
        heading=WAY,
    ),
    Listed(
        *("controller", "Run a controller, on the broker of towline broker or your own.", SERVE),
        heading=PARTS,
    ),
    Listed(
        *("context", "Choose which controller commands ask.", "towline.cli.contexts"),
        heading=ACCESS,
        plural="contexts",
    ),
    Listed("ensure", "Have images on nodes, and keep them there.", "towline.cli.sets.ensure"),
    Listed("docker", "Images and containers on the node's Docker Engine.", DOCKER),
    Listed(
        *("health", "How the controller is, and all that it works with.", "towline.cli.health"),
        heading=FLEET,
    ),
    Listed(
        *("image", "List, find, compare and remove images of all nodes."),
        *("towline.cli.images", IMAGE),
        plural="images",
    ),
    Listed(
        *("job", "List, show, follow, cancel and retry jobs.", JOBS, ENDPOINTS),
        heading=FLEET,
        plural="jobs",
    ),
    Listed(
        *(
            "login",
            "Keep a controller's URL, a token for it and its CA, as the current context.",
            "towline.cli.login",
        ),
        heading=ACCESS,
    ),
    Listed(
        *(
            "logout",
            "Forget the token of a context, the current one unless another is named.",
            "towline.cli.login",
        ),
        heading=ACCESS,
    ),
    Listed(
        *("node", "List and show nodes, let machines in, drain nodes and shut them out."),
        *("towline.cli.nodes", NODE, ENDPOINTS),
        heading=FLEET,
        plural="nodes",
    ),
    Listed(
        *("registry", "Keep the credentials that pulls use.", "towline.cli.registries", ENDPOINTS),
        heading=FLEET,
        plural="registries",
    ),
    Listed(
        *(
            "set",
            "Look after sets: images that nodes ought to have, and are kept to.",
            "towline.cli.sets.commands",
        ),
        heading=FLEET,
        plural="sets",
    ),
    Listed(
        *("token", "Make tokens, list, show and revoke them.", "towline.cli.token", ENDPOINTS),
        heading=ACCESS,
        plural="tokens",
    ),
    Listed(
        *("trust", "Make, show, pass on and replace the keys that a fleet stands on.", TRUST),
        heading=ACCESS,
    ),
    Listed(
        *("up", "Run a broker, a controller and an agent on this machine.", "towline.cli.up"),
        heading=PARTS,
    ),
)
PLURALS = {each.plural: str(each.name) for each in LISTED if each.plural is not None}
"""Other words for nouns, each of which by itself is the noun's list."""
WORDS = {
    "pull": ("docker", "pull"),
    "rmi": ("image", "remove"),
    **{word: ("job", word) for word in ("cancel", "delete", "pause", "resume", "retry")},
    **{word: ("node", word) for word in ("drain", "undrain", "invites")},
    # The help shows the first, and names the others beside it.
    **{plural: (PLURALS[plural], "list") for plural in ("nodes", "jobs", *PLURALS)},
}
"""One word in place of two: what is typed most, and what commands were called in version 0.1."""
SAY = ("help", "version")
"""Options that are taken for commands, too, since those of other tools are."""
JOB_ID = re.compile("[0-9A-Fa-f-]{8,}")
"""What is meant as a job's id, whole or short, valid or not; no command is called so."""


def spelt_out(words: list[str]) -> list[str]:
    """Return words of a command line with noun and verb in place of a short form.

    Args:
        words: those behind `towline`, options of its own left out.

    Example:
        ["drain", "web-01"] is ["node", "drain", "web-01"], ["nodes", "-o", "json"] is ["node",
        "list", "-o", "json"], ["nodes", "show", "web-01"] is ["node", "show", "web-01"], and
        ["job", "0199c0de1234"] is ["job", "show", "0199c0de1234"].
    """
    if not words:
        return words
    name, *rest = words
    first = rest[0] if rest else "-"
    if name in PLURALS and not first.startswith("-"):
        return spelt_out([PLURALS[name], *rest])
    if name in WORDS:
        return [*WORDS[name], *rest]
    asks = first.startswith("-") and first not in ("-", *HELP)
    if name == "job" and (asks or JOB_ID.fullmatch(first)):
        return ["job", "show", *rest]
    return words


@click.group(
    cls=Root,
    commands=LISTED,
    context_settings={"help_option_names": [*HELP]},
)
@click.version_option(__version__, prog_name="towline")
def cli() -> None:
    """Put container images on machines, and run a fleet of Linux hosts over one API.

    towline help COMMAND says what a command takes, by default too, and which variables of the
    environment say the same.
    """
