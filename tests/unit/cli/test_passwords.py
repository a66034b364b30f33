"""How the command line reads passwords."""

import io
import sys

import pytest

from towline.cli.passwords import read_secret
from towline.errors import InvalidConfiguration


def given(monkeypatch: pytest.MonkeyPatch, raw: bytes, encoding: str = "utf-8") -> None:
    stdin = io.TextIOWrapper(io.BytesIO(raw), encoding=encoding, errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", stdin)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_password_is_all_of_standard_input_whatever_the_locale(
    monkeypatch: pytest.MonkeyPatch, end: str, encoding: str
) -> None:
    given(monkeypatch, f" geheim\u00e4 {end}".encode(), encoding)
    assert read_secret("Password") == " geheim\u00e4 "


@pytest.mark.parametrize(("raw", "named"), [(b"pa\xffss", "not UTF-8"), (b"\n", "no password")])
def test_what_is_no_password_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, raw: bytes, named: str
) -> None:
    given(monkeypatch, raw)
    with pytest.raises(InvalidConfiguration, match=named) as refused:
        read_secret("Password")
    assert "pa" not in refused.value.details
    assert refused.value.__context__ is None or refused.value.__suppress_context__
