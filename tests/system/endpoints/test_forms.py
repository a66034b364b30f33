"""Bodies of parts, byte by byte: what no HTTP library would send."""

import httpx
import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster

KIND = "multipart/form-data; boundary=B"
END = b"--B--\r\n"


def part(name: bytes, content: bytes, more: bytes = b"") -> bytes:
    """Return one part, with `more` behind its name."""
    head = b'--B\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n' % (name, more)
    return head + content + b"\r\n"


CARGO = part(b"cargo", b"123", b'; filename="tea"')


@pytest.fixture
def http(port: Cluster) -> httpx.Client:
    """Requests of somebody who may do everything."""
    return port.client(port.token("admin"))


def sent(http: httpx.Client, body: bytes, kind: str = KIND) -> httpx.Response:
    """Stow the cargo that a body has."""
    return http.post("/harbour/fram/hold", content=body, headers={"Content-Type": kind})


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (CARGO + part(b"label", b"caf\xe9") + END, "part 'label'"),
        (CARGO + part(b"lab\xe9l", b"x") + END, "name of a part"),
        (part(b"cargo", b"123", b'; filename="\xe9"') + END, "filename of the part 'cargo'"),
    ],
)
def test_what_is_not_utf_8_is_refused_and_named(http: httpx.Client, body: bytes, word: str) -> None:
    said = refused(sent(http, body), 400)
    assert word in said
    assert "UTF-8" in said


@pytest.mark.parametrize(
    "charset", ["latin-1", "undefined", "idna", "punycode", "utf-16", "zlib", "none"]
)
def test_another_charset_is_refused(http: httpx.Client, charset: str) -> None:
    # Python knows many, some of which take minutes for a megabyte.
    body = CARGO + part(b"label", b"a-" + b"a" * 900_000) + END
    said = refused(sent(http, body, f"{KIND}; charset={charset}"), 415)
    assert charset in said
    assert "UTF-8" in said


def test_the_charset_may_be_named(http: httpx.Client) -> None:
    body = CARGO + part(b"label", "café".encode()) + END
    for named in ("", "; charset=utf-8", '; charset="UTF-8"'):
        assert sent(http, body, KIND + named).json()["label"] == "café"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        CARGO,
        CARGO + b"--B",
        CARGO + part(b"label", b"x")[:-2],
        CARGO + b'--B\r\nContent-Disposition: form-data; name="label"\r\n',
    ],
)
def test_parts_without_an_end_are_refused(http: httpx.Client, body: bytes) -> None:
    assert "ends before" in refused(sent(http, body), 400)


@pytest.mark.parametrize(
    ("filename", "file"),
    [
        ("tea", "tea"),
        ("../../etc/passwd", "passwd"),
        ("/tea", "tea"),
        ("", ""),
        ("naïve.txt", "naïve.txt"),
        ("..", None),
        ("a/..", None),
        ("a\x00b", None),
        ("a\x1b[31mb", None),
        ("a\u202eb", None),
    ],
)
def test_a_filename_is_no_path(http: httpx.Client, filename: str, file: str | None) -> None:
    answer = sent(http, part(b"cargo", b"1", f'; filename="{filename}"'.encode()) + END)
    if file is None:
        assert "filename" in refused(answer, 400)
    else:
        assert answer.json()["file"] == file
