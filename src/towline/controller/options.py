"""The settings of a controller, as its parts are given them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from towline.broker.journal import Retention
from towline.broker.seal import Seal
from towline.broker.settings import Settings
from towline.controller.audit.trail import Keeping
from towline.controller.http.encryption import Certificate
from towline.controller.http.limits import Limits
from towline.controller.oidc import Provider
from towline.controller.token_keys import ClientKey, TokenKeys
from towline.runtime.key_watch import KeyFile
from towline.runtime.keys import Vault
from towline.runtime.registries import ALL, Registries
from towline.trust.account import NodesAccount
from towline.trust.keys import Trust
from towline.trust.signing import Signer


class Options(msgspec.Struct, frozen=True):
    """The settings of a controller.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        broker: where the journal is, and how to log in there.
        nodes: how to log in where the nodes are.
        index: the file of the index.
        keys: sign tokens.
        clients: the keys with which clients sign tokens of their own.
        signer: signs what nodes are sent.
        vault: locks the credentials that are kept.
        roles: permissions by the name of a custom role.
        wait, longest_wait: seconds that a request waits for its nodes, and may ask to.
        expires: seconds within which a job that is kept for nodes that are away must be begun.
        retention: how long and how much the journal keeps.
        heartbeat: seconds between two heartbeats of a node in a small fleet.
        audiences: those whose tokens are taken, beside tokens that name none.
        limits: what one client may take.
        registries: those that images may come from.
        certificate: what the API's clients are shown; without one nothing is encrypted.
        key_files: those with keys that may be replaced.
        account: makes the nodes' account; None for a broker of somebody else's.
        audit: how long the audit is kept, and how much of it.
        provider: the OpenID Connect issuer whose tokens are taken; None for none.
        trust: the keys by which machines are let in; None where there are none.
        node_brokers: the URLs of the brokers that nodes are given.
        seal: marks what is stored; None for a fleet whose controllers share no key for that.
    """

    host: str
    port: int
    broker: Settings
    nodes: Settings
    index: Path
    keys: TokenKeys
    signer: Signer
    vault: Vault
    roles: dict[str, list[str]]
    wait: float
    longest_wait: float
    expires: float
    retention: Retention
    heartbeat: float
    audiences: list[str] = []
    clients: list[ClientKey] = []
    limits: Limits = Limits()
    registries: Registries = ALL
    certificate: Certificate | None = None
    key_files: list[KeyFile] = []
    account: NodesAccount | None = None
    audit: Keeping = Keeping()
    provider: Provider | None = None
    trust: Trust | None = None
    node_brokers: list[str] = []
    seal: Seal | None = None


class Waits(msgspec.Struct, frozen=True):
    """How long requests wait for their nodes, in seconds.

    Attributes:
        usual: where the request says nothing.
        longest: what a request may ask for.
    """

    usual: float
    longest: float
