"""A new operation's command and client method are made from its signature."""

import json
from types import ModuleType

import pytest

from tests.system.operations.sources import OLD, UNKNOWN
from tests.testing.cluster import WEB_1, WEB_2, Cluster
from tests.testing.process import TowlineProcess
from towline.client import ApiError, AsyncClient, Client


def towline(
    extended: Cluster, env: dict[str, str], *arguments: str, status: int = 0
) -> TowlineProcess:
    """Run a command against the controller, and check its exit status."""
    process = TowlineProcess(
        *arguments,
        logs=extended.directory,
        name=f"towline-{len(list(extended.directory.glob('towline-*.out')))}",
        env=env | {"TOWLINE_URL": extended.url, "TOWLINE_TOKEN": extended.token("admin")},
    )
    with process:
        assert process.wait() == status, process.tail()
    return process


def test_the_client_calls_it_and_has_its_result(
    extended: Cluster, modules: tuple[ModuleType, ModuleType]
) -> None:
    signals, ships = modules
    with Client(extended.url, extended.token("admin")) as client:
        job = client.run(signals.hoist, on="_all", text="ahoy")
        course = client.run(ships.course, on=WEB_1, knots=12)
        cabin = client.run(ships.assign, on=WEB_1, name="fram", berth=2, guests=["Ann"])
        struck = client.run(ships.bell, on=WEB_1, name="client")
        with pytest.raises(ApiError, match="nobody wants to go aboard"):
            client.run(ships.assign, on=WEB_1, name="mutinous", berth=1)
        with pytest.raises(ApiError, match="knots"):
            client.run(ships.course, on=WEB_1, knots=41)
    values = {result.hostname: result.value for result in job.results}
    assert values == {
        **{name: signals.Hoisted(f"{name}: AHOY") for name in (WEB_1, WEB_2)},
        OLD: None,
    }
    assert job.done
    assert not job.succeeded
    assert course.results[0].value == ships.Course("north", 12)
    assert cabin.results[0].value == ships.Cabin("fram", 2, ["Ann"])
    assert struck.results[0].value == ships.Struck(1)


async def test_the_client_for_asyncio_calls_it_too(
    extended: Cluster, modules: tuple[ModuleType, ModuleType]
) -> None:
    signals, _ = modules
    async with AsyncClient(extended.url, extended.token("admin")) as client:
        job = await client.run(signals.hoist, on=WEB_2, text="ahoy")
    assert job.succeeded
    assert job.results[0].value == signals.Hoisted(f"{WEB_2}: AHOY")


def test_it_is_a_command(extended: Cluster, env: dict[str, str]) -> None:
    process = towline(extended, env, "signal", "hoist", "ahoy", "--on", WEB_1, "-o", "json")
    assert json.loads(process.stdout)["results"] == [
        {
            **{"hostname": WEB_1, "machine_id": extended.machine_id(WEB_1)},
            **{"status": "ok", "flags": f"{WEB_1}: AHOY"},
        }
    ]
    assert process.stderr == ""


def test_its_command_shows_each_node_and_fails_where_one_skipped_it(
    extended: Cluster, env: dict[str, str]
) -> None:
    process = towline(extended, env, "signal", "hoist", "ahoy", "--on", "_all", status=1)
    printed, why = process.stdout.split("\n\n")
    summary, head, *rows = printed.splitlines()
    assert summary.startswith("2 ok, 1 skipped")
    assert head.split() == ["NODE", "STATUS", "FLAGS"]
    assert [row.split()[:2] for row in rows] == [[OLD, "skipped"], [WEB_1, "ok"], [WEB_2, "ok"]]
    assert f"{WEB_1}: AHOY" in rows[1]
    assert UNKNOWN in " ".join(why.split())


def test_its_command_has_options_for_what_has_a_default(
    extended: Cluster, env: dict[str, str]
) -> None:
    course = towline(extended, env, "ship", "course", "--knots", "12", "--on", WEB_1, "-o", "json")
    (result,) = json.loads(course.stdout)["results"]
    assert (result["heading"], result["knots"]) == ("north", 12)
    assign = ("ship", "assign", "fram", "7", "--guests", "Ann", "--guests", "Bob")
    cabin = towline(extended, env, *assign, "--on", WEB_1, "-o", "json")
    (result,) = json.loads(cabin.stdout)["results"]
    assert (result["name"], result["berth"], result["guests"]) == ("fram", 7, ["Ann", "Bob"])


def test_its_command_takes_a_fact_for_a_choice(extended: Cluster, env: dict[str, str]) -> None:
    course = ("ship", "course", "--on", WEB_1, "-o", "json", "--heading")
    (result,) = json.loads(towline(extended, env, *course, "@fact.custom.wind-from").stdout)[
        "results"
    ]
    assert result["heading"] == "south"
    (result,) = json.loads(towline(extended, env, *course, "@fact.hostname", status=1).stdout)[
        "results"
    ]
    assert "heading" in result["error"]


def test_its_command_refuses_what_does_not_fit_the_signature(
    extended: Cluster, env: dict[str, str]
) -> None:
    before = extended.jobs_made()
    for arguments, status, word in (
        (["signal", "hoist", "--on", WEB_1], 2, "TEXT"),
        (["ship", "course", "--knots", "fast", "--on", WEB_1], 2, "fast"),
        (["ship", "course", "--heading", "east", "--on", WEB_1], 2, "north"),
        (["ship", "course", "--knots", "41", "--on", WEB_1], 2, "knots"),
        (["ship", "course", "--speed", "1", "--on", WEB_1], 2, "--speed"),
    ):
        process = towline(extended, env, *arguments, status=status)
        assert word in process.stderr
        assert process.stdout == ""
    assert extended.jobs_made() == before


def test_help_shows_it(extended: Cluster, env: dict[str, str]) -> None:
    assert "signal" in towline(extended, env, "--help").stdout
    assert "Hoist a text in flags." in towline(extended, env, "signal", "--help").stdout
    shown = towline(extended, env, "ship", "course", "--help").stdout
    assert "--knots" in shown
    assert "[north|south]" in shown


def test_a_command_line_without_the_setting_does_not_have_it(extended: Cluster) -> None:
    process = towline(extended, {}, "signal", "hoist", "ahoy", "--on", WEB_1, status=2)
    assert "'signal'" in process.stderr
