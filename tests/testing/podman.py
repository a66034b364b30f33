"""Podman for tests: its service, which answers as a Docker Engine does."""

import os
import shutil
from contextlib import ExitStack

from tests.testing.engine import unmount_below
from tests.testing.engine_api import EngineApi
from tests.testing.process import Failed, Process

# Podman asks over HTTPS but for registries that it is told of, loopback too.
_REGISTRIES = """\
unqualified-search-registries = []
[[registry]]
location = "localhost"
insecure = true
"""


def why_missing() -> str | None:
    """Return in one sentence why Podman can't run here, or None if it can."""
    if os.geteuid() != 0:
        return "Podman with a store of its own needs root here"
    if shutil.which("podman") is None:
        return "podman is not installed; scripts/test installs it"
    return None


class Podman(EngineApi):
    """A throw-away Podman service on a unix socket of its own.

    It shares neither images nor settings with one that the machine has already.
    """

    def __init__(self) -> None:
        missing = why_missing()
        if missing:
            raise Failed(missing)
        super().__init__()
        registries = self.directory / "registries.conf"
        registries.write_text(_REGISTRIES)
        self._service = Process(
            "podman",
            [
                "podman",
                *("--root", self.directory / "root"),
                *("--runroot", self.directory / "run"),
                *("--storage-driver", "vfs"),
                *("--cgroup-manager", "cgroupfs"),
                *("system", "service", "--time", "0", self.url),
            ],
            logs=self.directory,
            env={"CONTAINERS_REGISTRIES_CONF": str(registries)},
        )

    def start(self) -> None:
        """Start the service and wait until it answers."""
        self._service.start()
        self._service.wait_for(self.reachable, timeout=60, what="an answer on its socket")

    def stop(self) -> None:
        """Stop the service; its images stay."""
        self._service.stop(timeout=20)

    def close(self) -> None:
        """Stop it and remove its data."""
        self._http.close()
        with ExitStack() as steps:  # each is tried, whatever the others do
            steps.callback(shutil.rmtree, self.directory, ignore_errors=True)
            steps.callback(unmount_below, self.directory)
            steps.callback(self._service.close)
