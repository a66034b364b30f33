"""What is asked of a long audit goes through no table: each question is answered by an index."""

from pathlib import Path

import msgspec
import pytest

from tests.testing.audit import VERIFIER, Store, entry_of
from towline.controller.audit.archive import Archive, Filter
from towline.controller.jobs.index import Index

COUNT = 40


@pytest.fixture
def index(tmp_path: Path) -> Index:
    made = Index(tmp_path / "index.sqlite")
    store = Store()
    for number in range(COUNT):
        store.add("ab", 1, moment=1_700_000_000.0 + number)
        entry = msgspec.structs.replace(
            entry_of(store.groups[-1]),
            caller=f"caller {number % 4}",
            operation=f"job.{number % 3}",
            status=200 + number % 2,
            job="" if number % 5 else f"{number:08}-0000-0000-0000-000000000000",
        )
        made.add_audit(number + 1, [entry])
    made.flush()
    return made


FILTERS = {
    Filter(): COUNT,
    Filter(caller="caller 1"): 10,
    Filter(operation="job.2"): 13,
    Filter(status=201): 20,
    Filter(caller="caller 1", status=201): 10,
    Filter(operation="job.0", status=200): 7,
    Filter(job="00000005-0000-0000-0000-000000000000"): 1,
    Filter(since=1_700_000_030.0): 10,
    Filter(until=1_700_000_010.0): 10,
    Filter(since=1_700_000_010.0, until=1_700_000_020.0, caller="nobody"): 0,
}


@pytest.mark.parametrize(("wanted", "count"), FILTERS.items(), ids=map(repr, FILTERS))
async def test_lists_of_the_audit_come_from_an_index(
    index: Index, wanted: Filter, count: int
) -> None:
    archive = Archive(None, index, None, VERIFIER, 60.0)  # type: ignore[arg-type]
    asked: list[str] = []
    index._database.set_trace_callback(asked.append)
    assert archive.count(wanted) == count
    exported = await archive.export(wanted, most=1000)
    assert len(exported) == count
    assert exported == sorted(exported, key=lambda each: each.number, reverse=True)
    assert archive.entries(wanted, limit=3, offset=2) == exported[2:5]
    assert archive.without_entry(2e9, 100) == []
    index._database.set_trace_callback(None)
    for question in asked:
        for _, _, _, step in index.query(f"EXPLAIN QUERY PLAN {question}"):
            # In the order of the table it ends at the first that are asked for.
            ends = "WHERE" not in question or "WHERE TRUE ORDER BY place" in question
            assert "SCAN" not in step or "COVERING INDEX" in step or ends, (question, step)
