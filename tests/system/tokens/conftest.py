"""Two controllers for the tests of tokens, and a client that signs tokens of its own."""

from collections.abc import Iterator

import pytest

from tests.testing.cluster import WEB_1, Cluster, NodePlan

SECRET = b"the secret of a portal, long enough"


@pytest.fixture(scope="package")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node and two controllers."""
    directory = tmp_path_factory.mktemp("pair")
    (directory / "portal.key").write_bytes(SECRET + b"\n")
    (directory / "portal.key").chmod(0o600)
    configuration = directory / "towline.toml"
    configuration.write_text(
        f'[roles]\nweb = ["job:read", "docker:write@group:web"]\n'
        f'[token-keys.portal]\nfile = "{directory}/portal.key"\nroles = ["read"]\nlongest = "1h"\n'
    )
    env = {"TOWLINE_CONFIG": str(configuration)}
    with Cluster(directory, [NodePlan(WEB_1, labels=("group:web",))], env=env) as cluster:
        cluster.add_controller()
        yield cluster
