"""`/registry`: the credentials that are kept for registries."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from towline.controller.auth import Caller
from towline.controller.credentials.store import CredentialStore, StoredCredential
from towline.controller.http import request as reading
from towline.controller.http import views
from towline.controller.http.app import Route
from towline.controller.http.middleware import answer
from towline.errors import NotFound


class RegistryCredentials:
    """The endpoints of registries; no answer of theirs has a secret in it."""

    def __init__(self, store: CredentialStore) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/registry", "registry:read", self._list),
            Route("GET", "/registry/{host}", "registry:read", self._get),
            Route("PUT", "/registry/{host}", "registry:write", self._put),
            Route("DELETE", "/registry/{host}", "registry:write", self._delete),
        ]

    async def _list(self, request: Request, caller: Caller) -> Response:
        found = [self._view(stored) for stored in await self._store.all()]
        return answer({"registries": found, "total": len(found)})

    async def _get(self, request: Request, caller: Caller) -> Response:
        registry = reading.registry(request)
        stored = await self._store.get(registry)
        if stored is None:
            raise _nothing_kept(registry)
        return answer(self._view(stored))

    async def _put(self, request: Request, caller: Caller) -> Response:
        registry = reading.registry(request)
        credential = await reading.credential(request)
        stored, new = await self._store.put(registry, credential, caller.subject)
        return answer(self._view(stored), 201 if new else 200)

    async def _delete(self, request: Request, caller: Caller) -> Response:
        registry = reading.registry(request)
        if not await self._store.remove(registry):
            raise _nothing_kept(registry)
        return Response(status_code=204)

    def _view(self, stored: StoredCredential) -> dict[str, Any]:
        return views.registry(stored, readable=self._store.readable(stored))


def _nothing_kept(registry: str) -> NotFound:
    return NotFound(
        f"No credential is kept for {registry!r}.",
        "GET /registry, or towline registry list, lists the registries that have one",
    )
