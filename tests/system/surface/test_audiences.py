"""Tokens that name an audience, at a controller that is told whose it takes."""

import time

import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster


def test_a_token_counts_for_the_audiences_that_are_configured(
    fleet: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    env = {"TOWLINE_TOKEN_AUDIENCES": "fleet.example, other.example"}
    with Cluster(tmp_path_factory.mktemp("audiences"), [], env=env) as told:
        for cluster, audience, taken in [
            (told, "fleet.example", True),
            (told, ["elsewhere", "other.example"], True),
            (told, None, True),
            (told, "elsewhere", False),
            (fleet, "fleet.example", False),
            (fleet, None, True),
        ]:
            claims = {"sub": "tests", "jti": "a", "roles": ["read"], "exp": time.time() + 3600}
            if audience is not None:
                claims["aud"] = audience
            token = cluster.keys.sign(claims)
            answer = cluster.anyone.get("/agent", headers={"Authorization": f"Bearer {token}"})
            if taken:
                assert answer.status_code == 200, answer.text
            else:
                assert "token-audiences" in refused(answer, 401)
