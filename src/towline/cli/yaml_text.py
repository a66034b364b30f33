"""Answers as YAML."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml  # type: ignore[import-untyped]

from towline.cli.terminal import printable


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes texts with what is no visible character in quotes, where it can be escaped."""


def _text(dumper: Any, text: str) -> Any:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def lines_of(value: object) -> list[str]:
    """Return the lines of a value as YAML, with all that is no visible character escaped."""
    text: str = yaml.dump(
        msgspec.to_builtins(value),
        Dumper=_Dumper,
        allow_unicode=True,
        default_flow_style=False,
        sort_keys=False,
        # Lines that are folded are hard to search.
        width=2**31 - 1,
    )
    # In quotes YAML escapes as Python does.
    return [printable(line) for line in text.removesuffix("\n").split("\n")]
