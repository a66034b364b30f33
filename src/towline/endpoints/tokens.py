"""`/token`: making tokens, which were made, and revoking them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import DateTime, View
from towline.errors import InvalidRequest, NotFound
from towline.signature import Check, Flag
from towline.units import parse_duration, timestamp

if TYPE_CHECKING:
    from towline.controller.tokens import TokenRecord

USUAL_LIFE = "90d"


def _visible(text: str) -> None:
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError(f"{text[:80]!r} is no token's id: these are visible ASCII")


def _printable(text: str) -> None:
    if not text.isprintable():
        raise ValueError(f"{text[:80]!r} has characters that can't be shown")


TokenId: TypeAlias = Annotated[
    str,
    Meta(min_length=1, max_length=255, description="The token's `jti`."),
    Check(_visible),
    Flag("TOKEN_ID"),
]
Lifetime: TypeAlias = Annotated[
    str,
    Meta(description="How long the token is valid, 365d at most.", examples=["90d", "1h"]),
    Check(parse_duration),
]
Subject: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        description="Whoever will use the token; unless given, whoever asks.",
    ),
    Check(_printable),
]
Names: TypeAlias = Annotated[list[str], Meta(max_length=100)]


class TokenView(View, frozen=True, kw_only=True):
    """A token; never the token itself."""

    id: Annotated[str, Meta(description="What it is revoked by: its `jti`.")]
    subject: Annotated[str | None, Meta(description="Absent where only its id is known.")] = None
    roles: list[str] | None = None
    permissions: Annotated[
        list[str] | None, Meta(description="In place of those of its roles, where present.")
    ] = None
    created_at: DateTime | None = None
    expires_at: DateTime
    created_by: str | None = None
    revoked_at: Annotated[DateTime | None, Meta(description="Absent where it is not revoked.")] = (
        None
    )
    revoked_by: str | None = None


class NewToken(TokenView, frozen=True, kw_only=True):
    """A token that was just made."""

    token: Annotated[str, Meta(description="The token, which nobody can be shown again.")]


class TokenPage(View, frozen=True, kw_only=True):
    """A page of the tokens that were made or revoked here, and have not expired; the newest first.

    Attributes:
        total: how many there are.
    """

    tokens: list[TokenView]
    total: int
    next_cursor: Annotated[
        str | None,
        Meta(description="The `cursor` of the next page; absent where there is none."),
    ] = None


@endpoint(
    "token.create",
    "POST /token",
    permission="token:write",
    success=(201,),
    locates=True,
    command=None,
    typed="token create",
)
async def create(
    context: Context,
    *,
    roles: Annotated[Names, Meta(description="Roles, by their names.", examples=[["read"]])],
    subject: Subject | None = None,
    permissions: Annotated[
        Names | None, Meta(description="Permissions, in place of those of the roles.")
    ] = None,
    expires: Lifetime = USUAL_LIFE,
) -> NewToken:
    """Make a token, which may do no more than the one that it is asked for with.

    For another subject it takes `job:admin` as well: whoever has made a job may steer it.
    """
    if not roles and permissions is None:
        raise InvalidRequest("The token has no roles and no permissions.", "Name some")
    record, token = await context.controller.token_maker.make(
        context.caller,
        subject=subject or context.caller.subject,
        roles=roles,
        permissions=permissions,
        lifetime=parse_duration(expires),
    )
    context.location = f"/token/{record.id}"
    return NewToken(**_fields(record), token=token)


@endpoint("token.list", "GET /token", permission="token:read")
async def list_tokens(
    context: Context,
    *,
    limit: Annotated[int, Meta(ge=1, le=1000, description="At most so many tokens.")] = 100,
    cursor: Annotated[
        TokenId | None, Meta(description="`next_cursor` of the page before."), Flag("TOKEN_ID")
    ] = None,
) -> TokenPage:
    """The tokens that were made or revoked here, and have not expired; the newest first."""
    tokens = context.controller.tokens
    known = tokens.all()
    left = known if cursor is None else tokens.behind(cursor)
    page = left[:limit]
    return TokenPage(
        tokens=[TokenView(**_fields(record)) for record in page],
        total=len(known),
        next_cursor=page[-1].id if len(left) > limit else None,
    )


@endpoint("token.get", "GET /token/{id}", permission="token:read", errors=(404,), command=None)
async def get(context: Context, *, id: TokenId) -> TokenView:
    """One token."""
    record = context.controller.tokens.get(id)
    if record is None:
        raise NotFound(
            f"No token {id!r} is known that has not expired.",
            "GET /token shows those that were made or revoked here",
        )
    return TokenView(**_fields(record))


@endpoint("token.revoke", "DELETE /token/{id}", permission="token:write", success=(200,))
async def revoke(context: Context, *, id: TokenId) -> TokenView:
    """Revoke a token for good: within a second every controller refuses it.

    It may be one that is in no list; to revoke one again changes nothing.
    """
    record = await context.controller.tokens.revoke(id, context.caller.subject)
    return TokenView(**_fields(record))


def _fields(record: TokenRecord) -> dict[str, Any]:
    known = bool(record.subject)
    return {
        "id": record.id,
        "subject": record.subject or None,
        "roles": record.roles if known else None,
        "permissions": record.permissions,
        "created_at": timestamp(record.created) if known else None,
        "expires_at": timestamp(record.expires),
        "created_by": record.by or None,
        "revoked_at": None if record.revoked is None else timestamp(record.revoked),
        "revoked_by": record.revoked_by or None,
    }
