"""Jobs are listed by what they are, in pages."""

import pytest

from tests.system.jobs.asking import Ask, job_id
from tests.testing.answers import refused
from tests.testing.cluster import Cluster


def test_jobs_are_listed_by_what_they_are(jobs: Cluster, ask: Ask) -> None:
    done, failed = job_id(ask("_all")), ask("one", body={"fail": True}).headers["Location"][5:]
    page = jobs.reader.get("/job?limit=2").json()
    assert [job["id"] for job in page["items"]] == [failed, done]
    assert page["items"][0]["status"] == "failed"
    assert "is broken" in page["items"][0]["error"]
    assert page["items"][1]["nodes"] == {"ok": 3}
    assert page["total_items"] == sum(page["status_counts"].values())

    def ids(query: str) -> list[str]:
        return [job["id"] for job in jobs.reader.get(f"/job?{query}").json()["items"]]

    assert ids("status=failed")[0] == failed
    assert done in ids("node=two&operation=gate.pass&caller=tests&target=_all&since=1h")
    assert failed not in ids("node=two&limit=100")
    assert ids("caller=nobody") == ids("until=1h") == []


def test_a_job_made_at_one_controller_stands_in_the_list_of_the_other(
    jobs: Cluster, ask: Ask
) -> None:
    job = job_id(ask("one", wait=0))
    other = jobs.others[0]
    # Known at once by its id; listed as soon as the other has folded it.
    assert other.get(f"/job/{job}").status_code == 200
    assert job in [item["id"] for item in other.get("/job").json()["items"]]


def test_pages_go_on_where_the_last_one_ended(jobs: Cluster, ask: Ask) -> None:
    made = [job_id(ask("one")) for _ in range(5)]
    query = "limit=2"
    seen: list[str] = []
    while len(seen) < len(made):
        page = jobs.reader.get(f"/job?{query}").json()
        seen += [job["id"] for job in page["items"]]
        query = f"limit=2&cursor={page['next_cursor']}"
    assert seen[: len(made)] == made[::-1]
    (second,) = jobs.reader.get("/job?limit=1&offset=1").json()["items"]
    assert second["id"] == made[-2]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("status=bad", "status"),
        ("operation=gate.pas", "There is no operation 'gate.pas'. Did you mean gate.pass?"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("offset=-1", "offset"),
        ("cursor=x", "cursor"),
        ("cursor=3&offset=1", "cursor"),
        ("node=nobody", "nobody"),
        ("since=yesterday", "since"),
        ("until=2030-01-01", "until"),
        ("colour=red", "colour"),
        ("limit=1&limit=2", "limit"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(jobs: Cluster, query: str, says: str) -> None:
    answer = jobs.reader.get(f"/job?{query}")
    refused(answer, 400)
    assert says in answer.text
