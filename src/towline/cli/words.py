"""The progress of nodes and jobs, in words."""

from __future__ import annotations

from towline.units import show_size
from towline.wire.progress import EXTRACTING, NodeProgress, Total


def in_words(node: NodeProgress) -> str:
    """Return how far a node is, in words."""
    if node.phase is None:
        why = node.error or node.reason
        return node.status if why is None else f"{node.status}: {why}"
    attempt = f"attempt {node.attempt}" if node.attempt > 1 else ""
    parts = [node.phase, attempt, *amounts(node), node.note or ""]
    return ", ".join(part for part in parts if part)


def shorter(node: NodeProgress) -> list[str]:
    """Return how far a node is that goes on, ever shorter, for what room there is.

    `25.0 MiB of 100 MiB, 5.00 MiB/s, 15 s left`, then `25%, 15 s left`, then `25%`
    """
    figures = amounts(node)
    done = node.extracted if node.phase == EXTRACTING else node.fetched
    known = node.size and not node.unsized
    share = [f"{done / node.size:.0%}"] if known else [show_size(done)] if done else []
    left = [each for each in figures if each.endswith(" left")]
    attempt = [f"attempt {node.attempt}"] if node.attempt > 1 else []
    forms = [
        [*attempt, *figures, *filter(None, [node.note])],
        [*attempt, *figures],
        [*share, *left],
        share,
    ]
    return [", ".join(form) for form in forms]


def amounts(progress: NodeProgress | Total) -> list[str]:
    """Return how much has arrived of how much, how fast, and how long the rest will take."""
    parts = []
    if progress.size:
        # The size of some layers isn't known yet.
        more = "more than " if progress.unsized else ""
        done = progress.fetched
        if isinstance(progress, NodeProgress) and progress.phase == EXTRACTING:
            done = progress.extracted
        parts.append(f"{show_size(done)} of {more}{show_size(progress.size)}")
    if progress.rate:
        parts.append(f"{show_size(progress.rate)}/s")
    if progress.left:
        # 0 while it still goes on: what is left then is work that the engine gives no figures of.
        parts.append(f"{'more than ' if progress.unsized else ''}{duration(progress.left)} left")
    return parts


def sum_in_words(total: Total) -> str:
    """Return how far a job is on all nodes together, in words."""
    counts = ", ".join(f"{count} {status}" for status, count in total.nodes.items())
    return ", ".join([counts or "no node yet", *amounts(total)])


def duration(seconds: int) -> str:
    """Return a duration as people write it: 59 s, 1 min 5 s, 2 h 0 min."""
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return "{} h {} min".format(*divmod(minutes, 60))


def seconds_in_words(seconds: float) -> str:
    """Return how long something took: tenths of a second tell what is quick apart."""
    return f"{seconds:.1f} s" if seconds < 9.95 else duration(round(seconds))
