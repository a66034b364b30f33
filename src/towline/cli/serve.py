"""The commands that run one part on this machine: a controller, or an agent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from towline.cli import local, part_keys
from towline.cli.command import Command
from towline.cli.listening import address_of, api_options, certificate, reached
from towline.cli.options import config_option, state_option
from towline.errors import InvalidConfiguration
from towline.runtime import config
from towline.wire.target import InvalidLabel, Label, parse_label

if TYPE_CHECKING:
    from towline.agent.provider import Context, Provider
    from towline.broker.journal import Retention

DEFAULT_ENGINE = "unix:///var/run/docker.sock"

level_option = click.option(
    "--log-level", metavar="LEVEL", help="How much is logged: debug, info, warning or error."
)


def node_options(command: Any) -> Any:
    """Add the options that describe a node to a command."""
    for option in reversed(
        (
            click.option("--engine", metavar="URL", help="The URL of the Docker Engine, or none."),
            click.option(
                "--min-free",
                metavar="SIZE",
                help="How much of the engine's disk pulls leave free: 1GiB, or 5%, or the larger "
                "of both: 1GiB,5%.",
            ),
            click.option(
                "--max-pulls",
                type=click.IntRange(min=1),
                metavar="NUMBER",
                help="How many pulls run at a time.",
            ),
            click.option(
                "--hostname", metavar="NAME", help="The node's name, in place of the machine's."
            ),
            click.option(
                "--machine-id",
                metavar="ID",
                help="The node's machine id, in place of a derived one.",
            ),
            click.option("--docker-config", metavar="FILE", help="Docker's config.json, or none."),
            click.option(
                "--label",
                "labels",
                metavar="KEY:VALUE",
                multiple=True,
                help="A label of the node. It may be given several times.",
            ),
        )
    ):
        command = option(command)
    return command


def broker_options(command: Any) -> Any:
    """Add the options that say where the broker is to a command."""
    for option in reversed(
        (
            click.option(
                "--nats", metavar="URL", help="The broker's URL, or several, separated by commas."
            ),
            click.option(
                "--nats-credentials",
                metavar="FILE",
                help="The login for the broker: an agent's, or a controller's for the journal.",
            ),
            click.option(
                "--nats-ca",
                metavar="FILE",
                help="The certificates that sign the broker's certificate.",
            ),
        )
    ):
        command = option(command)
    return command


def labels_of(texts: list[str]) -> list[Label]:
    """Return the labels that are written so; raises `InvalidConfiguration`."""
    try:
        labels = [parse_label(text) for text in texts]
    except InvalidLabel as error:
        raise InvalidConfiguration("A label is not valid.", str(error)) from error
    keys = [label.key for label in labels]
    for key in keys:
        if keys.count(key) > 1:
            raise InvalidConfiguration(f"The label {key!r} is given twice.", "Leave one out")
    return labels


def engine_url(url: str | None) -> str | None:
    """Return the URL of the node's Docker Engine; None where the node is to have none."""
    if url == "none":
        return None
    url = url or DEFAULT_ENGINE
    scheme, separator, rest = url.partition("://")
    if scheme not in ("unix", "tcp", "http", "https") or not separator or not rest:
        raise InvalidConfiguration(
            f"{url!r} is no Docker Engine.",
            "Write unix:///path/to/docker.sock, tcp://host:port, or none",
        )
    if scheme != "unix" and "@" in rest:
        # It is shown wherever the engine is: in errors, in the fleet, in the arguments of agents.
        raise InvalidConfiguration(
            "The URL of the Docker Engine has a user name in it.",
            "Docker Engines take none: write tcp://host:port",
        )
    return url


def providers_of(settings: config.Settings) -> list[Callable[[Context], Provider]]:
    """Return what makes the providers of a node's capabilities. A new provider is one line here."""
    from towline.agent.host.provider import HostProvider

    return [HostProvider, *_docker(settings)]


def _docker(settings: config.Settings) -> list[Callable[[Context], Provider]]:
    """Return what makes the provider of the node's Docker Engine, where it is to have one."""
    from towline.agent.docker.engine import Engine
    from towline.agent.docker.provider import DockerProvider
    from towline.agent.docker.pull.docker_config import DockerConfiguration, default_path
    from towline.runtime.registries import Registries

    url, min_free = engine_url(settings.engine), settings.share("min_free")
    registries = Registries.of(settings.registries)
    if url is None:
        return []
    path = Path(settings.docker_config) if settings.docker_config else default_path()
    if settings.docker_config == "none":
        path = None
    return [
        partial(
            DockerProvider,
            engine=Engine(url),
            named=settings.engine is not None,
            configuration=None if path is None else DockerConfiguration(path),
            min_free=min_free,
            max_pulls=settings.max_pulls,
            registries=registries,
        )
    ]


def retention_of(settings: config.Settings) -> Retention:
    """Return how long the journal keeps jobs, and how much of them."""
    from towline.broker.journal import LONGEST_AGE, SMALLEST, Retention
    from towline.units import show_size

    age, size = settings.seconds("retention"), settings.size("retention_size")
    if age > LONGEST_AGE:
        raise InvalidConfiguration(
            f"The retention {settings.retention!r} is too long.",
            f"Controllers keep jobs for {LONGEST_AGE / 86400:.0f}d at most: write that, or less",
        )
    if size < 2 * SMALLEST:
        raise InvalidConfiguration(
            f"The retention size {settings.retention_size!r} is too small.",
            f"Jobs would be lost that still run: write {show_size(2 * SMALLEST)}, or more",
        )
    return Retention(age=age, size=size, replicas=settings.replicas)


def _nodes(settings: config.Settings) -> Any:
    """Return how a controller logs in where the nodes are."""
    from towline.broker.settings import without_password

    found = broker_of(settings, "nodes_credentials")
    if found.credentials is None:
        return found
    # A login that stands in the URL is that to the journal.
    urls = [without_password(url) for url in found.urls]
    return msgspec.structs.replace(found, urls=urls)


def broker_of(settings: config.Settings, login: str = "nats_credentials") -> Any:
    from towline.broker.settings import Settings, check_url
    from towline.runtime.secret_file import check_secret_file

    urls = [url.strip() for url in (settings.nats or "").split(",") if url.strip()]
    if not urls:
        raise InvalidConfiguration(
            "No broker is named.", "Give --nats URL, or run towline up, which brings its own"
        )
    for url in urls:
        check_url(url)
    named = getattr(settings, login)
    credentials = Path(named) if named else None
    if credentials is not None:
        with contextlib.suppress(OSError):  # whoever reads it says what is wrong with it
            check_secret_file(credentials, "The NATS credentials file", named=True)
    return Settings(urls, credentials, Path(settings.nats_ca) if settings.nats_ca else None)


def start(config_file: str | None, part: str, **flags: Any) -> tuple[config.Settings, Path]:
    """Read the settings, set up logs and load further operations.

    Returns:
        The settings, and the state directory, which is there by now.
    """
    from towline import operations
    from towline.runtime import logs, state_directory

    # Whatever a part or its broker writes, it is for nobody else.
    os.umask(0o077)
    settings = config.load(config_file, **flags)
    try:
        logs.configure(part, settings.log_level)
    except ValueError as error:
        raise InvalidConfiguration("The log level is not valid.", str(error)) from error
    operations.load_extra(settings.operations)
    return settings, state_directory.open_directory(local.directory(settings))


def _with_own_logins(settings: config.Settings, directory: Path) -> config.Settings:
    """Fill in where the broker is and how to log in there, where the trust directory says so."""
    from towline.trust import keys

    named = settings.nats_credentials or settings.nodes_credentials
    if named or not keys.exists(directory):
        return settings
    trust = keys.open_trust(directory)
    return msgspec.structs.replace(
        settings,
        nats=settings.nats or f"tls://{reached(settings.broker_listen)}",
        nats_ca=settings.nats_ca or str(trust.path(keys.CA)),
        nats_credentials=str(trust.path(keys.JOURNAL_LOGIN)),
        nodes_credentials=str(trust.path(keys.NODES_LOGIN)),
    )


@click.command(cls=Command)
@state_option
@api_options
@broker_options
@click.option(
    "--nodes-credentials", metavar="FILE", help="The login for the nodes' account of the broker."
)
@click.option("--token-key", metavar="FILE", help="The key that signs tokens.")
@click.option("--credentials-key", metavar="FILE", help="The key that encrypts credentials.")
@click.option("--job-key", metavar="FILE", help="The key that signs what nodes are sent.")
@config_option
@level_option
def controller(config_file: str | None, **flags: Any) -> None:
    """Run a controller, on the broker of towline broker or your own."""
    flags["addresses"] = list(flags["addresses"])
    settings, directory = start(config_file, "controller", **flags)
    settings = _with_own_logins(settings, directory)
    from towline.broker.seal import Seal
    from towline.broker.settings import without_password
    from towline.controller import controller as process
    from towline.controller.audit.trail import keeping_of
    from towline.controller.http.limits import limits_of
    from towline.controller.oidc import provider_of
    from towline.controller.options import Options
    from towline.runtime import state_directory
    from towline.runtime.process import print_line, run, starting
    from towline.runtime.registries import Registries

    lock = state_directory.Lock(directory, "controller")
    host, port = address_of(settings.listen)
    broker, nodes = broker_of(settings), _nodes(settings)
    token_keys, vault = local.token_keys(settings, directory), part_keys.vault(settings, directory)
    signer = part_keys.signer(settings, directory)
    trust = part_keys.joined_by(directory)
    options = Options(
        host=host,
        port=port,
        broker=broker,
        nodes=nodes,
        index=directory / "index.sqlite",
        keys=token_keys,
        clients=local.client_keys(settings),
        signer=signer,
        vault=vault,
        key_files=part_keys.replaceable(settings, directory, token_keys, vault, signer),
        roles=settings.roles,
        wait=settings.seconds("wait"),
        longest_wait=settings.seconds("longest_wait"),
        expires=settings.seconds("expires"),
        audit=keeping_of(settings),
        provider=provider_of(settings),
        retention=retention_of(settings),
        heartbeat=settings.seconds("heartbeat"),
        audiences=settings.token_audiences,
        limits=limits_of(settings),
        registries=Registries.of(settings.registries),
        certificate=certificate(settings, directory),
        account=part_keys.account(directory, nodes.credentials),
        trust=trust,
        seal=None if trust is None else Seal(trust.stored_key()),
        node_brokers=settings.node_brokers or list(map(without_password, broker.urls)),
    )

    async def serve() -> None:
        with starting("waiting for the broker") as ready:
            await process.run(options, lambda url: print_line(f"Towline answers at {url}"), ready)

    run(serve)
    lock.close()


COMMANDS = (controller,)
