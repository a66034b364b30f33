"""The service manager that starts parts of Towline with their machine: systemd, where it runs."""

from __future__ import annotations

import subprocess

from towline.errors import TowlineError

AGENT_UNIT = "towline-agent.service"
"""The unit of the agent, as docs/configuration.md shows it."""
ANSWER_WITHIN = 60.0
"""Seconds for systemd to answer: it reads all of its units again when one is enabled."""


def enable(unit: str) -> bool:
    """Have systemd start a unit now, and with the machine from now on.

    It is not waited for: a part that waits for its broker is in order, and may take any time.

    Returns:
        False where systemd doesn't run, or has no unit of that name.

    Raises:
        TowlineError: systemd refuses, or does not answer.
    """
    # What it would print, which for one that it has is the whole unit, tells nothing more.
    if _systemctl("cat", unit).returncode != 0:
        return False
    done = _systemctl("enable", "--now", "--no-block", unit)
    if done.returncode != 0:
        raise TowlineError(
            f"systemd does not start {unit}: {done.stderr.strip()[:1000] or 'it says not why'}",
            f"Once that is mended: systemctl enable --now {unit}",
        )
    return True


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["systemctl", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_WITHIN,
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(arguments, 127, "", "")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TowlineError("systemd can't be asked.", str(error)) from error
