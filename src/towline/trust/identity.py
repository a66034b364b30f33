"""What a node that came in by an invite keeps: who it is, and whom it believes.

It stands in a directory of its own in the state directory, which appears whole or not at all.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
from nacl.public import PrivateKey

from towline.errors import InvalidConfiguration
from towline.runtime.keys import NODE_KEY, NodeKey, node_key
from towline.runtime.secret_file import check_secret_file
from towline.runtime.state_directory import sync_directory, write_private
from towline.trust import claims
from towline.trust.certificates import check_certificates
from towline.trust.claims import NotTrusted
from towline.trust.job_keys import JOBS_PUBLIC, WORD
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.fields import MachineId, Name
from towline.wire.joining import JoinAnswer, Renewal

DIRECTORY = "identity"
_DRAFT = ".identity-"
NODE, LOGIN, CA = "node.json", "node.creds", "ca.pem"


class Node(msgspec.Struct, frozen=True):
    """Who a node is.

    Attributes:
        labels: those that it came in with; controllers may have given it others since.
        brokers: the URLs of its brokers.
        controller: the URL at which it came in.
        pin: the hash of the fleet's root key.
    """

    machine: MachineId
    hostname: Name
    labels: dict[Name, Name]
    brokers: Annotated[list[Name], msgspec.Meta(min_length=1)]
    controller: Name
    pin: Name


_node = Decoder(Node)


class Keys:
    """The keys that a machine makes for itself before it comes in; none of them leaves it.

    Attributes:
        seed: of what it logs in with at the broker.
        nkey: the public half.
        private: opens what is sealed to this machine.
        public_key: the public half, as base64.

    Args:
        seed, private: those that there are; None for new ones.
    """

    def __init__(self, seed: str | None = None, private: PrivateKey | None = None) -> None:
        self.seed = seed or claims.make_seed(claims.USER)
        self.nkey = claims.public_key(self.seed)
        self.private = private or PrivateKey(secrets.token_bytes(32))
        self.public_key = NodeKey(bytes(self.private)).public


class Identity:
    """The identity that a state directory has.

    Args:
        directory: where it is, in the state directory.

    Raises:
        InvalidConfiguration: it can't be read, or is open to others.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.login = directory / LOGIN
        self.jobs = directory / JOBS_PUBLIC
        name = "The identity of this node"
        try:
            self.node = _node.decode((directory / NODE).read_bytes())
            check_secret_file(self.login, "The login of this node", named=False)
        except (OSError, Unreadable) as error:
            raise InvalidConfiguration(
                f"{name}, {str(directory)!r}, can't be read.",
                f"{error}; where the directory is moved away the machine may come in anew",
            ) from error

    @property
    def ca(self) -> Path | None:
        """The certificates that sign the brokers'; None where these encrypt nothing."""
        path = self.directory / CA
        return path if path.exists() else None

    def read_login(self) -> claims.Claims:
        """Return what the login says, whether or not it has ended.

        Raises:
            NotTrusted: it is none.
            OSError: it can't be read.
        """
        return claims.read(claims.token_in(self.login.read_text()), claims.User, ended=True)[0]

    def keys(self) -> Keys:
        """Return the keys that the machine came in with.

        Raises:
            NotTrusted: the login has none.
            InvalidConfiguration: the other one can't be read.
            OSError: the login can't be read.
        """
        return Keys(claims.seed_in(self.login.read_text()), self.key().private)

    def renew(self, renewal: Renewal) -> None:
        """Put a new login in place of the one that is there, and what else is to be trusted.

        Each file is replaced whole, and the key of the login stays. Whatever ends this half-way
        leaves files each of which is good by itself: controllers have the node ask once more.

        Raises:
            NotTrusted: it is for another key or another node than the one that is there, or the CA
                that it has is none.
            OSError: it can't be written.
        """
        text = self.login.read_text()
        before = claims.read(claims.token_in(text), claims.User, ended=True)[0]
        # The controllers have said it; whether it has ended the broker decides, by its clock.
        found = claims.read(renewal.jwt, claims.User, ended=True)[0]
        if (found.sub, found.name) != (before.sub, before.name):
            raise NotTrusted("The login that was answered is another machine's.")
        if renewal.ca:
            try:
                check_certificates(renewal.ca)
            except ValueError as error:
                raise NotTrusted("The CA that was answered is none.", str(error)) from error
        texts = _trusted(renewal) | {LOGIN: claims.credentials(renewal.jwt, claims.seed_in(text))}
        for name, each in texts.items():
            write_private(self.directory / name, each.rstrip("\n") + "\n")

    def key(self) -> NodeKey:
        """Return what is sealed to this node opens; raises `InvalidConfiguration`."""
        return node_key(self.directory, create=False)


def exists(state: Path) -> bool:
    """Return whether a state directory has an identity."""
    return (state / DIRECTORY).exists()


def find(state: Path) -> Identity | None:
    """Return the identity of a state directory, None where there is none; raises as `Identity`."""
    return Identity(state / DIRECTORY) if exists(state) else None


def keep(state: Path, keys: Keys, answer: JoinAnswer, brokers: list[str], **where: str) -> Identity:
    """Write what a machine was answered, and its keys, to its state directory.

    Args:
        brokers: the URLs of the brokers, as the node reaches them.
        where: the attributes `controller` and `pin` of `Node`.

    Raises:
        InvalidConfiguration: there is an identity, or it can't be written.
    """
    node = Node(answer.machine, answer.hostname, answer.labels, brokers, **where)
    texts = {
        NODE: msgspec.json.encode(node).decode(),
        LOGIN: claims.credentials(answer.jwt, keys.seed),
        NODE_KEY: bytes(keys.private).hex(),
        **_trusted(answer.renewal),
    }
    try:
        for left in state.glob(f"{_DRAFT}*"):
            shutil.rmtree(left)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=state))
        try:
            for name, text in texts.items():
                write_private(draft / name, text.rstrip("\n") + "\n")
            draft.rename(state / DIRECTORY)
        except BaseException:
            shutil.rmtree(draft)  # there are secrets in it
            raise
        sync_directory(state)
    except OSError as error:
        raise InvalidConfiguration(
            f"The node's identity can't be written to {str(state)!r}.", str(error)
        ) from error
    return Identity(state / DIRECTORY)


def _trusted(renewal: Renewal) -> dict[str, str]:
    """Return the texts of the files that say whom a node believes; what is not answered stays."""
    texts = {}
    if renewal.jobs:
        texts[JOBS_PUBLIC] = "\n".join(f"{WORD} {key}" for key in renewal.jobs)
    if renewal.ca:
        texts[CA] = renewal.ca
    return texts
