"""Files with secrets: who may read them."""

from __future__ import annotations

import logging
import os
import shlex
import stat
from pathlib import Path

from towline.errors import InvalidConfiguration

# Of the standard library: the commands that read keys set up no logs, and this way a warning of
# theirs goes to standard error as well.
log = logging.getLogger(__name__)

OTHERS = stat.S_IROTH | stat.S_IWOTH
GROUP = stat.S_IRGRP | stat.S_IWGRP


def check_secret_file(path: Path, name: str, *, named: bool) -> None:
    """Refuse a file with a secret that any user of the machine may read, or warn of it.

    A file that Towline itself made was readable by its owner alone: if any user may read it now,
    somebody has opened it, and it is refused. A file that somebody named is only warned of, for
    container platforms mount secrets as files that everybody in a container may read.

    A file that its group may read is warned of where it belongs to this process's user. Where it
    belongs to another, that is how it is given to this process: `root:towline`, mode 0640.

    Args:
        name: what the file is, as an error begins: "The key that signs tokens".
        named: whether somebody named the file; otherwise Towline itself made it.

    Raises:
        InvalidConfiguration: any user may read the file, and Towline itself made it.
        OSError: it can't be looked at.
    """
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return  # a pipe, or a device: nothing is kept there
    if mode & OTHERS:
        whose = "any user of this machine"
    elif mode & GROUP and status.st_uid == os.geteuid():
        whose = "its group"
    else:
        return
    exposed = f"{name}, {str(path)!r}, is open to {whose}: its mode is {mode:04o}."
    mend = f"chmod 600 {shlex.quote(str(path))}"
    if mode & OTHERS and not named:
        raise InvalidConfiguration(
            exposed, f"Close it with {mend}; if somebody may have read it, it is no secret any more"
        )
    log.warning("%s Close it with %s", exposed, mend)
