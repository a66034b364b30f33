"""The trust directory: every key that a fleet stands on, and what was signed with them.

It is made at once, and whole: whatever ends that half-way leaves no trust directory. `FILES` says
what is in it and where each file is needed. What is in `offline` nobody needs from day to day.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from towline.errors import InvalidConfiguration
from towline.runtime.keys import CREDENTIALS_KEY, open_vault
from towline.runtime.secret_file import check_secret_file
from towline.runtime.state_directory import Lock, make_private, sync_directory, write_private
from towline.trust import certificates, claims, login_keys, pinned
from towline.trust.claims import UNLIMITED, Limits, NotTrusted, Permission
from towline.trust.login_keys import LoginKeys
from towline.trust.nodes_account import NAME as NODES_NAME
from towline.trust.nodes_account import account_of
from towline.wire import joining
from towline.wire.decoding import Unreadable
from towline.wire.joining import Bundle
from towline.wire.target import parse_machine_id

DIRECTORY = "trust"
_DRAFT = ".trust-"
_STORED = b"towline-stored"
"""What a key is derived for."""

CA, CA_KEY = "ca.pem", "ca.key"
API_CA, API_CA_KEY = "api-ca.pem", "controller/api-ca.key"
ROOT_PUBLIC = "root.pub"
OPERATOR_JWT = "broker/operator.jwt"
SYSTEM_JWT, JOURNAL_JWT, NODES_JWT = "broker/system.jwt", "broker/journal.jwt", "broker/nodes.jwt"
OPERATOR_SIGNING = "controller/operator-signing.seed"
NODES_SIGNING = "controller/nodes-signing.seed"
JOBS_KEY = "controller/jobs.key"
ENROL_KEY, BUNDLE = "controller/enrol.key", "root.json"
SYSTEM_LOGIN = "controller/system.creds"
JOURNAL_LOGIN, NODES_LOGIN = "controller/journal.creds", "controller/nodes.creds"
ROOT = "offline/root.key"
OPERATOR, OPERATOR_SPARE = "offline/operator.seed", "offline/operator-spare.seed"
SYSTEM, JOURNAL, NODES = "offline/system.seed", "offline/journal.seed", "offline/nodes.seed"

FILES = {
    CA: "certificate of the brokers' CA: brokers, controllers, agents",
    CA_KEY: "signs the brokers' certificates: brokers",
    API_CA: "certificate of the API's CA: controllers, clients of the API",
    ROOT_PUBLIC: "public half of the root key: controllers",
    BUNDLE: "what new nodes trust first, signed by the root key: controllers",
    OPERATOR_JWT: "whom the broker trusts: brokers",
    SYSTEM_JWT: "account for changes of accounts: brokers",
    JOURNAL_JWT: "account of the journal: brokers",
    NODES_JWT: "account of the nodes, and what a node may: brokers, controllers",
    API_CA_KEY: "signs the certificates of the API: controllers",
    OPERATOR_SIGNING: "signs accounts, as when a node is revoked: controllers",
    NODES_SIGNING: "signs the nodes' logins: controllers",
    JOBS_KEY: "signs what nodes are sent: controllers",
    ENROL_KEY: "opens what new nodes send, marks what is stored: controllers",
    SYSTEM_LOGIN: "login that changes accounts: controllers",
    JOURNAL_LOGIN: "login to the journal: controllers",
    NODES_LOGIN: "login to the nodes: controllers",
    ROOT: "signs what new nodes are told to trust: nobody from day to day",
    OPERATOR: "the broker's operator: nobody from day to day",
    OPERATOR_SPARE: "signs accounts if the other key is lost: nobody from day to day",
    SYSTEM: "signs logins to the system account: nobody from day to day",
    JOURNAL: "signs logins to the journal: nobody from day to day",
    NODES: "signs controllers' logins to the nodes: nobody from day to day",
}
"""What is in the trust directory: what each file is, and who needs it."""

_PUBLIC = (".jwt", ".pem", ".pub", ".json")
"""How the names of those end that are no secrets."""

_EVERYTHING: dict[str, Any] = {"subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED}
_ACCOUNT: dict[str, Any] = {**_EVERYTHING, "conn": UNLIMITED, "disallow_bearer": True}


class Trust:
    """The trust directory that is there.

    Args:
        directory: where it is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str) -> Path:
        """Return where a file of `FILES` is."""
        return self.directory / name

    def read(self, name: str) -> str:
        """Return the text of a file of `FILES`.

        Raises:
            InvalidConfiguration: it is not here, or can't be read, or is secret and open to others.
        """
        path = self.path(name)
        what = f"{str(path)!r} ({FILES[name].partition(':')[0]})"
        try:
            if not name.endswith(_PUBLIC):
                check_secret_file(path, what, named=False)
            return path.read_text().strip()
        except FileNotFoundError as error:
            raise InvalidConfiguration(
                f"{what} is not on this machine.",
                "Bring it here from where the trust directory was made, or run this there",
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(f"{what} can't be read.", str(error)) from error

    @property
    def authority(self) -> certificates.Authority:
        """What signs the brokers' certificates.

        Raises:
            InvalidConfiguration: its key is not here, or can't be read.
        """
        return certificates.Authority(self.path(CA), self.path(CA_KEY))

    @property
    def api_authority(self) -> certificates.Authority:
        """What signs the certificates of the API; raises as `authority`.

        It is another one than the brokers': whoever has a broker's machine is no controller to
        those who send it their tokens.
        """
        return certificates.Authority(self.path(API_CA), self.path(API_CA_KEY))

    def accounts(self) -> Accounts:
        """Return whom a broker has to trust, and which accounts it has.

        Raises:
            InvalidConfiguration: a file is not here, was changed, or has ended.
        """
        try:
            token = self.read(OPERATOR_JWT)
            known, operator = claims.read(token, claims.Operator)
            issuers = {known.sub, *operator.signing_keys}
            accounts = {}
            for name in (SYSTEM_JWT, JOURNAL_JWT, NODES_JWT):
                text = self.read(name)
                account, _ = claims.read(text, claims.Account, issuers)
                accounts[account.sub] = text
        except NotTrusted as error:
            raise InvalidConfiguration(
                f"What is in {str(self.directory / 'broker')!r} does not belong together.",
                f"{error.error} {error.details}",
            ) from error
        return Accounts(token, operator.system_account, accounts)

    def login_keys(self) -> LoginKeys:
        """Return the keys that sign nodes' logins.

        Raises:
            InvalidConfiguration: they are not here, or can't be read.
        """
        try:
            return login_keys.read(self.read(NODES_SIGNING))
        except ValueError as error:
            raise InvalidConfiguration(
                f"The keys in {str(self.path(NODES_SIGNING))!r} can't be used.", str(error)
            ) from error

    def node_login(self, machine: str, expires: float | None = None) -> str:
        """Return a new login for a node, as the text of a `.creds` file.

        Args:
            machine: the machine id, which is the only one that it is good for.
            expires: seconds from now, at least one; None for never.

        Raises:
            InvalidConfiguration: the key that signs these is not here, or can't be read.
            InvalidTarget: `machine` is no machine id.
            ValueError: `expires` is less than a second.
        """
        if expires is not None and expires < 1:
            raise ValueError("a login lasts a second at least: it is reckoned in whole ones")
        signing, machine = self.login_keys().first, parse_machine_id(machine)
        nodes, _ = self.account(NODES_JWT)
        return _login(
            signing,
            claims.User(issuer_account=nodes.sub),
            machine,
            seed=login_keys.node_seed(signing, machine),
            exp=0 if expires is None else int(time.time() + expires),
        )

    def enrolment(self) -> PrivateKey:
        """Return what opens what new nodes send.

        Raises:
            InvalidConfiguration: it is not here, or can't be read.
        """
        try:
            return PrivateKey(bytes.fromhex(self.read(ENROL_KEY)))
        except (CryptoError, ValueError) as error:
            raise InvalidConfiguration(
                f"The key in {str(self.path(ENROL_KEY))!r} can't be used.", str(error)
            ) from error

    def stored_key(self) -> bytes:
        """Return by what controllers mark what they store, 32 bytes; raises as `enrolment`.

        It follows from the key that opens what new nodes send, which controllers alone have and
        which stays as long as the fleet.
        """
        return hashlib.blake2b(bytes(self.enrolment()), digest_size=32, person=_STORED).digest()

    def bundle(self) -> Bundle:
        """Return what new nodes trust first; raises as `enrolment`."""
        try:
            return joining.bundle.decode(self.read(BUNDLE).encode())
        except Unreadable as error:
            raise InvalidConfiguration(
                f"What is in {str(self.path(BUNDLE))!r} can't be used.", str(error)
            ) from error

    def account(self, name: str) -> tuple[claims.Claims, claims.Account]:
        """Return an account, by the name of its file, and what is said of it.

        Raises:
            InvalidConfiguration: it is not here, or can't be read.
        """
        try:
            return claims.read(self.read(name), claims.Account)
        except NotTrusted as error:
            raise InvalidConfiguration(
                f"The account in {str(self.path(name))!r} can't be used.",
                f"{error.error} {error.details}",
            ) from error


class Accounts(msgspec.Struct, frozen=True):
    """Whom a broker trusts, and which accounts it has.

    Attributes:
        operator: the operator's JWT.
        system: the public key of the system account.
        accounts: the JWT of each account, by its public key.
    """

    operator: str
    system: str
    accounts: dict[str, str]


def node_jwt(account: str, signing: str, machine: str, key: str, lasts: float) -> str:
    """Return a login for a node that has its key already.

    Args:
        account: the public key of the nodes' account.
        signing: the seed of the key that signs it.
        machine: the machine id, which is the only one that it is good for.
        key: the public half of the node's key.
        lasts: seconds from now.
    """
    return claims.sign(
        claims.User(issuer_account=account),
        by=signing,
        about=key,
        name=parse_machine_id(machine),
        exp=int(time.time() + lasts),
    )


def needed_by(name: str) -> list[str]:
    """Return who needs a file of `FILES`: `brokers`, `controllers` and others."""
    return FILES[name].rpartition(": ")[2].split(", ")


def exists(state: Path) -> bool:
    """Return whether a state directory has a trust directory."""
    return (state / DIRECTORY).exists()


def open_trust(state: Path) -> Trust:
    """Return the trust directory of a state directory.

    Raises:
        InvalidConfiguration: there is none.
    """
    if not exists(state):
        raise InvalidConfiguration(
            f"There is no trust directory in {str(state)!r}.",
            "Make one with towline trust init, or bring what it needs of this fleet's with towline "
            "trust export and import",
        )
    return Trust(state / DIRECTORY)


def create(state: Path) -> Trust:
    """Make the trust directory of a state directory, and the key that credentials are kept with.

    Raises:
        InvalidConfiguration: there is a trust directory already.
        StateInUse: another process is making one.
        OSError: it can't be written.
    """

    def fill(draft: Path) -> None:
        open_vault(state / CREDENTIALS_KEY, create=True)
        _fill(draft)

    return place(state, fill)


def refuse_another(state: Path) -> None:
    """Raise `InvalidConfiguration` where a state directory has a trust directory already."""
    if (final := state / DIRECTORY).exists():
        raise InvalidConfiguration(
            f"There is a trust directory already: {str(final)!r}.",
            "It is left as it is: with other keys in it no node and no controller of the fleet "
            "could log in any more",
        )


def place(state: Path, fill: Callable[[Path], None]) -> Trust:
    """Have a trust directory appear in a state directory, whole or not at all.

    Args:
        fill: writes to a draft of it, and what has to be there before it is.

    Raises:
        InvalidConfiguration, StateInUse, OSError: as of `create`.
    """
    lock = Lock(state, DIRECTORY)
    try:
        for left in state.glob(f"{_DRAFT}*"):
            shutil.rmtree(left)
        final = state / DIRECTORY
        refuse_another(state)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=state))
        try:
            fill(draft)
            draft.rename(final)
        except BaseException:
            shutil.rmtree(draft)  # there are secrets in it
            raise
        sync_directory(state)
    finally:
        lock.close()
    return Trust(final)


def _fill(directory: Path) -> None:
    seeds = {
        OPERATOR: claims.make_seed(claims.OPERATOR),
        OPERATOR_SPARE: claims.make_seed(claims.OPERATOR),
        OPERATOR_SIGNING: claims.make_seed(claims.OPERATOR),
        SYSTEM: claims.make_seed(claims.ACCOUNT),
        JOURNAL: claims.make_seed(claims.ACCOUNT),
        NODES: claims.make_seed(claims.ACCOUNT),
        NODES_SIGNING: claims.make_seed(claims.ACCOUNT),
    }
    public = {name: claims.public_key(seed) for name, seed in seeds.items()}
    operator = claims.Operator(public[SYSTEM], (public[OPERATOR_SIGNING], public[OPERATOR_SPARE]))
    stores: dict[str, Any] = dict.fromkeys(
        ("mem_storage", "disk_storage", "streams", "consumer"), UNLIMITED
    )
    accounts = {
        (SYSTEM_JWT, SYSTEM, "SYSTEM"): claims.Account(Limits(**_ACCOUNT)),
        (JOURNAL_JWT, JOURNAL, "JOURNAL"): claims.Account(Limits(**_ACCOUNT, **stores)),
        (NODES_JWT, NODES, NODES_NAME): account_of([public[NODES_SIGNING]]),
    }
    # What changes accounts, and the answers to that: no other part of the system account.
    changes = claims.User(
        pub=Permission(("$SYS.REQ.CLAIMS.UPDATE",)), sub=Permission(("_INBOX.>",)), **_EVERYTHING
    )
    root, enrolment = SigningKey.generate(), PrivateKey.generate()
    authority, of_api = certificates.make_authority(), certificates.make_authority("Towline API CA")
    texts = {
        **seeds,
        JOBS_KEY: secrets.token_hex(32),
        ENROL_KEY: bytes(enrolment).hex(),
        BUNDLE: msgspec.json.encode(pinned.sign(root, enrolment.public_key)).decode(),
        ROOT: root.encode().hex(),
        ROOT_PUBLIC: root.verify_key.encode().hex(),
        CA: authority.certificate,
        CA_KEY: authority.key,
        API_CA: of_api.certificate,
        API_CA_KEY: of_api.key,
        OPERATOR_JWT: claims.sign(
            operator, by=seeds[OPERATOR], about=public[OPERATOR], name="towline"
        ),
        **{
            jwt: claims.sign(account, by=seeds[OPERATOR_SIGNING], about=public[seed], name=name)
            for (jwt, seed, name), account in accounts.items()
        },
        SYSTEM_LOGIN: _login(seeds[SYSTEM], changes, "controller"),
        JOURNAL_LOGIN: _login(seeds[JOURNAL], claims.User(**_EVERYTHING), "controller"),
        NODES_LOGIN: _login(seeds[NODES], claims.User(**_EVERYTHING), "controller"),
    }
    assert texts.keys() == FILES.keys()
    for name, text in texts.items():
        make_private((directory / name).parent)
        write_private(directory / name, text.rstrip("\n") + "\n")


def _login(by: str, user: claims.User, name: str, *, seed: str | None = None, exp: int = 0) -> str:
    seed = seed or claims.make_seed(claims.USER)
    about = claims.public_key(seed)
    return claims.credentials(claims.sign(user, by=by, about=about, name=name, exp=exp), seed)
