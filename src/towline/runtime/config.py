"""Configuration: flags before the environment before a TOML file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec

from towline.errors import InvalidConfiguration
from towline.runtime import sources
from towline.units import Share, parse_duration, parse_share, parse_size

T = TypeVar("T")


ClientName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")]


class ClientKeySettings(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """A key with which a client signs tokens of its own.

    Attributes:
        file: where it is.
        roles: what its tokens may do at most.
        longest: how long they are valid at most.
    """

    file: str
    roles: Annotated[list[str], msgspec.Meta(min_length=1)]
    longest: str = "365d"


class Settings(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """All settings, as they are written: docs/configuration.md describes them.

    Each is a key of the file (`longest-wait`) and a variable of the environment
    (`TOWLINE_LONGEST_WAIT`).

    Attributes:
        state: the state directory.
        listen: `HOST:PORT` of the API.
        addresses: names and addresses by which the API is reached, beside the machine's own.
        tls_cert, tls_key: files with a certificate for the API and its key, in place of those that
            the fleet's own CA signs.
        plain_http: whether the API is plain HTTP beyond loopback, too.
        wait, longest_wait: how long a request waits for its nodes, and may ask to wait.
        expires: the time within which a node that is away must begin a job that is kept for it.
        retention, retention_size: how long jobs are kept, and how much of them.
        audit_retention: how long the audit is kept.
        heartbeat: the time between two heartbeats of a node; in large fleets it is longer.
        nats: the brokers' URLs, separated by commas.
        nats_credentials: the file with what an agent logs in with there, or a controller to the
            journal's account.
        nodes_credentials: the file with what a controller logs in with to the nodes' account.
        nats_ca: the file with the certificates that sign the broker's.
        node_brokers: the URLs of the brokers that new nodes are given; empty for those that the
            controller has itself.
        broker_listen: `HOST:PORT` of a broker of Towline's own.
        broker_name: its name, in place of the machine's.
        broker_addresses: names and addresses by which it is reached, beside the machine's own.
        cluster_listen: `HOST:PORT` at which the other brokers of its cluster reach it.
        cluster_routes: `HOST:PORT` of those.
        replicas: copies of each stream in a NATS cluster.
        token_key, credentials_key: files with the keys of tokens and of registries' credentials.
        token_keys: the keys with which clients sign tokens of their own, by a name for each.
        job_key, job_keys: the file with what a controller signs with, and the one with what an
            agent verifies by.
        engine: the URL of the node's Docker Engine, or `none`.
        min_free: how much of the disk with the engine's images pulls leave free.
        max_pulls: how many pulls run at a time on a node.
        docker_config: the file with the node's own Docker configuration, or `none`.
        registries: patterns of those that images may come from; None for all.
        facts: the directory with the node's custom facts.
        hostname, machine_id, labels: what the node is known by.
        join: the line of an invite, by which an agent comes in where it is no node yet.
        roles: permissions by the name of a custom role.
        token_audiences: those whose tokens are taken, beside tokens that name none.
        oidc_issuer, oidc_audience: the OpenID Connect issuer whose tokens are taken, and what they
            must be for.
        oidc_groups_claim, oidc_groups: where they name groups, and the roles of each.
        max_connections_per_address, max_requests_per_caller, max_streams_per_caller: what one
            client of the API may take.
        trusted_proxies: addresses and networks of proxies before the API.
        operations: modules with further operations.
        log_level: below which nothing is logged.
        url, token: where the command line finds the API, and the token it sends.
        ca: the file with the certificates that sign the API's.
        context: the context of `towline login` that says so, in place of the current one.
    """

    state: str | None = None
    listen: str = "127.0.0.1:8080"
    addresses: list[str] = []
    tls_cert: str | None = None
    tls_key: str | None = None
    plain_http: bool = False
    wait: str = "30s"
    longest_wait: str = "1h"
    expires: str = "24h"
    retention: str = "7d"
    retention_size: str = "8GiB"
    audit_retention: str = "90d"
    heartbeat: str = "5s"
    nats: str | None = None
    nats_credentials: str | None = None
    nodes_credentials: str | None = None
    nats_ca: str | None = None
    node_brokers: list[str] = []
    broker_listen: str = "127.0.0.1:4222"
    broker_name: str | None = None
    broker_addresses: list[str] = []
    cluster_listen: str | None = None
    cluster_routes: list[str] = []
    replicas: int = 1
    token_key: str | None = None
    token_keys: dict[ClientName, ClientKeySettings] = {}
    credentials_key: str | None = None
    job_key: str | None = None
    job_keys: str | None = None
    engine: str | None = None
    min_free: str = "1GiB,5%"
    max_pulls: Annotated[int, msgspec.Meta(ge=1)] = 3
    docker_config: str | None = None
    registries: list[str] | None = None
    facts: str = "/etc/towline/facts.d"
    hostname: str | None = None
    machine_id: str | None = None
    labels: list[str] = []
    join: str | None = None
    roles: dict[str, list[str]] = {}
    token_audiences: list[str] = []
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_groups_claim: str = "groups"
    oidc_groups: dict[str, list[str]] = {}
    max_connections_per_address: Annotated[int, msgspec.Meta(ge=1)] = 2_500
    max_requests_per_caller: Annotated[int, msgspec.Meta(ge=1)] = 2_000
    max_streams_per_caller: Annotated[int, msgspec.Meta(ge=1)] = 1_000
    trusted_proxies: list[str] = []
    operations: list[str] = []
    log_level: str = "info"
    url: str | None = None
    token: str | None = None
    ca: str | None = None
    context: str | None = None

    def seconds(self, key: str) -> float:
        """Return the duration at `key` in seconds.

        Raises:
            InvalidConfiguration: it isn't one.
        """
        return self._parsed(key, parse_duration)

    def size(self, key: str) -> int:
        """Return the size at `key` in bytes; raises as `seconds`."""
        return self._parsed(key, parse_size)

    def share(self, key: str) -> Share:
        """Return the share of a whole at `key`; raises as `seconds`."""
        return self._parsed(key, parse_share)

    def _parsed(self, key: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(getattr(self, key))
        except ValueError as error:
            name = key.replace("_", "-")
            raise InvalidConfiguration(f"The setting {name!r} is not valid.", str(error)) from error


def load(path: str | None, **flags: Any) -> Settings:
    """Return the settings.

    Args:
        path: the TOML file; None for the one that `TOWLINE_CONFIG` names, else
            /etc/towline/towline.toml if that exists.
        flags: what the command line sets, by field name; None or an empty list sets nothing.

    Raises:
        InvalidConfiguration: the file can't be read, or a key in it is unknown or not valid.
    """
    return _settings(_from_file(path) | _from_environment() | _from_flags(flags))


CONNECTION = ("url", "token", "ca", "state", "context")
"""What belongs together: a token is for one controller."""


def load_connection(path: str | None, **flags: Any) -> Settings:
    """Return the settings of a command that asks a controller; parameters as of `load`.

    Where neither a flag nor a variable nor the file says which controller that is, a context does;
    `context` of what is returned is its name, and None where none has been used. What names the
    controller is asked, and nothing of what counts less goes there; but a token or a CA that a
    variable has goes to the one that `--url` names. So `url` and `state` are both there only where
    one and the same has named them.

    Raises:
        InvalidConfiguration: as `load`; or there is no such context, it can't be read, or nobody is
            logged in there.
    """
    from towline.runtime import contexts

    file, environment, given = _from_file(path), _from_environment(), _from_flags(flags)
    namer, name = _naming(file, environment, given)
    # That of this machine is in the state directory, whatever says which that is.
    state = ("state",) if name == contexts.LOCAL else ()
    if namer is given:
        environment = _without(environment, *(("token", "ca") if "url" in given else state))
    if name is not None or namer is given or namer is environment:
        file = _without(file, *state)
    elif namer is file:
        environment = _without(environment, "token", "ca")
    if name is None or name == contexts.LOCAL:
        for layer in (file, environment, given):
            layer.pop("context", None)
        return _settings(file | environment | given)
    found = contexts.read(name)
    values = {"url": found.url}
    if found.token is not None:
        values["token"] = found.token
    values = file | values | environment | given | {"context": name}
    if "token" not in values:
        raise InvalidConfiguration(
            f"Nobody is logged in to {found.url}, the controller of the context {name!r}.",
            f"towline login --name {name}",
        )
    return _settings(values)


def _without(values: dict[str, Any], *kept: str) -> dict[str, Any]:
    """Return settings without those of the connection, but for some of these."""
    return {key: value for key, value in values.items() if key not in CONNECTION or key in kept}


def _naming(
    file: dict[str, Any], environment: dict[str, Any], given: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """Return which of the three names the controller, and the name of its context, if it is one.

    Where none does, an empty one is returned, and the current context counts.

    Raises:
        InvalidConfiguration: two flags name it, or the current context can't be read.
    """
    from towline.runtime import contexts

    other = next((f"--{key}" for key in ("url", "state") if key in given), None)
    if "context" in given:
        if other is not None:
            raise InvalidConfiguration(
                f"Both --context and {other} say where the controller is.", "Leave one out"
            )
        return given, str(given["context"])
    if other is not None:
        return given, None
    for layer in (environment, file):
        if "url" in layer:
            return layer, None
        if "context" in layer:
            return layer, str(layer["context"])
    if "state" in environment:
        return environment, None
    return {}, contexts.current()


def _from_environment() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        text = sources.variable(sources.name_of(field.name))
        if text is None or field.name in ("roles", "token_keys", "oidc_groups"):
            continue
        if field.type in (list[str], list[str] | None):
            values[field.encode_name] = [part.strip() for part in text.split(",") if part.strip()]
        else:
            values[field.encode_name] = text
    return values


def _from_flags(flags: dict[str, Any]) -> dict[str, Any]:
    names = {field.name: field.encode_name for field in msgspec.structs.fields(Settings)}
    return {
        names[name]: value for name, value in flags.items() if value is not None and value != []
    }


def _settings(values: dict[str, Any]) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidConfiguration("The configuration is not valid.", str(error)) from error


def _from_file(path: str | None) -> dict[str, Any]:
    values = sources.of_file(path)
    known = {field.encode_name for field in msgspec.structs.fields(Settings)}
    for key in values:
        if key not in known:
            raise InvalidConfiguration(
                f"The configuration file {sources.file(path)!r} has an unknown key {key!r}.",
                f"It may have: {', '.join(sorted(known))}",
            )
    return values
