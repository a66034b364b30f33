"""Docker Engines on nodes that lack something."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.testing.engine import SYSTEM_PATH, Engine, EngineKind
from tests.testing.process import Process

# By these a program of root reads and writes what it has no permission for.
_ALL_FILES = "--bounding-set=-dac_override,-dac_read_search,-fowner"


class OddEngine(Engine):
    """A Docker Engine of one's own, set up oddly.

    Parameters: `environment` is added to the daemon's, `options` to its command line. With `bound`
    neither the daemon nor its containerd can write where a mode forbids it, though they are root.
    With `remapped` so many ids of users are mapped into the engine's user namespace. With `disk`
    the images are on a disk of so many bytes.
    """

    def __init__(
        self,
        kind: EngineKind | str,
        *,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        bound: bool = False,
        remapped: int = 0,
        disk: int = 0,
    ) -> None:
        self._environment = environment or {}
        self._options = options
        self._bound = bound
        self._remapped = remapped
        super().__init__(kind)
        # Otherwise made for the daemon alone to write, which the bound one then can't.
        (self.directory / "exec/libnetwork").mkdir(parents=True)
        self._disk = disk

    def start(self) -> None:
        """Start the daemon, on its own disk if it has one, and wait until it answers."""
        if self._disk:
            _mount(self._images, f"size={self._disk}")
        super().start()

    @property
    def _images(self) -> Path:
        below = "data" if self.kind is EngineKind.CLASSIC else "cd/root"
        return self.directory / below

    def kill_containerd(self) -> None:
        """Kill the daemon's containerd (-9)."""
        self._containerd.kill()

    def _containerd_process(self) -> Process:
        return self._oddly(super()._containerd_process(), self._bounds())

    def _dockerd_process(self) -> Process:
        process = super()._dockerd_process()
        before, after = self._bounds(), [*self._options]
        if self._remapped:
            before, after = self._remapping(), [*after, "--userns-remap=nobody:nogroup"]
        return self._oddly(process, before, after)

    def _oddly(
        self, process: Process, before: list[str], after: list[str] | None = None
    ) -> Process:
        command = [*before, *process.command, *(after or [])]
        environment = {"PATH": SYSTEM_PATH, **self._environment}
        return Process(process.name, command, logs=self.directory, env=environment)

    def _bounds(self) -> list[str]:
        return ["setpriv", _ALL_FILES, "--inh-caps=-all"] if self._bound else []

    def _remapping(self) -> list[str]:
        """Return what runs a command where /etc says which ids there are to map."""
        etc = self.directory / "etc"
        shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
        for name in ("subuid", "subgid"):
            who = "nobody" if name == "subuid" else "nogroup"
            (etc / name).write_text(
                f"nobody:100000:{self._remapped}\n{who}:100000:{self._remapped}\n"
            )
        # The remapped root has to get below it.
        self.directory.chmod(0o711)
        script = f'mount --bind {etc} /etc && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh"]


@contextmanager
def covered(directory: Path, *options: str) -> Iterator[None]:
    """Have another file system over a directory: with these options of tmpfs (`size=64k`, `ro`)."""
    _mount(directory, *options)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _mount(directory: Path, *options: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(directory)]
    subprocess.run(command, check=True)


@contextmanager
def forbidden(directory: Path) -> Iterator[None]:
    """Let nobody write in a directory who is bound by its mode."""
    mode = directory.stat().st_mode
    directory.chmod(0o555)
    try:
        yield
    finally:
        directory.chmod(mode)


@contextmanager
def away(directory: Path) -> Iterator[None]:
    """Have a directory moved away."""
    aside = directory.with_name(f"{directory.name}.away")
    directory.rename(aside)
    try:
        yield
    finally:
        # A daemon may have made it anew meanwhile.
        shutil.rmtree(directory, ignore_errors=True)
        aside.rename(directory)
