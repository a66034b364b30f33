"""Make the client for programs without an event loop from that for asyncio.

Usage: python scripts/generate_client.py [--check]

With --check nothing is written, and the exit status is 1 where a file is not up to date.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import unasync  # type: ignore[import-untyped]

CLIENT = Path(__file__).parents[1] / "src/towline/client"
SOURCES = ("client.py", "job.py")
WORDS = {
    "AsyncClient": "Client",
    "AsyncJob": "Job",
    "aclose": "close",
    "aconnect_sse": "connect_sse",
    "aio": "sync",
    "aiter_sse": "iter_sse",
    "aread": "read",
    "asyncio": "time",
}
NOTE = "# Made from `aio` by scripts/generate_client.py: change it there.\n"


def made(directory: Path) -> dict[str, str]:
    """Return the text of each module, made in a directory that may be thrown away."""
    rule = unasync.Rule(str(CLIENT / "aio"), str(directory), additional_replacements=WORDS)
    unasync.unasync_files([str(CLIENT / "aio" / name) for name in SOURCES], [rule])
    for name in SOURCES:
        path = directory / name
        path.write_text(NOTE + path.read_text())
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--config", str(CLIENT.parents[2] / "pyproject.toml"), "--quiet", str(directory)]
    subprocess.run([*ruff, "check", "--select", "I", "--fix", *settings], check=True)
    subprocess.run([*ruff, "format", *settings], check=True)
    return {name: (directory / name).read_text() for name in SOURCES}


def main() -> int:
    """Write the modules, or see that they are as they would be written."""
    with tempfile.TemporaryDirectory() as directory:
        texts = made(Path(directory))
    stale = []
    for name, text in texts.items():
        path = CLIENT / "sync" / name
        if path.exists() and path.read_text() == text:
            continue
        if sys.argv[1:] == ["--check"]:
            stale.append(name)
        else:
            path.write_text(text)
    if stale:
        print(
            f"Not up to date in src/towline/client/sync: {', '.join(stale)}. "
            "Run python scripts/generate_client.py.",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
