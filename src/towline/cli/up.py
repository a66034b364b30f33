"""The command that runs all parts on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from towline.cli import local, part_keys
from towline.cli.command import Command
from towline.cli.first_terminal import Words
from towline.cli.listening import address_of, api_options, certificate, is_loopback, reached
from towline.cli.options import config_option, state_option
from towline.cli.serve import (
    engine_url,
    labels_of,
    level_option,
    node_options,
    retention_of,
    start,
)

if TYPE_CHECKING:
    from towline.runtime.config import Settings
    from towline.trust.keys import Trust


@click.command(cls=Command)
@state_option
@api_options
@click.option(
    "--broker-listen",
    metavar="HOST:PORT",
    help="Where other machines reach the broker, encrypted, in place of the API's host. On "
    "loopback it is this machine's alone, as long as the API is.",
)
@node_options
@click.option(
    "--verbose",
    "-v",
    is_flag=True,
    help="On a terminal show the logs as well, in place of writing them to a file.",
)
@config_option
@level_option
def up(config_file: str | None, verbose: bool, **flags: Any) -> None:
    """Run a broker, a controller and an agent on this machine.

    With --listen beyond loopback other machines can be nodes of it, too. On a terminal it says
    what runs and what to type next, and its logs go to a file.
    """
    from towline.cli import first_terminal
    from towline.runtime import state_directory, supervisor
    from towline.runtime.process import run

    for name in ("labels", "addresses"):
        flags[name] = list(flags[name])
    settings, directory = start(config_file, "up", **flags)
    locks = [state_directory.Lock(directory, part) for part in ("up", "broker")]
    trust, machine = _checked(settings, directory)
    address = _free(settings.listen)
    shared_at = None if (found := _shared_at(settings)) is None else _free(found)
    encrypted = certificate(settings, directory) is not None
    named = settings.addresses if settings.tls_cert else []
    host = f"{named[0]}:{address_of(address)[1]}" if named else reached(address)
    url = f"{'https' if encrypted else 'http'}://{host}"
    common = ["--state", str(directory), "--log-level", settings.log_level]
    if config_file:
        common += ["--config", config_file]
    broker = None
    if shared_at is not None:
        # This broker is a process of its own, which takes the lock itself.
        locks.pop().close()
        names = [part for each in settings.addresses for part in ("--address", each)]
        broker = [*common, "--listen", shared_at, *names]
    parts = supervisor.Arguments(
        controller=[*common, "--listen", address, *_of_api(settings)],
        agent=[*common, *_of_node(settings)],
        broker=broker,
        broker_url=f"tls://{reached(shared_at)}" if shared_at else "",
    )

    words = Words(
        url=url,
        shared_at=shared_at,
        directory=directory,
        config_file=config_file,
        hostname=state_directory.hostname(settings.hostname),
        level=settings.log_level,
        own_ca=encrypted and not settings.tls_cert,
    )
    readable = not verbose and sys.stdout.isatty() and sys.stderr.isatty()
    with (first_terminal.on_terminal if readable else first_terminal.plain)(words) as teller:
        run(lambda: supervisor.run(directory, trust, machine, url, parts, teller))
    for lock in locks:
        lock.close()


def _checked(settings: Settings, directory: Path) -> tuple[Trust, str]:
    """Refuse here, once, what a child would refuse that is started again and again.

    Returns:
        The trust directory, which is there by now, and the node's machine id.
    """
    from towline.controller.http.limits import limits_of
    from towline.controller.oidc import provider_of
    from towline.runtime import state_directory
    from towline.runtime.registries import Registries
    from towline.trust import keys

    for name in ("wait", "longest_wait", "expires", "heartbeat", "audit_retention"):
        settings.seconds(name)
    settings.share("min_free")
    retention_of(settings)
    limits_of(settings)
    provider_of(settings)
    labels_of(settings.labels)
    engine_url(settings.engine)
    Registries.of(settings.registries)
    state_directory.hostname(settings.hostname)
    machine = state_directory.machine_id(directory, settings.machine_id)
    local.token_keys(settings, directory)
    local.client_keys(settings)
    part_keys.vault(settings, directory)
    trust = keys.open_trust(directory) if keys.exists(directory) else keys.create(directory)
    part_keys.signer(settings, directory)
    part_keys.verifier(settings, directory)
    return trust, machine


def _free(listen: str) -> str:
    """Return an address at which it can be listened, with a port where that was to be any."""
    from towline.controller.http.server import bind

    host, port = address_of(listen)
    with bind(host, port) as probe:
        port = probe.getsockname()[1]
    return _joined(host, port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _shared_at(settings: Settings) -> str | None:
    """Return where other machines are to reach the broker; None where only this one is."""
    host, port = address_of(settings.broker_listen)
    if not is_loopback(host):
        return settings.broker_listen
    of_api, _ = address_of(settings.listen)
    return None if is_loopback(of_api) else _joined(of_api, port)


def _of_api(settings: Settings) -> list[str]:
    found = ["--plain-http"] if settings.plain_http else []
    for flag, value in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        found += [flag, value] if value else []
    return found + [part for each in settings.addresses for part in ("--address", each)]


def _of_node(settings: Settings) -> list[str]:
    found = []
    for name in ("engine", "hostname", "machine_id", "min_free", "max_pulls", "docker_config"):
        if getattr(settings, name) is not None:
            found += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    return found + [part for label in settings.labels for part in ("--label", label)]


COMMANDS = (up,)
