"""The nodes' account: what may be done in it, and whose logins are let in."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from towline.trust.claims import UNLIMITED, Account, Limits, Permission, Permissions, Scope
from towline.wire.subjects import (
    ALL_NODES,
    answer_subject,
    heartbeat_subject,
    inbox_prefix,
    inventory_subject,
    progress_subject,
    question_subject,
    report_subject,
    task_subject,
)

NAME = "NODES"

LARGEST_OF_NODES = 2 * 1024 * 1024
"""Bytes of a message in the nodes' account at most: a task with parameters as large as a request
may be, and the rest of its release. A controller that is sent more at a time than it takes is cut
off by the server when 64 MB wait for it."""
_NAME = "{{name()}}"
"""In a template: the name in the login, which is the node's machine id."""
NODE_PERMISSIONS = Permissions(
    pub=Permission(
        (
            report_subject(_NAME),
            report_subject(_NAME, again=True),
            heartbeat_subject(_NAME),
            progress_subject(_NAME, "*"),
            inventory_subject(_NAME),
            question_subject(_NAME, "*"),
            answer_subject("*", _NAME),
        )
    ),
    sub=Permission((task_subject(_NAME, "*"), ALL_NODES, f"{inbox_prefix(_NAME)}.>")),
    subs=100,
    data=UNLIMITED,
    payload=UNLIMITED,
)
"""All that a node may do at the broker."""


def account_of(keys: Iterable[str]) -> Account:
    """Return the account, from which no login has been taken back.

    Args:
        keys: the public keys of those who sign nodes' logins.
    """
    # No JetStream: nothing that a node can say lands where the journal is.
    limits = Limits(
        subs=UNLIMITED,
        data=UNLIMITED,
        payload=LARGEST_OF_NODES,
        conn=UNLIMITED,
        disallow_bearer=True,
    )
    return Account(limits, signing_keys=tuple(map(scope_of, keys)))


def scope_of(key: str) -> Scope:
    """Return what whoever has a login by a key may do: what a node may."""
    return Scope(key, "node", NODE_PERMISSIONS)


def widened(scope: Scope) -> Scope:
    """Return the same with all that a node of this version may do.

    A broker that is given another one drops the nodes that have such a login, which then come back.
    Nothing is taken away: controllers of a newer version may have added it.
    """
    before = scope.template
    pub, sub = (
        Permission(tuple(dict.fromkeys((*there.allow, *own.allow))))
        for there, own in (
            (before.pub, NODE_PERMISSIONS.pub),
            (before.sub, NODE_PERMISSIONS.sub),
        )
    )
    return msgspec.structs.replace(
        scope, template=msgspec.structs.replace(before, pub=pub, sub=sub)
    )
