"""Several targets on the command line are one job."""

import json

from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.command import CommandLine, Finished, failed
from tests.testing.process import wait_until


def hostnames(done: Finished) -> set[str]:
    return {row["hostname"] for row in json.loads(done.stdout)["results"]}


def total(mixed: Cluster) -> int:
    found: int = mixed.reader.get("/job").json()["total_items"]
    return found


def test_several_targets_are_one_job_and_so_they_are_for_a_retry(
    mixed: Cluster, towline: CommandLine
) -> None:
    made = total(mixed)
    done = towline("node", "load", "--on", DB_1, "--on", "group:web,!web-02", "-o", "json")
    assert hostnames(done) == {DB_1, WEB_1}
    # A list may be a moment behind what was just answered.
    wait_until(lambda: total(mixed) == made + 1, what="one job more")
    (newest,) = mixed.reader.get("/job", params={"limit": 1}).json()["items"]
    assert newest["target"] == "db-01;group:web,!web-02"
    on = ("--on", "web-*,!web-01", "--on", DB_1)
    foreseen = towline("job", "retry", newest["id"], *on, "--dry-run", "-o", "json")
    assert hostnames(foreseen) == {DB_1, WEB_2}
    again = towline("job", "retry", newest["id"], *on, "-o", "json")
    assert hostnames(again) == {DB_1, WEB_2}
    wait_until(lambda: total(mixed) == made + 2, what="another job")


def test_a_target_that_nothing_has_is_refused_with_what_may_be_meant(towline: CommandLine) -> None:
    assert "Did you mean web-01" in failed(towline("node", "load", "--on", "_all,!web01"), 2)
