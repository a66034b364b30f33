"""The callers of jobs that sets make: nobody is called so, and who steers them."""

import time

import pytest

from towline.controller.auth import Authenticator
from towline.controller.token_keys import TokenKeys
from towline.errors import Unauthorized

KEYS = TokenKeys([b"k" * 32])


def test_no_token_stands_for_a_set() -> None:
    """Whoever made a job may steer it: nobody is called as a set is."""
    now = int(time.time())
    claims = {"sub": "set:web", "jti": "t", "roles": ["admin"], "iat": now, "exp": now + 60}
    token, authenticator = KEYS.sign(claims), Authenticator(KEYS)
    for _ in range(2):
        with pytest.raises(Unauthorized, match="no token stands for one"):
            authenticator.authenticate(token)


@pytest.mark.parametrize(
    ("permissions", "of_another", "of_a_set"),
    [
        (["job:admin"], "job:admin", "job:admin"),
        (["set:write"], "job:admin", "set:write"),
        (["set:write@group:web"], "job:admin", "set:write"),
        (["set:write@group:web", "job:admin"], "job:admin", "job:admin"),
        (["job:admin@group:web"], "job:admin", "job:admin"),
        ([], "job:admin", "set:write"),
    ],
)
def test_what_steering_a_job_takes_depends_on_who_made_it(
    permissions: list[str], of_another: str, of_a_set: str
) -> None:
    token = KEYS.create(subject="me", roles=[], permissions=permissions, lifetime=60.0)
    caller = Authenticator(KEYS).authenticate(token)
    assert caller.steering("me") is None
    assert caller.steering("ann") == of_another
    assert caller.steering("set:web") == of_a_set
