"""Who is told when a connection can't even be tried."""

import asyncio
from pathlib import Path

from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.trust.certificates import make_authority


async def test_a_ca_that_can_not_be_read_any_more_is_as_good_as_being_refused(
    tmp_path: Path,
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(make_authority().certificate)
    refused = asyncio.Event()
    settings = Settings(["tls://127.0.0.1:1"], ca=ca)
    connection = Connection(settings, "tests", on_refused=refused.set, longest_pause=0.01)
    ca.write_text("")
    async with connection, asyncio.timeout(20):
        await refused.wait()
    assert "can't be read" in connection.last_error
