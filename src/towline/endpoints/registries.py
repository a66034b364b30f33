"""`/registry`: the credentials that are kept for registries; no answer has a secret in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import DateTime, View, one_of
from towline.errors import InvalidRequest, NotFound
from towline.signature import Check
from towline.units import timestamp
from towline.wire.credential import Credential
from towline.wire.reference import parse_registry

if TYPE_CHECKING:
    from towline.controller.credentials.store import StoredCredential

Host: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        description="The registry, HOST or HOST:PORT, as image references name it.",
        examples=["docker.io", "localhost:5000"],
    ),
    Check(parse_registry),
]
Secret: TypeAlias = Annotated[str, Meta(min_length=1, extra_json_schema={"writeOnly": True})]
WANTED = 'Send {"username": "…", "password": "…"}, or {"identity_token": "…"}'


class RegistryView(View, frozen=True, kw_only=True):
    """Whose credential is kept for a registry; never the secret itself."""

    registry: Annotated[str, Meta(description="As image references name it.")]
    username: str | None = None
    type: Annotated[str, one_of("password", "identity_token")]
    updated_at: DateTime
    updated_by: Annotated[str, Meta(description="The caller who set it.")]
    readable: Annotated[
        bool,
        Meta(description="Whether this controller has the key that locks the credential."),
    ]


class Registries(View, frozen=True, kw_only=True):
    """The registries that have a credential."""

    registries: list[RegistryView]
    total: int


@endpoint(
    "registry.list",
    "GET /registry",
    permission="registry:read",
    command=None,
    typed="registry list",
)
async def list_registries(context: Context) -> Registries:
    """The registries for which a credential is kept, without the secrets."""
    found = [_view(context, stored) for stored in await context.controller.credentials.all()]
    return Registries(registries=found, total=len(found))


@endpoint("registry.get", "GET /registry/{host}", permission="registry:read", errors=(404,))
async def get(context: Context, *, host: Host) -> RegistryView:
    """The credential that is kept for a registry, without the secret."""
    registry = parse_registry(host)
    stored = await context.controller.credentials.get(registry)
    if stored is None:
        raise _nothing_kept(registry)
    return _view(context, stored)


@endpoint(
    "registry.put",
    "PUT /registry/{host}",
    permission="registry:write",
    success=(200, 201),
    errors=(409,),
    either=(("username", "password"), ("identity_token",)),
    command=None,
    typed="registry set",
)
async def put(
    context: Context,
    *,
    host: Host,
    username: Annotated[str, Meta(min_length=1)] | None = None,
    password: Secret | None = None,
    identity_token: Secret | None = None,
) -> RegistryView:
    """Keep a credential for a registry, in place of that before: pulls use it.

    It is a user's name and password, or an identity token.
    """
    if password and identity_token:
        problem = "it has a password and an identity token"
    elif not (password or identity_token):
        problem = "it has neither a password nor an identity token"
    elif password and not username:
        problem = "it has a password, but no user name"
    else:
        registry = parse_registry(host)
        context.controller.registries.check(registry)
        credential = Credential(username or "", password or "", identity_token or "")
        stored, new = await context.controller.credentials.put(
            registry, credential, context.caller.subject
        )
        context.status = 201 if new else 200
        return _view(context, stored)
    raise InvalidRequest.because("The request's body is no credential", problem, WANTED)


@endpoint(
    "registry.delete",
    "DELETE /registry/{host}",
    permission="registry:write",
    errors=(404,),
    command="registry remove",
)
async def delete(context: Context, *, host: Host) -> None:
    """Forget the credential that is kept for a registry."""
    registry = parse_registry(host)
    if not await context.controller.credentials.remove(registry):
        raise _nothing_kept(registry)


def _view(context: Context, stored: StoredCredential) -> RegistryView:
    return RegistryView(
        registry=stored.registry,
        username=stored.username or None,
        type=stored.kind,
        updated_at=timestamp(stored.updated),
        updated_by=stored.by,
        readable=context.controller.credentials.readable(stored),
    )


def _nothing_kept(registry: str) -> NotFound:
    return NotFound(
        f"No credential is kept for {registry!r}.",
        "GET /registry shows the registries that have one",
    )
