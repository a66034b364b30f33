"""Writes docs/troubleshooting.md from the table of words: `python -m scripts.troubleshooting`."""

from pathlib import Path

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.words import TABLE, Row

PATH = Path(__file__).parents[1] / "docs" / "troubleshooting.md"

_HEAD = """\
# Troubleshooting

What pulls that fail say, why, and what to do. Look for the words of the error here; the kind of a \
failure stands in the job's timeline ("attempt 1 of 5 failed: … (passing; tried again in 1.4 s)"). \
[pulls.md](pulls.md#tried-again-or-not) says what each kind leads to.

The words are those of Docker Engine 20.10 (the classic store), Docker Engine 29 (the containerd \
image store) and Podman 4.3, each provoked on such an engine unless it says otherwise \
(`tests/parts/agent/docker/pull`). Names, digests and addresses are examples. This page is made \
from the table in `src/towline/agent/docker/pull/words.toml`, by `scripts/troubleshooting.py`.
"""

_KINDS: dict[Kind, tuple[str, str]] = {
    Kind.REFUSED: (
        "The registry refuses",
        "It is not tried again. [registries.md](registries.md) says which credential a pull uses, "
        "and how to keep one; the error names the user that was refused, or says that there is no "
        "credential.",
    ),
    Kind.MISSING: (
        "The registry hasn't it",
        "It is not tried again. Look for a mistake in the name and the tag first.",
    ),
    Kind.BUSY: (
        "The registry is busy",
        "The whole fleet leaves the registry alone for a while, and then tries again by itself: "
        "see [pulls.md](pulls.md#too-many-requests). Logging in raises the limit of many "
        "registries, and a mirror takes the load off.",
    ),
    Kind.UNSTORABLE: (
        "This node can't store it",
        "It is not tried again, unless the row says so.",
    ),
    Kind.DAMAGED: (
        "The content is damaged",
        "It is tried again once, unless the row says otherwise: what was changed on the way comes "
        "whole the second time.",
    ),
    Kind.LACKING: (
        "The node lacks something",
        "It is not tried again. Mend it on the node, then `towline job retry JOB`.",
    ),
    Kind.BETWEEN: (
        "No registry's answer",
        "It is tried again; what ends so three times is given up. Ask for the same address from "
        "the node itself to see who answers: `curl -i https://HOST/v2/`.",
    ),
    Kind.PASSING: (
        "Passing",
        "It is tried again by itself, as often as `retries` says, with growing pauses. If it "
        "lasts, the cause below is where to look.",
    ),
}
_UNKNOWN = """\
## Words not known

What stands in no row counts as passing, until the same words, but for numbers, ids and names, \
have ended three attempts of a pull. If you meet such words, they are worth an issue: with the \
engine's version, and what was wrong.
"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for kind, (title, then) in _KINDS.items():
        parts.append(f"## {title}\n\n{then}\n")
        parts += [_section(row) for row in TABLE if row.kind is kind]
    return "\n".join([*parts, _UNKNOWN])


def _section(row: Row) -> str:
    words: dict[str, list[str]] = {}
    for said in row.said:
        source = f" (not provoked here; reported in {said.source})" if said.source else ""
        words.setdefault(f"{said.by}{source}", []).append(said.words)
    blocks = ["\n".join([f"{by}:\n\n```text", *examples, "```"]) for by, examples in words.items()]
    parts = [f"### {row.title}", *blocks, f"**Why:** {row.cause}"]
    if row.mend:
        parts.append(f"**What to do:** {row.mend[:1].upper()}{row.mend[1:]}.")
    if row.attempts == 1:
        parts.append("It is not tried again.")
    elif row.attempts is not None:
        parts.append(f"It is tried again; what ends so {row.attempts} times is given up.")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
