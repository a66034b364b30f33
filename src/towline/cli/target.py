"""The option that says on which nodes."""

from __future__ import annotations

from typing import Any

import click

from towline.wire.target import OR

FORMS = (
    "A hostname, a label (KEY:VALUE), _any or _all; or several of these, in quotes: "
    "'group:web,site:ber' (and), 'web-*;db-01' (or), '_all,!rack:r3' (but not), '_any,group:web' "
    "(any one). Given more than once: or."
)
"""What may be written."""
OF_SETS = (
    "A hostname, a label (KEY:VALUE), or _all; or several of these, in quotes: "
    "'group:web,site:ber' (and), 'web-*;db-01' (or), '_all,!rack:r3' (but not). "
    "Given more than once: or."
)
"""What may be written of a set, which is for all that its target means."""


def _joined(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> str | None:
    """Return what was given as one target: several are one job."""
    return OR.join(given) if given else None


ON: dict[str, Any] = {"multiple": True, "callback": _joined, "metavar": "TARGET"}
"""What the option `--on` of each command is: its value is one target, or None."""
