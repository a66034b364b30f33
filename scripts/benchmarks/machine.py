"""What the machine knows of processes and of itself."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from tests.testing.process import Failed


def processes(directories: Iterable[Path]) -> dict[str, int]:
    """Return the parts that run on these directories: process ids by what they are called here."""
    names = {"nats-server": "broker", "dockerd": "engine", "docker-registry": "registry"}
    found = {"load generator": os.getpid()}
    marks = [str(directory).encode() for directory in directories]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if any(mark in command for mark in marks):
            arguments = command.decode().split("\0")
            program = Path(arguments[0]).name
            towline = [verb for verb in ("controller", "agent", "up") if verb in arguments[:4]]
            found[towline[0] if towline else names.get(program, program)] = int(entry.name)
    return found


def descendants(pid: int) -> dict[int, list[str]]:
    """Return what a process has started, and what that has: arguments by process id."""
    parents, known = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                known[int(entry.name)] = (entry / "cmdline").read_text().split("\0")[:-1]
            except OSError:
                continue
            parents[int(entry.name)] = int(after_name[1])
    found: dict[int, list[str]] = {}
    new = {pid}
    while new := {child for child, parent in parents.items() if parent in new}:
        found |= {child: known[child] for child in new}
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, that a process has taken (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """Return the CPU time that all processes together have taken (proc_stat(5))."""
    fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = fields
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"process {pid} has no memory")


def sync_milliseconds(directory: Path, count: int = 200) -> float:
    """Return how long this disk takes to append and sync a small record: the median."""
    taken = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(count):
            begun = time.perf_counter()
            file.write(b"x" * 512)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def describe_machine(directory: Path, pids: dict[str, int]) -> list[str]:
    """Return what the figures were measured on."""
    kind = output("df", "--output=fstype", str(directory)).splitlines()[-1]
    # Each says its version after words of its own.
    versions = {
        part: output(f"/proc/{pids[part]}/exe", "--version").splitlines()[0].split()
        for part in ("engine", "registry", "broker")
    }
    return [
        *describe_system(),
        f"- State on {kind}; appending and syncing 512 bytes there takes "
        f"{sync_milliseconds(directory):.2f} ms. The broker syncs every message it acknowledges.",
        f"- Docker Engine {versions['engine'][2].rstrip(',')}, "
        f"registry {versions['registry'][-1]}, nats-server {versions['broker'][-1]}",
    ]


def describe_system() -> list[str]:
    """Return the machine's processor, memory and system."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return [
        f"- {os.cpu_count()} cores of {cpu}, {memory:.0f} GiB of memory",
        f"- {system}, Linux {platform.release()}, Python {platform.python_version()}",
    ]


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
