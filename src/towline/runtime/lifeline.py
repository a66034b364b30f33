"""A lifeline: programs that know nothing of Towline end with the process that started them.

This file is itself the program that is started. It asks the kernel for a signal at the end of its
parent and becomes the program that is meant, which keeps that (prctl(2), PR_SET_PDEATHSIG). What
that writes is for its owner alone.
It imports only what takes no time, and nothing of Towline.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def with_lifeline(program: str, *arguments: str) -> list[str]:
    """Return the command that runs a program which gets SIGTERM when this process ends.

    It is for children that the main thread starts: the kernel sends the signal when the *thread*
    that started the child ends.
    """
    # Neither the environment nor the site's packages have a say in so small a program.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), program, *arguments]


def main(parent: str, program: str, *arguments: str) -> None:
    """Ask for SIGTERM at the end of the parent, and become the program.

    Args:
        parent: the process id of the parent.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM)):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # It may have ended before it was asked for.
    if os.getppid() != int(parent):
        sys.exit("the process that started this one has ended")
    os.umask(0o077)
    try:
        os.execv(program, [program, *arguments])
    except OSError as error:
        sys.exit(f"{program}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
