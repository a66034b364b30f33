"""Two controllers for the tests of tokens, and a client that signs tokens of its own."""

from collections.abc import Iterator

import pytest

from tests.testing.cluster import WEB_1, Cluster, NodePlan
from tests.testing.identity import AUDIENCE, IdentityProvider

SECRET = b"the secret of a portal, long enough"


@pytest.fixture(scope="package")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    """A provider of identities, whose groups the controllers of `pair` know."""
    with IdentityProvider(tmp_path_factory.mktemp("identity")) as provider:
        yield provider


@pytest.fixture(scope="package")
def pair(tmp_path_factory: pytest.TempPathFactory, identity: IdentityProvider) -> Iterator[Cluster]:
    """One node and two controllers."""
    directory = tmp_path_factory.mktemp("pair")
    (directory / "portal.key").write_bytes(SECRET + b"\n")
    (directory / "portal.key").chmod(0o600)
    configuration = directory / "towline.toml"
    configuration.write_text(
        f'oidc-issuer = "{identity.issuer}"\noidc-audience = "{AUDIENCE}"\n'
        f'[oidc-groups]\noperators = ["admin"]\neverybody = ["read"]\n'
        f'[roles]\nweb = ["job:read", "docker:write@group:web"]\n'
        f'[token-keys.portal]\nfile = "{directory}/portal.key"\nroles = ["read"]\nlongest = "1h"\n'
    )
    env = {"TOWLINE_CONFIG": str(configuration)}
    with Cluster(directory, [NodePlan(WEB_1, labels=("group:web",))], env=env) as cluster:
        cluster.add_controller()
        yield cluster
