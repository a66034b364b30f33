"""Towline: put container images on machines, and run a fleet of Linux hosts over one API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from towline.client import AsyncClient as AsyncClient
    from towline.client import Client as Client

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Late: importing the HTTP client takes longer than everything else in `towline --help`.
    if name in ("Client", "AsyncClient"):
        from towline import client

        return getattr(client, name)
    raise AttributeError(f"module 'towline' has no attribute {name!r}")
