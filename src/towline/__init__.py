"""Towline: put container images on machines, and run a fleet of Linux hosts over one API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from towline import errors

if TYPE_CHECKING:
    from towline.client import ApiError, AsyncClient, Client, Credential, new_job_id

__all__ = ["ApiError", "AsyncClient", "Client", "Credential", "errors", "new_job_id"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Late: importing the HTTP client takes longer than everything else in `towline --help`.
    if name in __all__:
        from towline import client

        return getattr(client, name)
    raise AttributeError(f"module 'towline' has no attribute {name!r}")
