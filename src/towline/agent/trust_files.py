"""The files that say whom a node trusts; they are read again when they change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from towline.broker.settings import Settings
from towline.errors import InvalidConfiguration
from towline.runtime.key_watch import KeyFile, KeyFiles
from towline.trust import claims
from towline.trust.claims import NotTrusted
from towline.trust.signing import Verifier
from towline.trust.trusted import Trusted, job_keys

log = structlog.get_logger()

LOOK_EVERY = 5.0
"""Seconds between looks whether somebody has changed a file."""


class TrustFiles:
    """What a node trusts, as its files say.

    Attributes:
        verifier: by which is verified what controllers send; its keys are replaced.
        trusted: what is in the files.
        jobs: the file with the keys of jobs; None for none.
        on_change: called when that has become something else.
        on_other_issuer: called when the login is another one, which another key has signed.

    Args:
        broker: names the login, and the certificates that sign the brokers'.
        load: makes the verifier; raises `InvalidConfiguration`.
        jobs: the file that it reads; None for none.

    Raises:
        InvalidConfiguration: a file can't be read.
    """

    def __init__(
        self,
        broker: Settings,
        load: Callable[[], Verifier],
        jobs: Path | None = None,
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._broker = broker
        self._load = load
        self.jobs = jobs
        self.verifier = load()
        self.trusted = self._read(self.verifier)
        self.on_change: Callable[[], None] = lambda: None
        self.on_other_issuer: Callable[[], None] = lambda: None
        paths = [each for each in (jobs, self.ca, broker.credentials) if each is not None]
        files = [KeyFile(each, self.read_again) for each in paths]
        self._files = KeyFiles(files, look_every=look_every)

    async def run(self) -> None:
        """Look whether a file has changed, for ever."""
        await self._files.run()

    def read_again(self) -> None:
        """Use what is in the files by now.

        Raises:
            InvalidConfiguration: one can't be read; what was read before goes on to count.
        """
        verifier = self._load()
        found = self._read(verifier)
        self.verifier.replace(verifier)
        if found != self.trusted:
            before, self.trusted = self.trusted, found
            log.info("trusts anew", trusts=found.hash)
            self.on_change()
            if found.issuer not in ("", before.issuer):
                self.on_other_issuer()

    @property
    def ca(self) -> Path | None:
        """The file with the certificates that sign the brokers'; None for none."""
        encrypted = any(url.startswith("tls://") for url in self._broker.urls)
        return self._broker.ca if encrypted else None

    def _read(self, verifier: Verifier) -> Trusted:
        try:
            ca = "" if self.ca is None else self.ca.read_text()
            path = self._broker.credentials
            login = "" if path is None else path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(
                "The login to the broker, or what verifies its certificate, can't be read.",
                str(error),
            ) from error
        return Trusted(ca, job_keys(verifier.public), _issuer(login))


def _issuer(login: str) -> str:
    """Return the public key that has signed a login; "" for one that none has."""
    try:
        return claims.read(claims.token_in(login), claims.User, ended=True)[0].iss
    except NotTrusted:
        return ""
