"""What is another about a set than was declared before, in lines as `diff` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from towline.units import parse_duration, show_duration
from towline.wire.platform import InvalidPlatform, Platform
from towline.wire.reference import InvalidReference, Reference
from towline.wire.target import InvalidTarget, parse_target

IMAGES, OPTIONS = "images", "options"
USUAL: Mapping[str, Any] = {"follow": "tag", "every": "15m", "window": "", "keep": None}
"""What holds of a set where nothing else is said."""

Said = dict[str, str | list[str]]
"""What is declared of a set, by field, as people are shown it."""


def said(body: Mapping[str, Any]) -> Said:
    """Return what is declared of a set, in the one way of writing it.

    Args:
        body: as the API takes it, and as its answers have it; what isn't given is as usual.
    """
    found: Said = {}
    for name, value in {**body, **{**USUAL, **body}}.items():
        if name == IMAGES:
            found[name] = [_image(each) for each in value]
        elif name == OPTIONS:
            given = (value or {}).items()
            found |= {option: str(share) for option, share in given if share is not None}
        elif value not in (None, ""):
            found[name] = _text(name, value)
    return found


def differences(before: Said | None, after: Said) -> list[str]:
    """Return the lines that say what is another than before.

    Args:
        before: None for a set that there was not.
    """
    lines: list[str] = []
    for name in dict.fromkeys([*after, *(before or {})]):
        old, new = (before or {}).get(name), after.get(name)
        if name == IMAGES:
            lines += _listed(name, old, new)
        elif before is None:
            # What is as usual need not be said of what is new.
            if new != USUAL.get(name):
                lines.append(f"{name}: {new}")
        elif old != new:
            lines.append(f"{name}: {old or 'none'} -> {new or 'none'}")
    return lines


def _listed(name: str, old: object, new: object) -> list[str]:
    before: Sequence[str] = old if isinstance(old, list) else []
    after: Sequence[str] = new if isinstance(new, list) else []
    gone = [f"  - {each}" for each in before if each not in after]
    come = [f"  + {each}" for each in after if each not in before]
    if not gone and not come and before != after:
        return [f"{name}: in another order"]
    return [f"{name}:", *gone, *come] if gone or come else []


def image_of(given: object) -> tuple[str, str]:
    """Return the reference of an image of a set, as people know it, and its platform or ""."""
    image, platform = given, ""
    if isinstance(given, Mapping):
        image, platform = given.get("image", ""), given.get("platform") or ""
    try:
        image = Reference.parse(str(image)).familiar
        platform = platform and str(Platform.parse(platform))
    except (InvalidReference, InvalidPlatform):
        pass  # Whoever reads it next says what is wrong with it.
    return str(image), platform


def _image(given: object) -> str:
    image, platform = image_of(given)
    return f"{image} ({platform})" if platform else image


def _text(name: str, value: object) -> str:
    try:
        match name:
            case "target":
                return str(parse_target(str(value)))
            case "every":
                return show_duration(parse_duration(str(value)))
            case "window":
                # Time zones are looked up for it, which only a set with a window needs.
                from towline.wire.window import Window

                return str(Window.parse(str(value)))
            case _:
                return " ".join(str(value).split())
    except (InvalidTarget, ValueError):
        return str(value)
