"""The configuration of a nats-server that a fleet's trust directory stands behind."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from towline.trust.keys import Accounts

LARGEST_MESSAGE = 8 * 1024 * 1024
"""Bytes of a message at most: a job is one, with its parameters and all its nodes."""


class Encryption(msgspec.Struct, frozen=True):
    """The files that a server encrypts with.

    Attributes:
        certificate, key: its own.
        ca: the certificates that sign those of the other servers of a cluster.
    """

    certificate: Path
    key: Path
    ca: Path


class Peers(msgspec.Struct, frozen=True):
    """How a server finds the others of its cluster.

    Attributes:
        listen: `HOST:PORT` at which it is reached by them.
        routes: `HOST:PORT` of the others.
    """

    listen: str
    routes: list[str]


class Plan(msgspec.Struct, frozen=True):
    """What differs from server to server.

    Attributes:
        listen: `HOST:PORT` for clients.
        name: of the server; each of a cluster has its own.
        store: the directory for what it keeps.
        encryption: None for a server that only this machine reaches.
        peers: None for one that is alone.
    """

    listen: str
    name: str
    store: Path
    encryption: Encryption | None = None
    peers: Peers | None = None


def own_plan(directory: Path, ca: Path, listen: str, name: str, peers: Peers | None) -> Plan:
    """Return the plan of a server that Towline runs: its certificate is in its own directory."""
    files = Encryption(directory / "server.pem", directory / "server.key", ca)
    return Plan(listen, name, directory, files, peers)


def nats_conf(plan: Plan, accounts: Accounts) -> str:
    """Return the configuration.

    MQTT, WebSocket, leaf nodes and the monitoring port are off, since nothing turns them on.
    """
    preloaded = "\n".join(f"  {key}: {_text(jwt)}" for key, jwt in accounts.accounts.items())
    parts = [
        f"""\
listen: {_text(plan.listen)}
server_name: {_text(plan.name)}
max_payload: {LARGEST_MESSAGE}
ping_interval: "20s"
# The default of two seconds turns thousands of nodes that return at once into failed logins.
authorization {{ timeout: 10 }}
operator: {_text(accounts.operator)}
system_account: {accounts.system}
# Accounts as they were changed last, such as by a revocation; at first those below.
resolver {{
  type: full
  dir: {_text(plan.store / "accounts")}
  allow_delete: false
  # A server that was away has taken back by then what the others have meanwhile.
  interval: "2s"
}}
resolver_preload {{
{preloaded}
}}
jetstream {{
  store_dir: {_text(plan.store / "data")}
  # The default of two minutes loses acknowledged messages in a power cut.
  sync_interval: always
}}
"""
    ]
    if plan.encryption is not None:
        parts.append(f"tls {{\n{_tls(plan.encryption)}  timeout: 10\n}}\n")
    if plan.peers is not None:
        routes = "".join(f"    {_text(f'nats-route://{route}')}\n" for route in plan.peers.routes)
        parts.append(
            f"""\
cluster {{
  name: "towline"
  listen: {_text(plan.peers.listen)}
  routes: [
{routes}  ]
"""
        )
        if plan.encryption is not None:
            # Only who shows a certificate by the same CA, and for this use, is one of the cluster.
            parts.append(f"  tls {{\n{_tls(plan.encryption)}  verify: true\n  timeout: 10\n  }}\n")
        parts.append("}\n")
    return "".join(parts)


def _tls(files: Encryption) -> str:
    return (
        f"  cert_file: {_text(files.certificate)}\n"
        f"  key_file: {_text(files.key)}\n"
        f"  ca_file: {_text(files.ca)}\n"
        '  min_version: "1.3"\n'
    )


def _text(value: object) -> str:
    """Return a text, or a path, as the server reads it: what is not plain ASCII as `\\xHH`.

    A path is the bytes that the system has for it, whatever the locale calls them.
    """
    content = os.fsencode(value) if isinstance(value, Path) else str(value).encode()
    shown = "".join(chr(byte) if _plain(byte) else f"\\x{byte:02x}" for byte in content)
    return f'"{shown}"'


def _plain(byte: int) -> bool:
    return 0x20 <= byte < 0x7F and chr(byte) not in '"\\'
