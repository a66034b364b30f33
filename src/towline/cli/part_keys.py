"""The keys that the parts of this machine are started with: of the files named, or their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from towline.runtime import config

if TYPE_CHECKING:
    from towline.controller.token_keys import TokenKeys
    from towline.runtime.key_watch import KeyFile
    from towline.runtime.keys import Vault
    from towline.trust.account import NodesAccount
    from towline.trust.keys import Trust
    from towline.trust.signing import Signer, Verifier


def vault(settings: config.Settings, directory: Path) -> Vault:
    """Return what encrypts credentials, by the key of the file named, else the directory's."""
    from towline.runtime import keys

    if settings.credentials_key is None:
        return keys.open_vault(directory / keys.CREDENTIALS_KEY, create=True)
    return keys.open_vault(Path(settings.credentials_key), create=False, named=True)


def paths(settings: config.Settings, directory: Path) -> dict[str, Path]:
    """Return the files with keys that may be replaced, by what commands call them."""
    from towline.runtime import keys, state_directory

    tokens, credentials = settings.token_key, settings.credentials_key
    return {
        "tokens": Path(tokens) if tokens else directory / state_directory.TOKEN_KEY,
        "credentials": Path(credentials) if credentials else directory / keys.CREDENTIALS_KEY,
        "jobs": _jobs(settings, directory),
    }


def _jobs(settings: config.Settings, directory: Path) -> Path:
    from towline.trust import job_keys, keys

    if settings.job_key is not None:
        return Path(settings.job_key)
    if keys.exists(directory):
        return keys.open_trust(directory).path(keys.JOBS_KEY)
    return directory / job_keys.JOBS_KEY


def replaceable(
    settings: config.Settings,
    directory: Path,
    tokens: TokenKeys,
    credentials: Vault,
    jobs: Signer,
) -> list[KeyFile]:
    """Return these files, with what uses the keys in them."""
    from towline.cli import local
    from towline.runtime.key_watch import KeyFile

    found = paths(settings, directory)
    return [
        KeyFile(found["tokens"], lambda: tokens.replace(local.token_keys(settings, directory))),
        KeyFile(found["credentials"], lambda: credentials.replace(vault(settings, directory))),
        KeyFile(found["jobs"], lambda: jobs.replace(signer(settings, directory))),
    ]


def signer(settings: config.Settings, directory: Path) -> Signer:
    """Return what signs with the keys of the file named, else the directory's.

    What agents need of it stands in the directory then.
    """
    from towline.trust import job_keys, keys

    named = settings.job_key is not None
    create = not named and not keys.exists(directory)
    signer = job_keys.load_signer(_jobs(settings, directory), create=create, named=named)
    job_keys.publish(signer, directory)
    return signer


def joined_by(directory: Path) -> Trust | None:
    """Return the keys by which machines are let in; None where the directory has none."""
    from towline.trust import keys

    if not keys.exists(directory):
        return None
    found = keys.open_trust(directory)
    return found if found.path(keys.ENROL_KEY).exists() else None


def verifier(settings: config.Settings, directory: Path) -> Verifier:
    """Return what verifies by the keys of the file named, else the directory's."""
    from towline.trust import job_keys

    named = settings.job_keys is not None
    return job_keys.load_verifier(verified_by(settings, directory), named=named)


def verified_by(settings: config.Settings, directory: Path) -> Path:
    """Return the file with the keys by which an agent verifies what it is sent."""
    from towline.trust import job_keys

    named = settings.job_keys
    return directory / job_keys.JOBS_PUBLIC if named is None else Path(named)


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
