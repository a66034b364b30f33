"""The keys that the parts of this machine are started with: of the files named, or their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from towline.runtime import config

if TYPE_CHECKING:
    from towline.runtime.keys import Vault
    from towline.trust.account import NodesAccount
    from towline.trust.signing import Signer, Verifier


def vault(settings: config.Settings, directory: Path) -> Vault:
    """Return what encrypts credentials, by the key of the file named, else the directory's."""
    from towline.runtime import keys

    if settings.credentials_key is None:
        return keys.open_vault(directory / keys.CREDENTIALS_KEY, create=True)
    return keys.open_vault(Path(settings.credentials_key), create=False, named=True)


def signer(settings: config.Settings, directory: Path) -> Signer:
    """Return what signs with the keys of the file named, else the directory's.

    What agents need of it stands in the directory then.
    """
    from towline.trust import job_keys, keys

    if settings.job_key is None and keys.exists(directory):
        path = keys.open_trust(directory).path(keys.JOBS_KEY)
        signer = job_keys.load_signer(path, create=False)
    elif settings.job_key is None:
        signer = job_keys.load_signer(directory / job_keys.JOBS_KEY, create=True)
    else:
        signer = job_keys.load_signer(Path(settings.job_key), create=False, named=True)
    job_keys.publish(signer, directory)
    return signer


def verifier(settings: config.Settings, directory: Path) -> Verifier:
    """Return what verifies by the keys of the file named, else the directory's."""
    from towline.trust import job_keys

    if settings.job_keys is None:
        return job_keys.load_verifier(directory / job_keys.JOBS_PUBLIC, named=False)
    return job_keys.load_verifier(Path(settings.job_keys), named=True)


def account(directory: Path, login: Path | None) -> NodesAccount | None:
    """Return what makes the nodes' account.

    None for a broker to which a controller doesn't log in with what its trust directory has.

    Args:
        login: what it logs in with where the nodes are.
    """
    from towline.trust import keys
    from towline.trust.account import NodesAccount

    if not keys.exists(directory):
        return None
    trust = keys.open_trust(directory)
    return NodesAccount(trust) if login == trust.path(keys.NODES_LOGIN) else None
