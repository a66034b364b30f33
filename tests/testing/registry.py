"""A real registry on loopback, and images put into it without any engine."""

import gzip
import hashlib
import io
import json
import os
import platform
import random
import shutil
import signal
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from tests.testing.plain_http import UNENCRYPTED
from tests.testing.ports import free_port, listening
from tests.testing.process import Failed, Process

_VENDOR = "application/vnd.docker"
MANIFEST = f"{_VENDOR}.distribution.manifest.v2+json"
MANIFEST_LIST = f"{_VENDOR}.distribution.manifest.list.v2+json"
CONFIG = f"{_VENDOR}.container.image.v1+json"
LAYER = f"{_VENDOR}.image.rootfs.diff.tar.gzip"

USER, PASSWORD = "puller", "towline-secret"
# bcrypt, the only hash that the registry takes; Python has no portable way to make one.
_HTPASSWD = f"{USER}:$2y$05$uhcPJMOz3ctAkMMvyfjuFe2tuqOmHbyzd2rxztpSQ9XHF9tagC3ZW\n"

Layer = Mapping[str, bytes]
"""The files of a layer: path without leading slash to content."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
HOST_ARCHITECTURE = _ARCHITECTURES.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class PushedImage:
    """An image as the registry has it now."""

    reference: str
    """host:port/repository:tag, as an engine pulls it."""
    repository: str
    digest: str
    """The manifest's digest; with the containerd store also the engine's id for the image."""
    config_digest: str
    """The configuration's digest: the engine's id for the image in the classic store."""
    layer_digests: tuple[str, ...]
    manifest_size: int
    architecture: str

    @property
    def by_digest(self) -> str:
        """host:port/repository@digest."""
        return f"{self.reference.rpartition(':')[0]}@{self.digest}"


def random_layer(seed: int | str, size: int = 2048, files: int = 1) -> Layer:
    """Make a layer of incompressible files: the same for the same seed, `size` bytes each."""
    source = random.Random(seed)
    return {f"data/{seed}-{number}": source.randbytes(size) for number in range(files)}


class Registry:
    """Debian's docker-registry on a free loopback port, with its data in a directory of its own.

    `stop` and `start` close and reopen it on the same port with the same data. With
    `authenticated`, it wants USER and PASSWORD.
    """

    def __init__(self, *, authenticated: bool = False) -> None:
        binary = shutil.which("docker-registry")
        if binary is None:
            raise Failed("docker-registry is not installed; scripts/test installs it")
        self.directory = Path(tempfile.mkdtemp(prefix="tl-registry-"))
        self.port = free_port()
        self._auth = (USER, PASSWORD) if authenticated else None
        configuration = self.directory / "config.json"
        configuration.write_text(json.dumps(self._configuration()))  # JSON is YAML
        # REGISTRY_… variables would override the file.
        inherited = {key: None for key in os.environ if key.startswith("REGISTRY_")}
        self._process = Process(
            "registry", [binary, "serve", configuration], logs=self.directory, env=inherited
        )
        self._http = httpx.Client(
            base_url=self.url, auth=self._auth, timeout=30, verify=UNENCRYPTED
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def host(self) -> str:
        """host:port as it stands in references; engines speak plain HTTP to loopback."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """The registry's HTTP address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process.start()
        self._process.wait_for(lambda: listening(self.port), what=f"port {self.port} open")

    def stop(self) -> None:
        """Stop it; connections are refused from now on."""
        self._process.stop()

    def freeze(self) -> None:
        """Let it answer nothing any more; connections stay open."""
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was frozen."""
        self._process.signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its data."""
        self._http.close()
        with ExitStack() as steps:
            steps.callback(shutil.rmtree, self.directory, ignore_errors=True)
            steps.callback(self._process.close)

    @property
    def log(self) -> str:
        """What the registry has logged, its access log included."""
        return self._process.stdout + self._process.stderr

    def reference(self, repository: str, tag: str | None = None) -> str:
        """Return host:port/repository[:tag]."""
        return f"{self.host}/{repository}" + (f":{tag}" if tag else "")

    def push_image(
        self,
        repository: str,
        tag: str,
        layers: Sequence[Layer] | None = None,
        *,
        architecture: str = HOST_ARCHITECTURE,
        command: Sequence[str] = (),
        level: int = 9,
    ) -> PushedImage:
        """Put an image into the registry under a tag.

        Parameters: `level` is how hard its layers are compressed, 0 to 9.

        Without `layers` it has one small layer that follows from repository and tag. An engine
        that has a layer already doesn't fetch it again: give other content where that matters.
        """
        if layers is None:
            layers = [random_layer(f"{repository.replace('/', '-')}-{tag}")]
        archives = [archive_of(layer) for layer in layers]
        blobs = [gzip.compress(archive, level, mtime=0) for archive in archives]
        configuration = json_of(
            {
                "architecture": architecture,
                "os": "linux",
                "created": "2024-01-01T00:00:00Z",
                "config": {"Cmd": list(command)} if command else {},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in archives]},
                "history": [{"created_by": "towline tests"} for _ in archives],
            }
        )
        for blob in (*blobs, configuration):
            self.push_blob(repository, blob)
        manifest = json_of(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor_of(CONFIG, configuration),
                "layers": [descriptor_of(LAYER, blob) for blob in blobs],
            }
        )
        return PushedImage(
            reference=self.reference(repository, tag),
            repository=repository,
            digest=self.push_manifest(repository, tag, MANIFEST, manifest),
            config_digest=digest_of(configuration),
            layer_digests=tuple(digest_of(blob) for blob in blobs),
            manifest_size=len(manifest),
            architecture=architecture,
        )

    def push_index(self, repository: str, tag: str, images: Sequence[PushedImage]) -> str:
        """Put a manifest list of images of the same repository under a tag; return its digest.

        With none of the engine's architecture in it, a pull fails for want of a match.
        """
        manifest = json_of(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_LIST,
                "manifests": [
                    {
                        "mediaType": MANIFEST,
                        "digest": image.digest,
                        "size": image.manifest_size,
                        "platform": {"architecture": image.architecture, "os": "linux"},
                    }
                    for image in images
                ],
            }
        )
        return self.push_manifest(repository, tag, MANIFEST_LIST, manifest)

    def blob_path(self, digest: str) -> Path:
        """Return the file in which the registry keeps a blob or manifest."""
        algorithm, _, value = digest.partition(":")
        blobs = self.directory / "data/docker/registry/v2/blobs"
        return blobs / algorithm / value[:2] / value / "data"

    def corrupt_blob(self, digest: str) -> None:
        """Flip a byte in the middle of a blob on disk: it no longer is what its digest says."""
        path = self.blob_path(digest)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)

    def remove_blob(self, digest: str) -> None:
        """Remove a blob from disk: the manifest names it, the registry no longer has it."""
        self.blob_path(digest).unlink()

    def remove_manifest(self, image: PushedImage) -> None:
        """Have the registry forget a manifest; its layers stay."""
        self._http.delete(f"/v2/{image.repository}/manifests/{image.digest}").raise_for_status()

    def put_manifest(self, repository: str, tag: str, manifest: bytes) -> str:
        """Put an image's manifest there again, its layers being there; return its digest."""
        return self.push_manifest(repository, tag, MANIFEST, manifest)

    def push_blob(self, repository: str, blob: bytes) -> None:
        if self._http.head(f"/v2/{repository}/blobs/{digest_of(blob)}").status_code == 200:
            return
        started = self._http.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
        place = httpx.URL(started.headers["Location"]).copy_add_param("digest", digest_of(blob))
        self._http.put(
            place, content=blob, headers={"Content-Type": "application/octet-stream"}
        ).raise_for_status()

    def push_manifest(self, repository: str, tag: str, media: str, manifest: bytes) -> str:
        answer = self._http.put(
            f"/v2/{repository}/manifests/{tag}", content=manifest, headers={"Content-Type": media}
        ).raise_for_status()
        digest = digest_of(manifest)
        if answer.headers["Docker-Content-Digest"] != digest:
            raise Failed(f"the registry calls {digest} {answer.headers['Docker-Content-Digest']}")
        return digest

    def _configuration(self) -> dict[str, object]:
        configuration: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                # No cache of blob descriptors: what a test does on disk shows at once.
                "filesystem": {"rootdirectory": str(self.directory / "data")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"127.0.0.1:{self.port}", "secret": "tests"},
        }
        if self._auth:
            htpasswd = self.directory / "htpasswd"
            htpasswd.write_text(_HTPASSWD)
            configuration["auth"] = {"htpasswd": {"realm": "tests", "path": str(htpasswd)}}
        return configuration


def archive_of(layer: Layer) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in sorted(layer.items()):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            entry.mode = 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor_of(media: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media, "size": len(content), "digest": digest_of(content)}


def json_of(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
