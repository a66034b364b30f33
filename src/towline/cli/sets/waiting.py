"""Waiting for what a set wants to be on its nodes: how far its jobs are is shown meanwhile."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from towline.cli import watch
from towline.cli.cells import between
from towline.cli.nodes import Asked
from towline.cli.orders import FORBIDDEN, Order, Rows, Stage, patiently
from towline.cli.sets.commands import all_nodes
from towline.cli.sets.rows import Against
from towline.cli.sets.view import title
from towline.cli.showing import Showing
from towline.errors import ApiError

if TYPE_CHECKING:
    from towline.client import AgentView, Client, Progress
    from towline.endpoints.set_views import SetImageView, SetNode, SetView

LOOK_EVERY = 1.0
"""Seconds between looks at a set."""
NODES_EVERY = 5.0
"""Seconds after which its nodes are looked at although nothing is another about the set itself: of
thousands of nodes they are megabytes."""
BAD_REQUEST, NOT_FOUND = 400, 404

Key = tuple[str, str]
"""An image of a set: its reference in full, and its platform or ""."""


def key_of(image: SetImageView | SetNode) -> Key:
    """Return what tells an image of a set from its others."""
    return image.image, image.platform or ""


class Removed(ApiError):
    """A set that is waited for was removed by somebody else."""

    def __init__(self, name: str, details: str) -> None:
        super().__init__(
            f"The set {name} was removed by somebody else meanwhile.", details, status=NOT_FOUND
        )


class Waiting:
    """Waits until each node that is here has what a set wants of some images, or could not get it.

    Args:
        declared: the set as it was answered when it was declared.
        images: which of its images.
        deadline: until when to wait, by `time.monotonic`.
        watched: whether people look at it.
        every: see `LOOK_EVERY`.

    Attributes:
        found: the set as it was last.
        orders: one for each image; its rows are the nodes', with statuses as those of a job's.
        replaced: those of the images that somebody else has taken out of the set meanwhile.
        known: whether its nodes have been looked at.
    """

    def __init__(
        self,
        client: Client,
        declared: SetView,
        images: Collection[Key],
        deadline: float,
        *,
        watched: bool,
        every: float = LOOK_EVERY,
    ) -> None:
        self._client = client
        self._deadline = deadline
        self._every = every
        self.found = declared
        several = len(images) > 1
        self.orders: dict[Key, Order] = {
            key_of(image): Order(_never, name=title(image) if several else "")
            for image in declared.images
            if key_of(image) in images
        }
        for order in self.orders.values():
            order.job_id = None  # Its jobs have ids of their own.
        self.replaced: list[Key] = []
        self.known = False
        self._declared = declared
        self._since = time.monotonic()
        self._showing = Showing([*self.orders.values()], ids=False)
        self._watched = watched
        self._news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._followed: dict[Key, str] = {}
        self._ended: set[str] = set()
        self._fleet: Fleet | None = Fleet(client, declared.target)
        self._nodes: list[SetNode] = []
        self._nodes_at = 0.0

    def run(self) -> None:
        """Wait.

        Raises:
            Removed: somebody else has removed the set.
            ApiError: the controller refuses, or doesn't answer for a while.
        """
        try:
            while not self._look():
                self._until(min(time.monotonic() + self._every, self._deadline))
                if time.monotonic() >= self._deadline:
                    break
            self._look(last=True)
        finally:
            self._showing.close()

    @property
    def held_back(self) -> bool:
        """Whether nothing is done for the set just now."""
        return bool(self.found.paused_at)

    def _until(self, moment: float) -> None:
        """Show the news until a moment."""
        while (left := moment - time.monotonic()) > 0:
            try:
                self._news.get(timeout=left)()
            except queue.Empty:
                return

    def _look(self, *, last: bool = False) -> bool:
        """Learn how far the set is; return whether there is nothing more to wait for.

        Args:
            last: whether all that is known of the nodes is to be learnt.
        """
        from towline.endpoints import sets

        declared = self._declared
        found: SetView = self._asked(partial(self._client.call, sets.get, name=declared.name))
        another = found.id != declared.id
        if another and (between(declared.created_at, found.created_at) or 0) >= 0:
            raise Removed(declared.name, "There is another of that name now")
        if another or found.generation < declared.generation:
            return False  # A controller that has not heard of it yet.
        same, self.found = found.images == self.found.images, found
        if last or not same or time.monotonic() >= self._nodes_at:
            self._nodes = self._nodes_of(found)
            self._nodes_at, self.known = time.monotonic() + NODES_EVERY, True
        self._leave_out(found)
        known, window = self._fleet_now(), is_open(found.window)
        over = True
        for image in found.images:
            order = self.orders.get(key_of(image))
            if order is None:
                continue
            of_it = [each for each in self._nodes if key_of(each) == key_of(image)]
            against = Against(found, image, known, window=window)
            order.rows = [against.row(each) for each in of_it]
            if any(map(watch.awaited_row, order.rows)) and not self.held_back:
                over = False
                self._follow(image, of_it)
            elif order.seconds is None:
                order.seconds = time.monotonic() - self._since
                order.stage = Stage.MADE
                if self._watched:
                    self._showing.ended(order)
        return over

    def _nodes_of(self, found: SetView) -> list[SetNode]:
        """Return where nodes stand against the images that are waited for."""
        ask = partial(all_nodes, self._client, found.name)
        awaited = [each.image for each in found.images if key_of(each) in self.orders]
        if len(awaited) == len(found.images):
            return [*self._asked(ask)]
        # Of thousands of nodes the rows of all other images are many pages.
        return [row for image in awaited for row in self._asked(partial(ask, image=image))]

    def _leave_out(self, found: SetView) -> None:
        """Wait no more for images that the set has no more."""
        wanted = {key_of(image) for image in found.images}
        self.replaced = [key for key in self.orders if key not in wanted]
        for key in self.replaced:
            self.orders[key].rows = []

    def _fleet_now(self) -> Mapping[str, AgentView] | None:
        if self._fleet is None:
            return None
        try:
            return self._fleet.now()
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            self._fleet = None
            return None

    def _follow(self, image: SetImageView, nodes: Sequence[SetNode]) -> None:
        """Show the progress of the job that brings an image, where none is shown yet."""
        key = key_of(image)
        order = self.orders[key]
        if not self._watched or self._followed.get(key):
            return
        jobs = [image.job, *(each.job for each in nodes if each.state == "missing")]
        job = next((each for each in jobs if each and each not in self._ended), None)
        if job is None:
            return
        order.job_id, order.stage = job, Stage.MADE
        self._followed[key] = job
        threading.Thread(target=self._watch, args=(key, job), daemon=True).start()

    def _watch(self, key: Key, job: str) -> None:
        def show(progress: Progress) -> None:
            self._news.put(partial(self._showing.progress, self.orders[key], progress))

        try:
            watch.watch(self._client, job, self._deadline, show)
        except ApiError as error:
            words = error.error
            if error.status == FORBIDDEN:
                words = "no progress can be shown: the token lacks job:read"
            self._news.put(partial(self._showing.note, self.orders[key], words))
            if error.status == FORBIDDEN:
                return  # The next job's can't be shown either.
        self._ended.add(job)
        self._followed.pop(key, None)

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Return an answer about the set; raises `Removed` where there is none any more."""
        try:
            return self._patiently(ask)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            raise Removed(self._declared.name, "Nothing is kept to it any more") from error

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        def note(words: str) -> None:
            self._showing.note(next(iter(self.orders.values())), words)

        return patiently(ask, note, doubt=True)


class Fleet:
    """Which nodes could be brought something just now.

    Args:
        target: the set's.
    """

    def __init__(self, client: Client, target: str) -> None:
        self._asked = Asked(client, brief=True)
        self._asked.which(target=target)

    def now(self) -> Mapping[str, AgentView]:
        """Return the nodes that the target means, by machine id; raises `ApiError`."""
        try:
            return {each.machine_id: each for each in self._asked.again()}
        except ApiError as error:
            if error.status != BAD_REQUEST:
                raise
            return {}  # It means nobody yet, which is an error for a list.


def is_open(window: str | None) -> bool:
    """Return whether a window is open now, by this machine's clock; none is always open."""
    if not window:
        return True
    # Time zones are looked up for it, which only a set with a window needs.
    from towline.wire.window import InvalidWindow, Window

    try:
        return Window.parse(window).is_open(time.time())
    except InvalidWindow:
        return True  # A controller of another version knows what it means.


def _never(key: str, wait: float) -> tuple[str, Rows | None]:
    raise AssertionError("a set's jobs are made by controllers")
