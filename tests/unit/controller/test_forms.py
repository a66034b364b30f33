"""Bodies with files, as they are read."""

from pathlib import Path

from starlette.requests import Request
from starlette.types import Message

from towline.controller.http import request as reading
from towline.signature import Upload

MIB = 1024**2


def _nameless() -> list[str]:
    """Return the files that this process has open and that stand in no directory."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.endswith("(deleted)")]


async def test_a_file_is_kept_in_memory_and_not_on_a_disk() -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="cargo"; filename="tea"\r\n\r\n'
    pieces = [head, *([b"x" * MIB] * 4), b"\r\n--B--\r\n"]
    before, seen = _nameless(), []

    async def receive() -> Message:
        seen.append(_nameless())
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    headers = [(b"content-type", b"multipart/form-data; boundary=B")]
    request = Request({"type": "http", "headers": headers}, receive)
    fields, files = await reading.form(request, ["cargo"])
    assert (fields, files) == ({}, {"cargo": Upload("tea", b"x" * 4 * MIB)})
    assert seen == [before] * 6
