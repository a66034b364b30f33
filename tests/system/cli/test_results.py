"""What commands print of jobs and nodes, and their exit status."""

import json
import re
import signal
import time
from pathlib import Path

import pytest

from tests.testing.cluster import DB_1, PULL, WEB_1, WEB_2, Cluster
from tests.testing.command import CommandLine, failed, rows, values, without_ids
from tests.testing.engine import Engine
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.proxy import Answer, Cut, FaultyProxy, Freeze
from tests.testing.registry import PushedImage
from towline.units import show_size


@pytest.mark.parametrize(
    ("target", "statuses", "status"),
    [
        (WEB_1, {WEB_1: "ok"}, 0),
        ("_any", {WEB_1: "ok"}, 0),
        ("group:web.dev", {WEB_1: "ok"}, 0),
        (WEB_2, {WEB_2: "failed"}, 1),
        (DB_1, {DB_1: "skipped"}, 3),
        ("group:web", {WEB_1: "ok", WEB_2: "failed"}, 1),
        ("_all", {WEB_1: "ok", WEB_2: "failed", DB_1: "skipped"}, 1),
    ],
)
def test_the_exit_status_of_a_pull_says_what_became_of_it(
    towline: CommandLine, image: PushedImage, target: str, statuses: dict[str, str], status: int
) -> None:
    done = towline("pull", image.reference, "--on", target, "--retries", "0")
    printed, *_ = done.stdout.split("\n\n")
    if len(statuses) == 1:
        ((node, became),) = statuses.items()
        shown = values(printed)
        assert (shown["node"], shown["status"].split(",")[0]) == (node, became)
    else:
        summary, _, table = printed.partition("\n")
        assert {row["NODE"]: row["STATUS"] for row in rows(table)} == statuses
        assert all(f" {became}" in summary for became in statuses.values())
    assert done.status == status
    assert without_ids(done.stderr) == ""


def test_a_pull_prints_what_each_node_has(
    towline: CommandLine, engine: Engine, image: PushedImage
) -> None:
    done = towline("docker", "pull", image.reference, "--on", "group:web", "--retries", "0")
    found = engine.image(image.reference)
    assert found is not None
    printed, failures = done.stdout.split("\n\n")
    summary, _, table = printed.partition("\n")
    assert summary.startswith(f"1 ok (1 changed), 1 failed · {image.digest[:19]} · ")
    good, bad = rows(table)
    assert good == {
        "NODE": WEB_1,
        "STATUS": "ok",
        "CHANGED": "yes",
        "IMAGE ID": found["Id"][:19],
        "SIZE": show_size(found["Size"]),
        "TAG": "1.0",
    }
    assert bad["NODE"] == WEB_2
    assert failures.splitlines()[0] == f"failed: {WEB_2}"
    assert "cannot connect" in failures
    again = values(towline("pull", image.reference, "--on", WEB_1, "--no-trunc").stdout)
    assert again.pop("status").startswith("ok, unchanged, ")
    assert again == {
        **{"node": WEB_1, "image id": found["Id"], "size": good["SIZE"]},
        **{"tag": "1.0", "digest": image.digest},
    }


def test_json_is_what_the_api_answers_and_nothing_else(
    mixed: Cluster, towline: CommandLine, image: PushedImage
) -> None:
    done = towline("pull", image.reference, "--on", "_all", "-o", "json", "--retries", "0")
    assert (done.status, done.stderr) == (1, "")
    said = json.loads(done.stdout)
    job = mixed.job(said["job_id"])
    assert said.keys() == {"job_id", "results"}
    by_name = {result["hostname"]: result for result in said["results"]}
    assert by_name == {result["hostname"]: result for result in job["results"]}

    assert json.loads(towline("job", job["id"], "-o", "json").stdout) == job
    nodes = json.loads(towline("nodes", "--output", "json").stdout)
    assert {node["hostname"]: node["machine_id"] for node in nodes} == {
        name: (mixed.node(name) or {})["machine_id"] for name in (WEB_1, WEB_2, DB_1)
    }
    asked = ("pull", image.reference, "--on", WEB_2, "-o", "json", "--retries", "0")
    single = json.loads(towline(*asked).stdout)
    assert mixed.job(single["job_id"])["results"] == single["results"]


def test_reads_print_what_each_node_says(towline: CommandLine) -> None:
    done = towline("node", "load", "--on", "_all")
    assert (done.status, done.stderr) == (0, "")
    assert {row["NODE"] for row in rows(done.stdout)} == {WEB_1, WEB_2, DB_1}
    assert all(row["LOAD AVERAGE"].startswith("1min ") for row in rows(done.stdout))


def test_containers_are_a_row_each(
    towline: CommandLine, engine: Engine, image: PushedImage
) -> None:
    towline("pull", image.reference, "--on", WEB_1)
    asked = ("docker", "list", "--on", WEB_1, "--state", "stopped")
    with engine.containers(image.reference, 2) as created:
        done = towline(*asked)
        one = towline(*asked, "--limit", "1")
        names = towline(*asked, "-q")
    assert (done.status, done.stderr) == (0, "")
    listed = rows(done.stdout)
    assert {row["ID"] for row in listed} >= {each[:12] for each in created}
    assert {(row["NODE"], row["STATE"]) for row in listed} == {(WEB_1, "created")}
    assert len(rows(one.stdout)) == 1
    assert one.stderr == f"{WEB_1} has more than these: --limit shows more\n"
    assert {*names.stdout.split()} >= {*created}


def test_nodes_shows_who_is_there_and_what_does_not_work(towline: CommandLine) -> None:
    done = towline("nodes")
    assert (done.status, done.stderr) == (0, "")
    found = {row["NODE"]: row for row in rows(done.stdout)}
    assert {row["STATE"] for row in found.values()} == {"Ready"}
    assert found[WEB_1]["LABELS"] == "group:web.dev"
    assert "docker does not work" in found[WEB_2]["TROUBLE"]
    assert "docker: cannot connect" in towline("node", "list", "-o", "wide").stdout
    web = towline("node", "list", "--label", "group:web", "-q")
    assert web.stdout.split() == [WEB_1, WEB_2]


def test_a_job_is_shown_node_by_node_and_moment_by_moment(
    mixed: Cluster, towline: CommandLine, image: PushedImage
) -> None:
    answer = mixed.pull("_all", image.reference, retries=0)
    done = towline("job", answer.json()["job_id"])
    assert (done.status, done.stderr) == (0, "")
    head, results, _, moments = done.stdout.split("\n\n")
    shown = values(head)
    assert (shown["job"], shown["status"]) == (answer.json()["job_id"], "partial_failure")
    assert image.reference in shown["operation"]
    assert {row["STATUS"] for row in rows(results.partition("\n")[2])} == {
        *("ok", "failed", "skipped")
    }
    assert [row["EVENT"] for row in rows(moments) if row["NODE"] == WEB_1] == [
        "started",
        "completed",
    ]


def test_of_a_node_that_is_away_it_says_since_when_and_how_to_learn_the_rest(
    mixed: Cluster, towline: CommandLine, image: PushedImage
) -> None:
    agent = mixed.agents[DB_1]
    assert agent.stop() == 0
    mixed.wait_away(DB_1)
    try:
        done = towline("pull", image.reference, "--on", "_all", "--retries", "0")
        printed, why = done.stdout.split("\n\n")
        away = {row["NODE"]: row for row in rows(printed.partition("\n")[2])}[DB_1]
        assert (done.status, away["STATUS"]) == (1, "pending")
        assert f"pending: {DB_1}\n    not reachable since" in why
        said = re.search(r"^not done yet: towline job (\S+) shows the rest\n", done.stderr, re.M)
        assert said is not None
        assert DB_1 in towline("job", said[1]).stdout

        done = towline("node", "load", "--on", "_all")
        assert done.status == 1
        printed, why = done.stdout.split("\n\n")
        assert {row["NODE"] for row in rows(printed)} == {WEB_1, WEB_2}
        assert f"failed: {DB_1}\n    not reachable since" in why
        assert "not reachable since" in failed(towline("node", "load", "--on", DB_1))
        state = {row["NODE"]: row["STATE"] for row in rows(towline("nodes").stdout)}
        assert state[DB_1] == "NotReady"
    finally:
        agent.start()
        mixed.wait_here(DB_1)


@pytest.mark.parametrize("wait", ["0", "1s"])
def test_a_wait_that_runs_out_says_that_the_job_goes_on(
    mixed: Cluster, towline: CommandLine, proxy: FaultyProxy, image: PushedImage, wait: str
) -> None:
    proxy.fault = Freeze(match="images/create")
    done = towline("pull", image.reference, "--on", WEB_1, "--wait", wait)
    assert done.status == 4
    assert values(done.stdout)["status"].startswith(("pending", "running"))
    said = re.search(r"^not done yet: towline job (\S+) shows the rest\n", done.stderr, re.M)
    assert said is not None
    proxy.fault = None
    assert mixed.ended(said[1])["status"] == "completed"
    assert values(towline("job", said[1]).stdout)["status"] == "completed"


def test_an_interrupt_ends_the_command_and_not_the_job(
    mixed: Cluster, proxy: FaultyProxy, image: PushedImage, tmp_path: Path
) -> None:
    asked_before = len(proxy.requests)
    proxy.fault = Freeze(match="images/create")
    command = TowlineProcess(
        *("pull", image.reference, "--on", WEB_1, "--url", mixed.url, "--state", tmp_path),
        logs=tmp_path,
        env={"TOWLINE_TOKEN": mixed.token("write")},
    )
    with command:
        wait_until(lambda: "images/create" in str(proxy.requests[asked_before:]))
        command.signal(signal.SIGINT)
        assert command.wait() == 130
    assert "Traceback" not in command.stderr
    said = re.search(r"towline job (\S+) --follow shows it", command.stderr)
    assert said is not None
    # It goes on; whether its start is stored by now is another matter.
    assert mixed.job(said[1], wait=0)["status"] in ("submitted", "processing")
    proxy.fault = None
    assert mixed.ended(said[1])["status"] == "completed"


def test_a_lost_answer_makes_no_second_job(
    mixed: Cluster, towline: CommandLine, image: PushedImage
) -> None:
    before = mixed.jobs_made()
    with FaultyProxy(int(mixed.url.rpartition(":")[2])) as between:
        between.fault = Cut(match="docker/pull", once=True)
        done = towline("pull", image.reference, "--on", WEB_1, "-q", "--url", between.url)
    assert (done.status, "asking again" in done.stderr) == (0, True)
    assert sum("docker/pull" in asked for asked in between.requests) == 2
    assert mixed.jobs_made() == before + 1
    assert mixed.job(done.stdout.strip())["status"] == "completed"


@pytest.mark.parametrize(
    ("target", "status"), [(WEB_1, 0), (WEB_2, 1), (DB_1, 3), ("group:web", 1)]
)
def test_programs_are_told_by_the_same_exit_status(
    towline: CommandLine, image: PushedImage, target: str, status: int
) -> None:
    done = towline("pull", image.reference, "--on", target, "--retries", "0", "-o", "json")
    assert (done.status, done.stderr) == (status, "")


def test_what_came_from_others_steers_no_terminal(
    mixed: Cluster, towline: CommandLine, proxy: FaultyProxy
) -> None:
    claims = {"sub": "al\x1b[2Jice", "jti": "a", "roles": ["admin"], "exp": time.time() + 3600}
    nobody = mixed.client(mixed.keys.sign(claims))
    assert nobody.get("/job").status_code == 401
    words = json.dumps({"message": "bo\x1b[2Jom"}).encode()
    proxy.fault = Answer(match="images/create", body=words)
    body = {"image": "localhost:1/steering", "retries": 0, "resolve": "each"}
    answer = mixed.admin.post(f"/node/_all/{PULL}", json=body)

    printed = towline("job", answer.json()["job_id"]).stdout
    assert printed.count("bo\N{REPLACEMENT CHARACTER}[2Jom") == 3
    assert all(character.isprintable() for character in printed.replace("\n", ""))
