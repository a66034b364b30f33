import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from towline.runtime import logs

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjaSJ9.c2lnbmF0dXJlLW9mLWl0"
PASSWORD = "hunter2-secret"


SECRETS = {
    "token": JWT,
    "header": f"Authorization: Bearer {JWT}",
    "second line": f"first line\n{JWT}",
    "after a tab": f"tab\t{JWT}",
    "in JSON": f'{{"token":"{JWT}"}}',
    "in a repr": repr(f"first line\n{JWT}"),
    "user and password": f"nats://user:{PASSWORD}@127.0.0.1:4222",
    "password alone": f"https://{PASSWORD}@example.com/v2/",
    "two": f"nats://user:{PASSWORD}@a:1,nats://user:{PASSWORD}@b:2",
    "with an at sign": f"nats://user:x@{PASSWORD}@host:1",
    "with a quote": f"nats://user:it's-{PASSWORD}@host:1",
    "in quotes": f"Get 'https://u:{PASSWORD}@r/v2/': refused",
    "in double quotes": f'Get "https://u:{PASSWORD}@r/v2/": refused',
    "URL in a second line": f"line\nhttps://u:{PASSWORD}@r/",
    "after what is not ASCII": f"é https://u:{PASSWORD}@r/",
}


class Printed:
    """Something that logs only know how to print."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class Settings(msgspec.Struct):
    urls: list[str]


class Written:
    """What has been logged."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def text(self) -> str:
        return self._path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def _restored() -> Iterator[None]:
    """What a test configures ends with it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def written(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    _restored: None,
) -> Iterator[Written]:
    with (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.configure("agent", getattr(request, "param", "debug"))
        yield Written(tmp_path / "stderr")


def get_logger() -> Any:
    return structlog.get_logger()


def raise_from(text: str) -> None:
    try:
        raise OSError(text)
    except OSError as error:
        raise RuntimeError("it broke") from error


def test_each_event_is_one_line_of_json_with_part_level_and_time(written: Written) -> None:
    get_logger().info("task ended", job="0199", milliseconds=1.5, error=None)
    get_logger().warning("engine\naway", reason="a\nb")
    first, second = written.lines()
    assert first.pop("time") <= second.pop("time")
    assert first == {
        **{"part": "agent", "level": "info", "event": "task ended"},
        **{"job": "0199", "milliseconds": 1.5, "error": None},
    }
    assert second["event"] == "engine\naway"


def test_a_traceback_stands_in_the_line_of_its_event(written: Written) -> None:
    try:
        raise_from("no such file")
    except RuntimeError:
        get_logger().exception("operation broke off")
    (line,) = written.lines()
    assert line["level"] == "error"
    assert "OSError: no such file" in line["exception"]
    assert "RuntimeError: it broke" in line["exception"]
    assert "in raise_from" in line["exception"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("WARNING", ["warning", "error"]),
        ("Error", ["error"]),
    ],
    indirect=["written"],
)
def test_what_is_below_the_level_is_left_out(written: Written, expected: list[str]) -> None:
    log = get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("event")
    assert [line["level"] for line in written.lines()] == expected


@pytest.mark.parametrize("level", ["", "loud", "10"])
def test_a_level_that_is_none_is_refused_with_those_that_are(level: str) -> None:
    with pytest.raises(ValueError, match="write debug, info, warning or error") as refused:
        logs.configure("agent", level)
    assert repr(level) in str(refused.value)


@pytest.mark.parametrize("value", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize("place", ["value", "event", "key", "list", "nested", "object", "struct"])
def test_tokens_and_passwords_are_struck_out_wherever_they_stand(
    written: Written, value: str, place: str
) -> None:
    log = get_logger()
    match place:
        case "value":
            log.info("event", value=value)
        case "event":
            log.info(value)
        case "key":
            log.info("event", value={value: 1})
        case "list":
            log.info("event", value=[1, (value,), {value}])
        case "nested":
            log.info("event", value={"a": [{"b": {"c": value}}]})
        case "object":
            log.info("event", value=[Printed(value)])
        case "struct":
            log.info("event", value=Settings([value]))
    text = written.text()
    assert "***" in text
    assert PASSWORD not in text
    assert "eyJ" not in text
    assert json.loads(text)


def test_a_secret_is_struck_out_though_all_else_in_the_line_is_plain(written: Written) -> None:
    # A token's pattern begins at a word's: not so behind the value before it.
    get_logger().info("event", before="word", token=JWT, behind="word")
    (line,) = written.lines()
    assert (line["before"], line["token"], line["behind"]) == ("word", "***", "word")


@pytest.mark.parametrize("secret", [JWT, f"nats://user:{PASSWORD}@127.0.0.1:4222"])
def test_the_texts_of_exceptions_are_struck_out_causes_and_notes_too(
    written: Written, secret: str
) -> None:
    for text in (secret, f"refused:\n{secret}"):
        try:
            raise_from(text)
        except RuntimeError as error:
            error.add_note(text)
            get_logger().exception("request broke off", path="/")
            get_logger().error("task broke off", exc_info=error)
            get_logger().warning("stalls", reason=error.__cause__)
    text = written.text()
    assert text.count("***") >= 10
    assert PASSWORD not in text
    assert "eyJ" not in text


@pytest.mark.parametrize(
    "text",
    [
        "docker.io/library/nginx@sha256:0123",
        "someone@example.com",
        "http://127.0.0.1:8080/job/0199",
        'get "http://a/b" for someone@example.com',
        "https://a/b@c",
        "// and @",
        "eyJ",
        "keyJust.a.word",
        '127.0.0.1 … ü\n\t"quoted"',
    ],
)
def test_what_is_no_secret_is_left_as_it_is(written: Written, text: str) -> None:
    get_logger().info(text, value=text, more=[text, {text: text}])
    (line,) = written.lines()
    assert (line["event"], line["value"], line["more"]) == (text, text, [text, {text: text}])


def test_the_rest_of_a_line_with_a_secret_stays(written: Written) -> None:
    get_logger().info("broker", servers=[f"nats://u:{PASSWORD}@a:1/x"], token=JWT, count=3)
    (line,) = written.lines()
    assert line["servers"] == ["nats://***@a:1/x"]
    assert (line["token"], line["count"]) == ("***", 3)


def test_warnings_of_libraries_are_lines_of_the_same_form(written: Written) -> None:
    library = logging.getLogger("some.library")
    library.info("chatter")
    library.warning("slow: %s", f"https://u:{PASSWORD}@r/")
    try:
        raise_from(JWT)
    except RuntimeError:
        library.exception("broke")
    slow, broke = written.lines()
    assert (slow["event"], slow["level"]) == ("slow: https://***@r/", "warning")
    assert slow["logger"] == "some.library"
    assert (broke["level"], broke["part"]) == ("error", "agent")
    assert "OSError: ***" in broke["exception"]


@pytest.mark.parametrize(
    "value", ["\ud800", b"\xff", 10**30, float("nan"), {1: 2}, {(1, 2): 3}, object(), Exception]
)
def test_nothing_that_is_logged_breaks_the_logger(written: Written, value: object) -> None:
    get_logger().info("event", value=value, nested=[value])
    (line,) = written.lines()
    assert line["event"] == "event"


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("where", ["a full disk", "a pipe that nobody reads"])
def test_a_line_that_cannot_be_written_is_lost_and_ends_nothing(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if where == "a full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        unread, descriptor = os.pipe()
        os.close(unread)
    with open(descriptor, "wb", buffering=0) as file, (tmp_path / "good").open("wb") as good:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(file))
        logs.configure("agent")
        get_logger().error("lost", reason="x" * 100_000)
        logging.getLogger("some.library").error("lost too")
        os.dup2(good.fileno(), file.fileno())
        get_logger().error("written")
    (line,) = (tmp_path / "good").read_text().splitlines()
    assert json.loads(line)["event"] == "written"
