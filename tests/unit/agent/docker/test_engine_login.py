import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from towline.agent.docker.engine import Engine
from towline.errors import TaskFailed
from towline.wire.credential import Credential

SECRET = "s3cret p@ss"


class Daemon:
    """What listens in an engine's place: keeps each pull's login, and answers with `words`.

    Attributes:
        refuses: whether it refuses with these; if not, the stream of a pull ends by them.
    """

    def __init__(self) -> None:
        self.refuses = True
        self.words = ""
        self.logins: list[dict[str, str] | None] = []

    async def version(self, request: web.Request) -> web.Response:
        return answer({"ApiVersion": "1.41", "Version": "0"})

    async def create(self, request: web.Request) -> web.Response:
        header = request.headers.get("X-Registry-Auth")
        login = None if header is None else json.loads(base64.urlsafe_b64decode(header))
        self.logins.append(login)
        if self.words:
            words = self.words.format(header=header)
            if self.refuses:
                return answer({"message": words}, 500)
            return answer({"error": "it failed", "errorDetail": {"message": words}})
        return answer({"status": "Status: Downloaded newer image"})


def answer(body: object, status: int = 200) -> web.Response:
    """Return an answer under the very content type that engines give."""
    headers = {"Content-Type": "application/json"}
    return web.Response(body=json.dumps(body).encode(), status=status, headers=headers)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon, application = Daemon(), web.Application()
    application.router.add_get("/{prefix:(v[^/]+/)?}version", daemon.version)
    application.router.add_post("/{prefix:(v[^/]+/)?}images/create", daemon.create)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "d.sock")).start()
    yield daemon
    await runner.cleanup()


async def pull(engine: Engine, repository: str, credential: Credential | None) -> None:
    registry = repository.partition("/")[0]
    auth = None if credential is None else credential.for_engine(registry)
    async for _ in engine.pull(repository, "1.0", auth):
        pass


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("registry.internal:5000/app", "registry.internal:5000"),
        # What engines take for Docker Hub's; "docker.io" one with the containerd store refuses.
        ("docker.io/library/app", "https://index.docker.io/v1/"),
    ],
)
async def test_an_engine_is_given_every_kind_of_credential_under_the_registrys_name(
    daemon: Daemon, engine: Engine, repository: str, address: str
) -> None:
    none = dict.fromkeys(("username", "password", "identitytoken", "registrytoken"), "")
    for credential, given in (
        (Credential("puller", SECRET), {"username": "puller", "password": SECRET}),
        (Credential(identity_token=SECRET), {"identitytoken": SECRET}),
        (Credential(registry_token=SECRET), {"registrytoken": SECRET}),
    ):
        await pull(engine, repository, credential)
        assert daemon.logins.pop() == {**none, **given, "serveraddress": address}
    await pull(engine, repository, None)
    assert daemon.logins == [None]


@pytest.mark.parametrize("refuses", [True, False], ids=["a refusal", "a stream"])
async def test_no_secret_is_left_in_what_an_engine_says(
    daemon: Daemon, engine: Engine, refuses: bool
) -> None:
    daemon.refuses = refuses
    daemon.words = (
        f"login of puller:{SECRET} by {{header}} failed: Get http://puller:pw@registry.internal/v2/"
    )
    with pytest.raises(TaskFailed) as failed:
        await pull(engine, "registry.internal/app", Credential("puller", SECRET))
    words = "login of puller:*** by *** failed: Get http://***@registry.internal/v2/"
    assert (failed.value.error, str(failed.value)) == (words, words)
