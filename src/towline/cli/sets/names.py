"""What a set is called that is named for its target."""

from __future__ import annotations

import hashlib
import re

from towline.wire.target import ALL, Expression, parse_target

LONGEST = 63
"""Characters of a set's name."""
_DIGITS = 6
"""Those of a hash that tell expressions apart whose words are the same."""
_OTHERS = re.compile(r"[^a-z0-9._]+")


def name_for(target: str) -> str:
    """Return the name of the set for a target, always the same for what means the same.

    Args:
        target: as `parse_target` reads it; raises `InvalidTarget` as that does.

    Example:
        group:web is `group-web`, web-01 is `web-01`, _all is `all`, and `group:web,site:ber`, as
        `site:ber,group:web`, is `group-web-site-ber-` with six digits that no other has.
    """
    found = parse_target(target)
    text = str(found)
    if found is ALL:
        return "all"
    words = _OTHERS.sub("-", text.lower()).strip("-._")
    # A name or a label is told by its letters: what else an expression means is not.
    if not isinstance(found, Expression) and words and len(words) <= LONGEST and text.islower():
        return words
    mark = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return f"{words[: LONGEST - _DIGITS - 1].rstrip('-._')}-{mark}".lstrip("-")
