"""Sets as controllers keep them: what was declared, and how far each image of it is. Pure data.

The declaration is people's and is written by requests alone; the state is what came of it, and is
written by whoever reconciles, by a rollback, a pause. Both are changed by compare-and-set.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from towline.wire.fields import Count, Moment, Name, Seconds, Text
from towline.wire.inventory import ImageName
from towline.wire.names import OF_SETS
from towline.wire.rollout import Waves
from towline.wire.text import readable

Follow: TypeAlias = Literal["tag", "digest"]
MOST_CHANGES = 100
"""Changes that a set's history keeps."""
LONGEST_REASON = 500
"""Characters of a text that is kept in a state."""
MOST_BEFORE = 20
"""Older digests that are kept of an image of a set."""
CALLER = OF_SETS
"""What the caller of a set's jobs begins with, before its name."""


class WantedImage(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image that a set wants.

    Attributes:
        image: its reference in full, as `Reference` writes it; with a digest where one was given.
        platform: what it is to be for; "" for each engine's own platform.
    """

    image: ImageName
    platform: Name = ""


class SetRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A set, as it was declared.

    Attributes:
        name: lower-case letters, digits, dots and dashes.
        id: drawn when the set was made: a set of the same name made later has another.
        generation: 1 at first, one more at each change of what is declared.
        target: a target expression; it may mean nobody yet.
        follow: `tag` for what the tag names now, looked up every so often; `digest` for what it
            named when this was declared.
        every: seconds between two looks at what the tags name.
        window: when new digests and pruning may begin; "" for always.
        keep: how many older digests that the set brought stay; None for all.
        options: how a new digest gets to the nodes; None for all at once.
        source: what it was applied from; "" for a set that was declared by itself.
        created, created_by, changed, changed_by: when and by whom.
        removed: when it was removed, at `changed_by`'s word; None for a set that is there. A
            record of one that isn't is kept for a while, so that all controllers learn of it.
    """

    name: Name
    id: Name
    generation: Count
    target: Text
    images: list[WantedImage]
    created: Moment
    created_by: Text
    changed: Moment
    changed_by: Text
    follow: Follow = "tag"
    every: Seconds = 900.0
    window: Text = ""
    keep: Count | None = None
    options: Waves | None = None
    source: Text = ""
    removed: Moment | None = None

    @property
    def caller(self) -> str:
        """The caller of its jobs."""
        return f"{CALLER}{self.name}"

    @property
    def etag(self) -> str:
        """What tells it from those declared before and behind it, as the header `ETag` has it."""
        return f'"{self.id}-{self.generation}"'


class ImageState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far an image of a set is.

    Attributes:
        image, platform: as in the set.
        current: the digest that nodes are to have; "" while none has been rolled out.
        next: another, which is to be rolled out or is under way; "" for none.
        since: when `next`, or else `current`, became what it is.
        job: the id of the job that rolls `next` out; "" while there is none.
        stopped: why the rollout of `next` doesn't go on: "" where it does.
        spent: the id of the job of the newest rollout that has stopped: it rolls out no more.
        rejected: digests that were rolled back from: not taken until the tag names another.
        before: digests that were `current` before, the newest first.
        given_up: digests that nodes may have of a rollout that was given up, or was gone back from,
            the newest first.
        checked: when the tag was looked up last; None for never.
        problem: why the tag can't be resolved just now; "" where it can.
    """

    image: ImageName
    platform: Name = ""
    current: Name = ""
    next: Name = ""
    since: Moment | None = None
    job: Name = ""
    stopped: Text = ""
    spent: Name = ""
    rejected: list[Name] = []
    before: list[Name] = []
    given_up: list[Name] = []
    checked: Moment | None = None
    problem: Text = ""

    def giving_up(self, digest: str) -> list[str]:
        """Return what is given up once a digest is, too."""
        return list(dict.fromkeys([digest, *self.given_up]))[:MOST_BEFORE]

    @property
    def going(self) -> ImageState:
        """The same, with a rollout that goes on, and a tag that is to be looked up anew."""
        if not (self.stopped or self.problem):
            return self
        return msgspec.structs.replace(self, stopped="", problem="")


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of a set's history.

    Attributes:
        time, by: when, and by whom: a token's subject, or the set's own caller.
        what: `declared`, `changed`, `resolved`, `rolled_out`, `stopped`, `rolled_back`, `paused`,
            `resumed`.
        generation: of the declaration then.
        image, digest: which image it is about, and to which digest; "" where it is about none.
        job: the job that did it; "" for none.
        reason: why, in words; of a changed declaration, what is another in it.
    """

    time: Moment
    by: Text
    what: Name
    generation: Count = 0
    image: ImageName = ""
    digest: Name = ""
    job: Name = ""
    reason: Text = ""


class SetState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has come of a set.

    Attributes:
        id: of the set that it is of: that of one of the same name before doesn't count.
        images: one for each image of the set that was looked at; in the set's order.
        paused: since when nothing is done for it; None for a set that is kept true.
        paused_by: who decided so.
        noted: the newest generation of the declaration that stands, or stood, in the history.
        renewed: when people have last declared, changed or resumed it; None for never.
        history: what was changed, the newest last; `MOST_CHANGES` of them at most.
    """

    id: Name
    images: list[ImageState] = []
    paused: Moment | None = None
    paused_by: Text = ""
    noted: Count = 0
    renewed: Moment | None = None
    history: list[Change] = []

    def anew(self, now: float) -> SetState:
        """Return the same with all rollouts begun anew that have stopped: people have said so."""
        images = [each.going for each in self.images]
        return msgspec.structs.replace(self, images=images, renewed=now)


def bounded(state: SetState) -> SetState:
    """Return a state with no more than is kept of it."""
    return msgspec.structs.replace(
        state,
        images=[_bounded_image(each) for each in state.images],
        history=[
            msgspec.structs.replace(each, reason=_bounded_text(each.reason))
            for each in state.history[-MOST_CHANGES:]
        ],
    )


def _bounded_text(text: str) -> str:
    return readable(text)[:LONGEST_REASON]


def _bounded_image(image: ImageState) -> ImageState:
    return msgspec.structs.replace(
        image,
        stopped=_bounded_text(image.stopped),
        problem=_bounded_text(image.problem),
        rejected=image.rejected[-MOST_BEFORE:],
        before=image.before[:MOST_BEFORE],
        given_up=image.given_up[:MOST_BEFORE],
    )
