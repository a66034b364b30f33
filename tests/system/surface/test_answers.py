"""What is answered: codes, and each field with its type."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.system.surface.facts import OPERATIONS, holds
from tests.system.surface.requests import (
    ACCEPT,
    ALSO,
    DRAIN,
    GOOD,
    PROBES,
    REJECT,
    UNDRAIN,
    Place,
    refusals,
    send,
    split,
    unnamed,
    waiting_machine,
)
from tests.testing.answers import error_body, refused
from tests.testing.cluster import WEB_1, Cluster, NodePlan
from tests.testing.marks import ONE_KIND

BROKEN = (500, 503)
REFUSALS = [
    (operation, code) for operation in GOOD for code in refusals(operation) if code not in BROKEN
]
FROM_MEMORY = {"GET /agent", "GET /agent/{hostname}", "GET /agent/pending", "GET /job"}
"""Only a fault of the controller's own makes one of these fail."""


@ONE_KIND
@pytest.mark.parametrize("operation", GOOD)
def test_a_good_request_is_answered_by_whoever_may_ask(place: Place, operation: str) -> None:
    fact = OPERATIONS[operation]
    permissions = [*ALSO.get(operation, ()), *([fact.permission] if fact.permission else ())]
    client = place.cluster.client(place.cluster.token(permissions=permissions))
    answer = send(client, operation, GOOD[operation](place))
    assert answer.status_code == fact.success.code, answer.text
    if fact.answer is None:
        assert answer.content == b""
    else:
        assert answer.headers["Content-Type"] == "application/json"
        holds(fact.answer, answer.json())


@pytest.mark.parametrize(("operation", "code"), REFUSALS)
def test_a_refusal_has_the_code_it_is_to_have(fleet: Cluster, operation: str, code: int) -> None:
    method, path = split(operation)
    url, client = unnamed(operation), fleet.admin
    body = dict[str, str]() if OPERATIONS[operation].body else None
    if code == 401:
        client = fleet.anyone
    elif code == 403:
        client = fleet.client(fleet.token(permissions=[]))
    elif code == 400 and path.startswith("/agent/"):
        url = unnamed(operation, hostname="_all")
    elif code == 400 and "{" in path:
        url = unnamed(operation, id="x")
    elif code == 400:
        url = f"{path}?limit=0"
    elif code == 409:
        url = unnamed(operation, hostname=WEB_1)
        client.request(method, url)
    refused(client.request(method, url, json=body), code)
    if code == 409 and operation == DRAIN:
        client.post(unnamed(UNDRAIN, hostname=WEB_1)).raise_for_status()


@pytest.mark.parametrize("operation", PROBES)
def test_what_would_not_work_just_now_is_not_ready(fleet: Cluster, operation: str) -> None:
    fact, answer = OPERATIONS[operation], fleet.admin.get(split(operation)[1])
    assert answer.status_code == 503
    assert 503 in fact.errors
    assert answer.json()["error"]
    assert fact.answer is not None
    holds(fact.answer, answer.json())


def test_what_needs_the_broker_fails_without_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Cluster(tmp_path_factory.mktemp("surface"), [NodePlan(WEB_1)]) as cluster:
        waiting = waiting_machine(cluster)
        cluster.broker.stop()

        def asked(operation: str) -> httpx.Response:
            fact, (method, _) = OPERATIONS[operation], split(operation)
            body = {"image": "nginx"} if fact.body and fact.body.schema.get("required") else None
            hostname = waiting if operation in (ACCEPT, REJECT) else WEB_1
            return cluster.admin.request(method, unnamed(operation, hostname=hostname), json=body)

        needing = [operation for operation in GOOD if 500 in OPERATIONS[operation].errors]
        # Most of them wait for the broker for some seconds, which they can do together.
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(asked, needing))
        for operation, answer in zip(needing, answers, strict=True):
            fact = OPERATIONS[operation]
            if operation in FROM_MEMORY:
                assert answer.status_code == fact.success.code
            else:
                assert answer.status_code == 500, answer.text
                error_body(answer.content, 500)
