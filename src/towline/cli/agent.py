"""The commands that make this machine a node, and run its agent."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from towline.cli import part_keys
from towline.cli.command import CommandGroup
from towline.cli.options import config_option, state_option
from towline.cli.serve import (
    broker_of,
    broker_options,
    labels_of,
    level_option,
    node_options,
    providers_of,
    start,
)
from towline.cli.terminal import say
from towline.errors import InvalidConfiguration
from towline.runtime import config

if TYPE_CHECKING:
    from towline.trust.identity import Identity


def _machine_id(settings: config.Settings, directory: Path, login: Path | None) -> str:
    """Return the node's machine id: that for which its login is, where that is for one alone."""
    from towline.runtime import state_directory
    from towline.trust.claims import name_in

    named = None if login is None else name_in(login)
    if named is None or settings.machine_id in (None, named):
        return state_directory.machine_id(directory, named or settings.machine_id)
    raise InvalidConfiguration(
        f"The login in {str(login)!r} is for the machine id {named!r}, and this is to be the node "
        f"{settings.machine_id!r}.",
        "Leave --machine-id out, or name the login of this node",
    )


def _with_identity(
    settings: config.Settings, directory: Path
) -> tuple[config.Settings, Any, Identity | None]:
    """Fill in what a node has that came in by an invite; return its key and identity, too."""
    from towline.runtime import keys
    from towline.trust import identity

    found = None if settings.nats_credentials else identity.find(directory)
    if found is None:
        return settings, keys.node_key(directory), None
    filled = msgspec.structs.replace(
        settings,
        nats=settings.nats or ",".join(found.node.brokers),
        nats_ca=settings.nats_ca or (str(found.ca) if found.ca else None),
        nats_credentials=str(found.login),
        job_keys=settings.job_keys or str(found.jobs),
        hostname=found.node.hostname,
        labels=[f"{key}:{value}" for key, value in found.node.labels.items()],
    )
    return filled, found.key(), found


def _join(settings: config.Settings, directory: Path, line: str) -> None:
    from towline.agent.joining import join
    from towline.runtime.process import print_line

    labels = {label.key: label.value for label in labels_of(settings.labels)}
    found = join(directory, line, hostname=settings.hostname, labels=labels, show=print_line)
    print_line(f"This machine is the node {found.node.hostname}, {found.node.machine}.")


@click.group(cls=CommandGroup, invoke_without_command=True)
@state_option
@node_options
@broker_options
@click.option(
    "--job-keys", metavar="FILE", help="The public keys by which it verifies what it is sent."
)
@click.option(
    "--join",
    metavar="LINE",
    help="The line of an invite, by which it comes in first where it is no node yet. In "
    "TOWLINE_JOIN other users can't see it.",
)
@config_option
@level_option
@click.pass_context
def agent(context: click.Context, /, config_file: str | None, **flags: Any) -> None:
    """Run an agent, which makes this machine a node.

    What a node that came in by an invite is called, and which labels it carries, controllers say:
    --hostname and --label count then only together with --join, when it comes in.
    """
    if context.invoked_subcommand is not None:
        return
    flags["labels"] = list(flags["labels"])
    settings, directory = start(config_file, "agent", **flags)
    from towline.agent.agent import Agent
    from towline.agent.host.facts import gather
    from towline.agent.ledger import Ledger
    from towline.agent.trust_files import TrustFiles
    from towline.runtime import state_directory
    from towline.runtime.process import run, starting
    from towline.trust import identity

    lock = state_directory.Lock(directory, "agent")
    if settings.join and not identity.exists(directory):
        _join(settings, directory, settings.join)
    settings, key, found = _with_identity(settings, directory)
    providers = providers_of(settings)
    broker = broker_of(settings)
    machine = _machine_id(settings, directory, broker.credentials)

    async def work() -> None:
        with Ledger(directory / "ledger.sqlite") as ledger:
            worker = Agent(
                broker,
                ledger,
                machine=machine,
                hostname=state_directory.hostname(settings.hostname),
                labels=labels_of(settings.labels),
                providers=providers,
                interval=settings.seconds("heartbeat"),
                key=key,
                trust=TrustFiles(
                    broker,
                    partial(part_keys.verifier, settings, directory),
                    part_keys.verified_by(settings, directory),
                ),
                identity=found,
                gather=partial(gather, Path(settings.facts)),
            )
            with starting("waiting for the broker") as ready:
                await worker.run(ready)

    run(work)
    lock.close()


@agent.command()
@click.argument("url", metavar="URL")
@click.argument("token", metavar="TOKEN")
@click.option(
    "--hostname", metavar="NAME", help="What the node is called, in place of the machine's name."
)
@click.option(
    "--label",
    "labels",
    metavar="KEY:VALUE",
    multiple=True,
    help="A label that the invite allows. It may be given several times.",
)
@state_option
@config_option
@level_option
def join(url: str, token: str, config_file: str | None, **flags: Any) -> None:
    """Make this machine a node, by the line that towline node invite has printed.

    What it is let in with stands in its state directory then, and towline agent needs nothing else.
    Where systemd has the unit towline-agent.service that is enabled and started.
    """
    from towline.runtime import state_directory

    flags["labels"] = list(flags["labels"])
    settings, directory = start(config_file, "agent", **flags)
    lock = state_directory.Lock(directory, "agent")
    _join(settings, directory, f"{url} {token}")
    lock.close()  # before the agent is started, which takes it
    say(_started(directory, named=flags["state"] is not None))


def _started(directory: Path, *, named: bool) -> str:
    """Start the agent of a machine that has come in; return how, or how it is to be started.

    Args:
        named: whether the command was given its state directory.

    Raises:
        TowlineError: the unit that is there can't be started.
    """
    import os
    import shlex

    from towline.runtime import service_manager, state_directory

    # The machine's unit has the machine's state directory, and is root's to enable.
    own = os.geteuid() == 0 and directory == state_directory.default_directory().resolve()
    if own and service_manager.enable(service_manager.AGENT_UNIT):
        return f"systemd starts its agent, now and with the machine: {service_manager.AGENT_UNIT}"
    where = f" --state {shlex.quote(str(directory))}" if named else ""
    return f"Start its agent: towline agent{where}"


COMMANDS = (agent,)
