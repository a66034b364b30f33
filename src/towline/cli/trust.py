"""The commands that make and show what a fleet trusts, and the one that runs its broker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from towline.cli import local, rotation
from towline.cli.command import Choice, Command, Group
from towline.cli.listening import address_of
from towline.cli.options import config_option, state_option
from towline.cli.serve import level_option, start
from towline.cli.terminal import say
from towline.errors import InvalidConfiguration

if TYPE_CHECKING:
    from towline.runtime.config import Settings
    from towline.runtime.nats_conf import Peers


@click.group(cls=Group)
def trust() -> None:
    """Make, show, pass on and replace the keys that a fleet stands on."""


def _directory(config_file: str | None, state: str | None) -> Path:
    from towline.runtime import config, state_directory

    settings = config.load(config_file, state=state)
    return state_directory.open_directory(local.directory(settings))


@trust.command()
@state_option
@config_option
def init(config_file: str | None, state: str | None) -> None:
    """Make all keys and certificates of a new fleet, once."""
    from towline.trust import keys, report

    made = keys.create(_directory(config_file, state))
    say(f"Made in {made.directory}:", "", *report.files(made).splitlines())
    say(*report.ADVICE.splitlines())


@trust.command()
@click.argument("machine_id", metavar="MACHINE_ID")
@click.option(
    "--expires", metavar="DURATION", help="How long it is good for, such as 90d; without, for good."
)
@state_option
@config_option
def login(machine_id: str, expires: str | None, config_file: str | None, state: str | None) -> None:
    """Print a new login for a node's agent.

    It is good for that machine id alone, and nobody renews it. A node that comes in by an invite
    needs none.
    """
    from towline.trust import keys
    from towline.units import parse_duration
    from towline.wire.target import InvalidTarget

    found = keys.open_trust(_directory(config_file, state))
    try:
        lasts = None if expires is None else parse_duration(expires)
        login = found.node_login(machine_id, lasts)
    except (InvalidTarget, ValueError) as error:
        raise InvalidConfiguration("No login is made.", str(error)) from error
    say(*login.splitlines())


passphrase_option = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="The file with the passphrase, in place of a prompt or standard input.",
)


def _passphrase(path: str | None, *, twice: bool) -> str:
    from towline.cli.passwords import read_secret
    from towline.runtime.secret_file import check_secret_file

    if path is None:
        return read_secret("Passphrase", twice=twice)
    try:
        check_secret_file(Path(path), "The file with the passphrase", named=True)
        return Path(path).read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(
            f"The file with the passphrase, {path!r}, can't be read.", str(error)
        ) from error


@trust.command("export")
@click.argument("file", metavar="FILE")
@click.option(
    "--for",
    "parts",
    type=Choice(["controller", "broker"]),
    multiple=True,
    required=True,
    help="What is to run where it is imported. It may be given twice.",
)
@passphrase_option
@state_option
@config_option
def export(
    file: str,
    parts: tuple[str, ...],
    passphrase_file: str | None,
    config_file: str | None,
    state: str | None,
) -> None:
    """Write what another controller or broker needs, encrypted, to a file.

    Nothing else is in it. The file is as safe as its passphrase is hard to guess.
    """
    from towline.cli import part_keys
    from towline.runtime import config, state_directory
    from towline.runtime.keys import CREDENTIALS_KEY
    from towline.trust import bundle, keys

    settings = config.load(config_file, state=state)
    directory = state_directory.open_directory(local.directory(settings))
    found, path = keys.open_trust(directory), Path(file)
    if path.exists():
        raise InvalidConfiguration(f"There is a file {file!r} already.", "Name another")
    beside = {}
    if "controller" in parts:
        # They are made where no controller has run yet.
        local.token_keys(settings, directory)
        part_keys.vault(settings, directory)
        beside = {
            state_directory.TOKEN_KEY: directory / state_directory.TOKEN_KEY,
            CREDENTIALS_KEY: directory / CREDENTIALS_KEY,
        }
        named = {
            state_directory.TOKEN_KEY: settings.token_key,
            CREDENTIALS_KEY: settings.credentials_key,
            keys.JOBS_KEY: settings.job_key,
        }
        beside |= {name: Path(each) for name, each in named.items() if each is not None}
    passphrase = _passphrase(passphrase_file, twice=True)
    try:
        state_directory.write_private(path, bundle.seal(found, beside, [*parts], passphrase))
    except OSError as error:
        raise InvalidConfiguration(f"{file!r} can't be written.", str(error)) from error
    say(f"Wrote {file}. On the other machine: towline trust import FILE")


@trust.command("import")
@click.argument("file", metavar="FILE")
@passphrase_option
@state_option
@config_option
def import_(
    file: str, passphrase_file: str | None, config_file: str | None, state: str | None
) -> None:
    """Make the trust directory of this machine from a file of towline trust export.

    It is made whole or not at all, and nothing that is there is replaced.
    """
    from towline.trust import bundle, keys, report

    directory = _directory(config_file, state)
    keys.refuse_another(directory)
    try:
        with open(file, "rb") as content:
            text = content.read(bundle.LARGEST)
    except OSError as error:
        raise InvalidConfiguration(f"{file!r} can't be read.", str(error)) from error
    files = bundle.unseal(text, _passphrase(passphrase_file, twice=False))
    made = bundle.install(directory, files)
    say(f"Made in {made.directory}:", "", *report.files(made, files).splitlines())


def server_options(command: Any) -> Any:
    """Add the options that say where a broker listens to a command."""
    for option in reversed(
        (
            click.option(
                "--listen", "broker_listen", metavar="HOST:PORT", help="Where parts reach it."
            ),
            click.option(
                "--cluster",
                "cluster_listen",
                metavar="HOST:PORT",
                help="Where the other brokers of its cluster reach it.",
            ),
            click.option(
                "--route",
                "cluster_routes",
                metavar="HOST:PORT",
                multiple=True,
                help="Where it reaches another one of them. It may be given several times.",
            ),
            click.option(
                "--name",
                "broker_name",
                metavar="NAME",
                help="Its name, another for each of a cluster, in place of the machine's.",
            ),
        )
    ):
        command = option(command)
    return command


def _listen(settings: Settings) -> str:
    address_of(settings.broker_listen)
    return settings.broker_listen


def _peers(settings: Settings) -> Peers | None:
    from towline.runtime.nats_conf import Peers

    for address in (settings.cluster_listen, *settings.cluster_routes):
        if address is not None:
            address_of(address)
    if settings.cluster_listen is not None and settings.cluster_routes:
        return Peers(settings.cluster_listen, settings.cluster_routes)
    if settings.cluster_listen is None and not settings.cluster_routes:
        return None
    raise InvalidConfiguration(
        "A broker of a cluster needs both, where it is reached and where the others are.",
        "Give --cluster HOST:PORT, and --route HOST:PORT for each of the others",
    )


def _name(settings: Settings) -> str:
    import socket

    name = settings.broker_name or socket.gethostname()
    if not name or not name.isprintable() or any(letter.isspace() for letter in name):
        raise InvalidConfiguration(
            f"{name!r} can't be a broker's name.", "Give one without blanks with --name"
        )
    return name


@click.command(cls=Command)
@state_option
@server_options
@click.option(
    "--address",
    "broker_addresses",
    metavar="NAME",
    multiple=True,
    help="A name or an address by which it is reached, beside those that this machine knows of "
    "itself. It may be given several times.",
)
@config_option
@level_option
def broker(config_file: str | None, **flags: Any) -> None:
    """Run a broker with the keys of towline trust init.

    It is alone, or one of a cluster where it is given routes to the others.
    """
    for name in ("cluster_routes", "broker_addresses"):
        flags[name] = list(flags[name])
    settings, directory = start(config_file, "broker", **flags)
    from towline.runtime import broker as process
    from towline.runtime import state_directory
    from towline.runtime.nats_conf import own_plan
    from towline.runtime.process import print_line, run, starting
    from towline.trust import keys
    from towline.trust.certificates import names_of_machine

    lock = state_directory.Lock(directory, "broker")
    found = keys.open_trust(directory)
    listen, peers = _listen(settings), _peers(settings)
    names = [*names_of_machine(), *settings.broker_addresses]
    names += [address_of(each)[0] for each in (listen, *([peers.listen] if peers else ()))]
    plan = own_plan(directory / "broker", found.path(keys.CA), listen, _name(settings), peers)

    async def serve() -> None:
        with starting("waiting for the server") as ready:

            def answers() -> None:
                print_line(f"The broker answers at tls://{listen}")
                ready()

            await process.run(found, plan, names, answers)

    run(serve)
    lock.close()


@trust.command("nats-conf")
@state_option
@server_options
@click.option("--store", metavar="DIR", required=True, help="Where the server keeps what it has.")
@click.option("--certificate", metavar="FILE", required=True, help="The server's certificate.")
@click.option("--key", metavar="FILE", required=True, help="The key of that.")
@click.option(
    "--ca", metavar="FILE", required=True, help="What signs the certificates of the other servers."
)
@config_option
def nats_conf(
    config_file: str | None, store: str, certificate: str, key: str, ca: str, **flags: Any
) -> None:
    """Print the configuration of a server of your own."""
    from towline.runtime import config
    from towline.runtime import nats_conf as configuration
    from towline.trust import keys

    flags["cluster_routes"] = list(flags["cluster_routes"])
    settings = config.load(config_file, **flags)
    found = keys.open_trust(local.directory(settings))
    files = configuration.Encryption(Path(certificate), Path(key), Path(ca))
    plan = configuration.Plan(
        _listen(settings), _name(settings), Path(store), files, _peers(settings)
    )
    say(*configuration.nats_conf(plan, found.accounts()).splitlines())


trust.add_command(rotation.rotate)
trust.add_command(rotation.status)
COMMANDS = (broker, trust)
