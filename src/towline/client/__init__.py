"""The Python client: every operation, typed to its result.

Example:
    with towline.Client("http://127.0.0.1:8080", token) as client:
        job = client.run(docker.pull, on="_all", image="nginx:1.27")
        for result in job.results:
            print(result.hostname, result.status, result.value)
"""

from __future__ import annotations

from towline.client.async_client import AsyncClient
from towline.client.client import Client
from towline.client.handles import AsyncJob, Job
from towline.client.models import (
    ApiError,
    Cancelled,
    JobEvent,
    JobPage,
    JobSnapshot,
    JobView,
    NodeView,
    Progress,
    RegistryView,
    Result,
    Retried,
    Steered,
)
from towline.client.options import EventFilters, JobFilters, Options
from towline.wire.credential import Credential
from towline.wire.progress import NodeProgress, PartProgress, Total

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "Cancelled",
    "Client",
    "Credential",
    "EventFilters",
    "Job",
    "JobEvent",
    "JobFilters",
    "JobPage",
    "JobSnapshot",
    "JobView",
    "NodeProgress",
    "NodeView",
    "Options",
    "PartProgress",
    "Progress",
    "RegistryView",
    "Result",
    "Retried",
    "Steered",
    "Total",
]
