"""Completion in shells as people have them, at a terminal."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.testing.terminal import readable
from tests.unit.stub import Answer, StubController

PROGRAMS = Path(sys.executable).parent
DUMP = "\x18d"
"""^X d: what each shell is told to show its line at."""
SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        'eval "$(towline completion bash)"; PS1=ready; '
        r"""bind -x '"\C-xd": printf "<%s>END" "$READLINE_LINE"'""",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -U compinit; compinit -u -D; PS1=ready; setopt no_beep; "
        'eval "$(towline completion zsh)"; '
        'dump() { print -r -- "<$BUFFER>END" }; zle -N dump; bindkey "^xd" dump',
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        "towline completion fish | source; function fish_prompt; echo ready; end; "
        r'function dump; printf "<%s>END" (commandline); end; bind \cxd dump',
    ),
}
HOSTILE = [
    "$(touch PWNED)",
    "`touch PWNED`",
    ";touch PWNED",
    "x;touch PWNED",
    "*",
    "a\ntouch PWNED",
]


@pytest.fixture
def controller() -> Iterator[StubController]:
    names = ["group:web", *(f"zone:{each}" for each in HOSTILE), "zone:berlin", "web-01"]
    found = [{"target": name, "nodes": 1, "ready": 1} for name in names]
    with StubController({"GET /target": Answer({"targets": found, "total": len(found)})}) as stub:
        yield stub


Type = Callable[[str, str], str]


@pytest.fixture
def typed(controller: StubController, tmp_path: Path) -> Iterator[Type]:
    """Types a line into a shell, and returns what it has become."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TOWLINE_")}
    env |= {
        **{"TOWLINE_URL": controller.url, "TOWLINE_TOKEN": "a.b.c", "TOWLINE_CONFIG": "/dev/null"},
        **{"PATH": f"{PROGRAMS}:{env['PATH']}", "HOME": str(tmp_path), "TERM": "xterm"},
        # However busy the machine is.
        "TOWLINE_COMPLETE_WITHIN": "60",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    running: list[tuple[int, int]] = []

    def run(shell: str, line: str) -> str:
        arguments, begin = SHELLS[shell]
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(tmp_path)
            os.execvpe(arguments[0], arguments, env)
        running.append((process, terminal))
        read(terminal, "")
        (tmp_path / "begin").write_text(begin)
        os.write(terminal, b"source ./begin\n")
        read(terminal, "ready")
        # A shell looks at the next key when it has completed the word.
        os.write(terminal, (line + DUMP).encode())
        return read(terminal, ">END").rpartition("<")[2].partition(">END")[0]

    yield run
    for process, terminal in running:
        os.kill(process, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(process, 0)


def read(terminal: int, until: str) -> str:
    """Read what the shell shows until a text has stood there."""
    seen = ""
    while until not in seen or not seen:
        assert readable(terminal, 60), f"nothing came after {seen!r}"
        seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


@pytest.mark.parametrize("shell", SHELLS)
def test_a_target_is_completed_where_it_is_typed(typed: Type, shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    line = typed(shell, "towline pull nginx --on 'group:web;zone:\t")
    assert line.startswith("towline pull nginx --on 'group:web;zone:berlin'")
    # Of eight labels of that name one can be typed without meaning something else.
    assert not (tmp_path / "PWNED").exists()


def test_in_bash_a_colon_begins_another_word_and_nothing_is_done_twice(
    typed: Type, tmp_path: Path
) -> None:
    assert typed("bash", "towline pull nginx --on zone:\t") == (
        "towline pull nginx --on zone:berlin "
    )
    assert not (tmp_path / "PWNED").exists()
