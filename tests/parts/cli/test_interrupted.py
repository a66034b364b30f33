"""Whenever a command is interrupted, it says which job there is, or may be, and how to go on."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.process import TowlineProcess, wait_until

JOB_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
SENT, ANSWERED = "sent", "answered"


class Held:
    """A controller that takes requests, and never answers one but the first to make a job.

    Attributes:
        keys: the `Idempotency-Key` of each request for a job.
        asked: how many requests there were.

    Args:
        answers: whether it answers requests for a job, which goes on then.
    """

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.keys: list[str] = []
        self.asked = 0
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        for each in (self._socket, *self._connections):
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    received = connection.recv(65536)
                    if not received:
                        return
                    head += received
                self.asked += 1
                key = re.search(rb"(?i)idempotency-key: (\S+)", head)
                if key is None:
                    continue
                self.keys.append(key[1].decode())
                if self._answers:
                    results = [{"hostname": "web-01", "status": "running"}]
                    body = json.dumps({"job_id": self.keys[-1], "results": results}).encode()
                    connection.sendall(
                        b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
                    )


@contextlib.contextmanager
def pulling(directory: Path, url: str, *images: str) -> Iterator[TowlineProcess]:
    with TowlineProcess(
        *("pull", *images, "--on", "web-01", "--url", url, "--state", str(directory)),
        logs=directory,
        env={"TOWLINE_TOKEN": "a.b.c"},
    ) as command:
        yield command


@pytest.mark.parametrize(
    ("moment", "number", "status"),
    [
        (SENT, signal.SIGINT, 130),
        (SENT, signal.SIGTERM, 143),
        (SENT, signal.SIGHUP, 129),
        (ANSWERED, signal.SIGINT, 130),
    ],
    ids=str,
)
def test_a_signal_leaves_no_job_that_nobody_can_name(
    tmp_path: Path, moment: str, number: signal.Signals, status: int
) -> None:
    controller = Held(answers=moment == ANSWERED)
    asked = 2 if moment == ANSWERED else 1
    with contextlib.closing(controller), pulling(tmp_path, controller.url, "nginx") as command:
        wait_until(lambda: controller.asked >= asked)
        command.signal(number)
        assert command.wait() == status
    (job,) = controller.keys
    assert f"towline job {job} --follow shows it" in command.stderr
    assert f"towline cancel {job} stops it" in command.stderr
    assert "Traceback" not in command.stderr
    doubt = f"it is not known whether job {job} was made"
    assert (doubt in command.stderr) is (moment == SENT)


def test_an_interrupt_before_there_is_a_connection_names_the_job_that_may_be(
    tmp_path: Path,
) -> None:
    with socket.socket() as listener, contextlib.ExitStack() as full:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # A queue of one that nobody accepts from: further connections wait.
        for _ in range(2):
            each = full.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        with pulling(tmp_path, f"http://127.0.0.1:{port}", "nginx") as command:
            wait_until(lambda: re.fullmatch(f"job {JOB_ID}\n", command.stderr) is not None)
            command.signal(signal.SIGINT)
            assert command.wait() == 130
    assert re.search(rf"towline job {JOB_ID} --follow shows it", command.stderr)


def test_of_several_images_all_jobs_are_named_and_what_was_not_asked_for(tmp_path: Path) -> None:
    controller = Held(answers=False)
    images = [f"image-{number}" for number in range(10)]
    with contextlib.closing(controller), pulling(tmp_path, controller.url, *images) as command:
        # So many at a time.
        wait_until(lambda: len(controller.keys) == 8)
        command.signal(signal.SIGINT)
        assert command.wait() == 130
    assert "8 jobs go on, if they were made:\n" in command.stderr
    named = re.findall(rf"^  ({JOB_ID})  image-\d$", command.stderr, re.MULTILINE)
    assert sorted(named) == sorted(controller.keys)
    assert "2 not asked for:\n  image-8\n  image-9\n" in command.stderr


def test_an_interrupted_cancel_says_where_to_look(tmp_path: Path) -> None:
    controller = Held(answers=False)
    job = "0199a0c0-0000-7000-8000-000000000001"
    where = ("--url", controller.url, "--token", "a.b.c", "--state", str(tmp_path))
    with (
        contextlib.closing(controller),
        TowlineProcess("cancel", job, *where, logs=tmp_path) as command,
    ):
        wait_until(lambda: controller.asked == 1)
        command.signal(signal.SIGTERM)
        assert command.wait() == 143
    assert f"it is not known whether job {job} was stopped" in command.stderr
