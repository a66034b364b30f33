"""Pulls of an agent at a real engine, for what comes of those that fail."""

from dataclasses import dataclass, field

from tests.testing.engine_api import EngineApi
from tests.testing.tasks import a_task
from towline.agent.docker.engine import Engine as Client
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.attempts import Pauses
from towline.agent.docker.pull.faults import Fault
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.pulls import Pulls
from towline.agent.docker.pull.slots import MAX_PULLS
from towline.errors import TaskFailed
from towline.wire.job import Job
from towline.wire.reference import Reference

TAKEN_AWAY = "Taken away under the pull"
"""The row of what a store says when it has lost what a pull had fetched."""

_JOB = Job("job", "docker.pull.execute", {}, "web-01", "tests", 0.0, 60.0)


@dataclass
class Trial(Hook):
    """A pull, and what its attempts failed by.

    Attributes:
        error: the words by which it failed; "" if it did not.
        faults: of each attempt that failed.
    """

    error: str = ""
    faults: list[Fault] = field(default_factory=list)

    async def failed(self, attempt: Attempt, fault: Fault) -> None:
        """Keep what an attempt failed by."""
        self.faults.append(fault)

    @property
    def titles(self) -> list[str]:
        """The rows of the table of words that the attempts failed by, by their titles."""
        return [fault.row.title if fault.row else fault.kind.name for fault in self.faults]

    @property
    def told(self) -> list[str]:
        """The same, without what comes of it that no time is lost between attempts.

        A containerd store may throw away what an attempt has left while the next one begins.
        """
        return [title for title in self.titles if title != TAKEN_AWAY]


async def pull(
    engine: EngineApi,
    reference: str,
    *,
    retries: int = 4,
    trial: Trial | None = None,
    url: str = "",
) -> Trial:
    """Pull as an agent does, without losing time between attempts.

    Parameters: `trial` is what is returned, to be looked at before; `url` stands in place of the
    engine's.
    """
    trial = trial or Trial()
    client = Client(url or engine.url)
    pauses = Pauses(first=0.0, discarded_after=0.0, engine_back_within=0.0)
    pulls = Pulls(client, [trial], MAX_PULLS, pauses=pauses, reported_after=0.0)
    order = Order(Reference.parse(reference), retries=retries)
    try:
        await pulls.pull(order, a_task(_JOB))
    except TaskFailed as failed:
        trial.error = failed.error
    finally:
        await client.close()
    return trial
