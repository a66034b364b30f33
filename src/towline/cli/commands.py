"""The root of all commands: what each is called, what is said of it, and where it is.

Nothing of a command is imported before it is wanted: what the root says of it is declared here.
"""

from __future__ import annotations

import importlib

import click

from towline import __version__
from towline.cli.command import Group
from towline.runtime import sources

SERVE, JOBS, TRUST = "towline.cli.serve", "towline.cli.jobs", "towline.cli.trust"
DOCKER, NODE = "towline.operations.docker", "towline.operations.node"
ENDPOINTS = "towline.endpoints"


class Listed(click.Command):
    """A command as the list of all of them has it.

    Args:
        about: what it does, in one line; of a group, what its commands are for.
        modules: those that have the command, and those with the operations and endpoints that it,
            or a command of the group, is made of.
    """

    def __init__(self, name: str, about: str, *modules: str) -> None:
        super().__init__(name, short_help=about)
        self.modules = modules


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
        name, command, rest = super().resolve_command(ctx, args)
        return name, _found(ctx, command) if isinstance(command, Listed) else command, rest

    def _further(self, ctx: click.Context) -> dict[str, Listed]:
        """Return the commands that are not listed here, by name."""
        if not sources.value("operations"):
            return {}
        from towline.cli import generated

        by_hand = {each.name for each in LISTED if _single(_by_hand(each))}
        return {
            name: Listed(name, about)
            for name, about in generated.further(ctx, by_hand).items()
            if name not in self.commands
        }


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
    made = {*listed.modules} & {DOCKER, NODE, ENDPOINTS} or sources.value("operations")
    if _single(found) or (found is not None and not made):
        return found
    from towline.cli import generated

    group = found if isinstance(found, click.Group) else None
    return generated.command(ctx, str(listed.name), listed.short_help, group)


LISTED = (
    Listed("agent", "Run an agent, which makes this machine a node.", "towline.cli.agent"),
    Listed(
        "audit", "List who changed something and who was refused.", "towline.cli.audit", ENDPOINTS
    ),
    Listed("broker", "Run a broker with the keys of towline trust init.", TRUST),
    Listed("cancel", "Stop a job on every node where it has not ended.", JOBS),
    Listed("controller", "Run a controller, on the broker of towline broker or your own.", SERVE),
    Listed("delete", "Delete a job that has ended.", ENDPOINTS),
    Listed("docker", "Images and containers on the node's Docker Engine.", DOCKER),
    Listed("drain", "Stop giving work to a node; what runs there goes on to its end.", ENDPOINTS),
    Listed("health", "How the controller is, and all that it works with.", "towline.cli.health"),
    Listed("job", "Show one job.", JOBS),
    Listed("jobs", "List jobs, the newest first.", JOBS),
    Listed(
        "node",
        "Look at nodes, let machines in, and label, rename and shut out nodes.",
        *("towline.cli.invite", NODE, ENDPOINTS),
    ),
    Listed("nodes", "List the nodes.", "towline.cli.nodes"),
    Listed("pause", "Give no more nodes of a job their turn.", ENDPOINTS),
    Listed("pull", "Pull a container image on the target node.", DOCKER),
    Listed(
        "registry",
        "Keep the credentials that pulls use.",
        *("towline.cli.registries", ENDPOINTS),
    ),
    Listed("resume", "Give nodes of a paused job their turn again.", ENDPOINTS),
    Listed("retry", "Do a job again where it did not succeed.", JOBS),
    Listed("token", "Make tokens, list, show and revoke them.", "towline.cli.token", ENDPOINTS),
    Listed("trust", "Make, show, pass on and replace the keys that a fleet stands on.", TRUST),
    Listed("undrain", "Give work to a drained node again.", ENDPOINTS),
    Listed("up", "Run a broker, a controller and an agent on this machine.", "towline.cli.up"),
)


@click.group(
    cls=Root,
    commands=LISTED,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="towline")
def cli() -> None:
    """Put container images on machines, and run a fleet of Linux hosts over one API."""
