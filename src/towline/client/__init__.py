"""The Python client: every operation, typed to its result.

Example:
    with towline.Client("http://127.0.0.1:8080", token) as client:
        job = client.run(docker.pull, on="_all", image="nginx:1.27")
        for result in job.results:
            print(result.hostname, result.status, result.value)
"""

from __future__ import annotations

from towline.client.aio.client import AsyncClient
from towline.client.aio.job import AsyncJob
from towline.client.models import JobSnapshot, Progress
from towline.client.options import new_job_id
from towline.client.sync.client import Client
from towline.client.sync.job import Job
from towline.endpoint import Event
from towline.endpoints.dry_run import DryRun, DryRunResult, DryRunWaves
from towline.endpoints.jobs import Cancelled, JobPage, Retried, Steered
from towline.endpoints.nodes import AgentView
from towline.endpoints.registries import RegistryView
from towline.endpoints.results import Result
from towline.endpoints.trust import TrustView
from towline.endpoints.views import JobEvent, JobView
from towline.errors import ApiError, Unreachable
from towline.options import JobOptions
from towline.wire.credential import Credential
from towline.wire.progress import NodeProgress, PartProgress, Total

__all__ = [
    "AgentView",
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "Cancelled",
    "Client",
    "Credential",
    "DryRun",
    "DryRunResult",
    "DryRunWaves",
    "Event",
    "Job",
    "JobEvent",
    "JobOptions",
    "JobPage",
    "JobSnapshot",
    "JobView",
    "NodeProgress",
    "PartProgress",
    "Progress",
    "RegistryView",
    "Result",
    "Retried",
    "Steered",
    "Total",
    "TrustView",
    "Unreachable",
    "new_job_id",
]
