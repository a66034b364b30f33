"""Docker Engines for tests: real daemons, each with its own containerd, socket and data."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path

from tests.testing.engine_api import EngineApi
from tests.testing.ports import listening
from tests.testing.process import Failed, Process, wait_until
from tests.testing.registry import PushedImage

_ROOT = Path(__file__).parents[2]
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


class EngineKind(StrEnum):
    """The two kinds of image store that users have; ids, sizes and progress differ."""

    CLASSIC = "classic"
    """The installed `dockerd` (Debian 12: 20.10) with layers in a graph driver."""
    CONTAINERD = "containerd"
    """Docker Engine 29 with images kept by containerd."""


def engine_binary(kind: EngineKind) -> Path | None:
    """Return the `dockerd` to use for a kind, or None where there is none."""
    if kind is EngineKind.CLASSIC:
        found = shutil.which("dockerd", path=SYSTEM_PATH)
        return Path(found) if found else None
    built = os.environ.get("TOWLINE_TEST_ENGINE_29") or _ROOT / ".cache/dockerd-29.0.0/dockerd"
    return Path(built) if os.access(built, os.X_OK) else None


def why_missing(kind: EngineKind) -> str | None:
    """Return in one sentence why engines of this kind can't run here, or None if they can."""
    if os.geteuid() != 0:
        return "a Docker Engine needs root"
    if engine_binary(kind) is None:
        if kind is EngineKind.CLASSIC:
            return "dockerd is not installed; scripts/test installs it"
        return (
            "Docker Engine 29 (containerd image store) is not built; "
            "scripts/build-engine-29 builds it, TOWLINE_TEST_ENGINE_29 names one"
        )
    if shutil.which("containerd", path=SYSTEM_PATH) is None:
        return "containerd is not installed; scripts/test installs it"
    return None


class Engine(EngineApi):
    """A throw-away Docker Engine on a unix socket of its own.

    It shares nothing with an engine that the machine already runs: not the configuration, not
    containerd, not the bridge, not the packet filter. Containers have no network but the host's.

    Parameters: `mirrors` are URLs of mirrors of Docker Hub, asked in this order.

    `start`, `stop` and `kill` concern the daemon; its containerd lives from the first start until
    `close`, as on a machine where both are services. Images survive a restart.
    """

    def __init__(
        self, kind: EngineKind | str = EngineKind.CLASSIC, mirrors: Sequence[str] = ()
    ) -> None:
        self.kind = EngineKind(kind)
        self._mirrors = mirrors
        missing = why_missing(self.kind)
        if missing:
            raise Failed(missing)
        super().__init__()
        self._containerd = self._containerd_process()
        self._dockerd = self._dockerd_process()

    def spawn(self) -> None:
        """Start the daemon without waiting for it."""
        if not self._containerd.running:
            # A daemon that finds containerd's socket before anyone listens on it gives up.
            self._containerd.start()
            self._containerd.wait_for(
                lambda: listening(self.directory / "c.sock"), what="containerd listening"
            )
        self.socket.unlink(missing_ok=True)
        self._dockerd.start()

    def wait_ready(self) -> None:
        """Wait until the daemon answers; raises Failed with its log if it doesn't."""
        self._dockerd.wait_for(self.reachable, timeout=90, what="an answer on its socket")

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self.spawn()
        self.wait_ready()

    def stop(self) -> None:
        """Stop the daemon as a service manager would."""
        self._dockerd.stop(timeout=20)

    def kill(self) -> None:
        """Kill the daemon (-9); its socket stays behind as a file that nobody listens on."""
        self._dockerd.kill()

    def restart(self) -> None:
        """Stop the daemon and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop everything and remove its data, mounts included."""
        self._http.close()
        with ExitStack() as steps:  # each is tried, whatever the others do
            steps.callback(shutil.rmtree, self.directory, ignore_errors=True)
            steps.callback(unmount_below, self.directory)
            steps.callback(self._containerd.close)
            steps.callback(self._dockerd.close)

    def id_of(self, image: PushedImage) -> str:
        """Return what an engine of this kind calls an image."""
        return image.config_digest if self.kind is EngineKind.CLASSIC else image.digest

    @property
    def log(self) -> str:
        """What the daemon has logged."""
        return self._dockerd.stderr

    def forget(self) -> None:
        """Remove every image, and what the engine keeps of pulls that were broken off."""
        self.remove_all_images()
        self._http.post("/images/prune").raise_for_status()
        kept = self.directory / "cd/root/io.containerd.content.v1.content/blobs"
        wait_until(
            lambda: not any(path.is_file() for path in kept.rglob("*")), what="no content kept"
        )

    def _containerd_process(self) -> Process:
        configuration = self.directory / "containerd.toml"
        # The "opt" plugin would make a directory outside ours; CRI is for Kubernetes.
        configuration.write_text(
            f"""\
version = 2
root = "{self.directory}/cd/root"
state = "{self.directory}/cd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{self.directory}/c.sock"
"""
        )
        binary = shutil.which("containerd", path=SYSTEM_PATH)
        assert binary is not None
        return Process(
            "containerd", [binary, "--config", configuration], logs=self.directory, env=_PATH
        )

    def _dockerd_process(self) -> Process:
        configuration = self.directory / "daemon.json"
        store = {"containerd-snapshotter": self.kind is EngineKind.CONTAINERD}
        configuration.write_text(
            json.dumps({"features": store, "registry-mirrors": list(self._mirrors)})
        )
        binary = engine_binary(self.kind)
        assert binary is not None
        return Process(
            "dockerd",
            [
                binary,
                f"--config-file={configuration}",
                f"--host=unix://{self.socket}",
                f"--data-root={self.directory}/data",
                f"--exec-root={self.directory}/exec",
                f"--pidfile={self.directory}/pid",
                f"--containerd={self.directory}/c.sock",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--ip-forward=false",
                "--ip-masq=false",
                "--userland-proxy=false",
                # By default five, up to 25 s apart: a fault that lasts would last a minute.
                "--max-download-attempts=1",
            ],
            logs=self.directory,
            env=_PATH,
        )


@contextmanager
def running_engines(
    kind: EngineKind | str, count: int, mirrors: Sequence[str] = ()
) -> Iterator[Sequence[Engine]]:
    """Run several engines of one kind, started side by side, until the block ends."""
    with ExitStack() as stack:
        engines = []
        for _ in range(count):
            engine = Engine(kind, mirrors)
            stack.callback(engine.close)
            engine.spawn()
            engines.append(engine)
        for engine in engines:
            engine.wait_ready()
        yield engines


_PATH = {"PATH": SYSTEM_PATH}


def unmount_below(directory: Path) -> None:
    """Unmount all that a daemon has mounted in its directory and not unmounted itself."""

    def mounted() -> list[str]:
        points = [
            line.split()[4].replace("\\040", " ")
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ]
        return [point for point in points if Path(point).is_relative_to(directory)]

    for point in reversed(mounted()):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    wait_until(lambda: not mounted(), timeout=10, what=f"unmounting below {directory}")
