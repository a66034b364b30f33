"""Texts that people write, whatever is in them: read, or refused as the function says."""

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st

from towline.controller.jobs.streams import Reached
from towline.controller.permissions import common, covers, parse_grant
from towline.errors import InvalidConfiguration, InvalidRequest
from towline.options import Preference
from towline.runtime.registries import Registries
from towline.units import Share, parse_duration, parse_share, parse_size
from towline.wire.fact_references import refers, resolve
from towline.wire.pattern import parse_nodes
from towline.wire.platform import InvalidPlatform, Platform
from towline.wire.reference import InvalidReference, parse_registry
from towline.wire.rollout import OPTIONS, Waves
from towline.wire.target import InvalidTarget

COUNTS = st.integers(0, 10**9 - 1)
PLACES = st.integers(0, 10**18 - 1)
WRITTEN = st.text() | st.text("abc019.,:=*@/[]-_% \t\n\0é", max_size=40)


@given(st.lists(PLACES, min_size=2, max_size=2), st.lists(COUNTS, min_size=2, max_size=2), COUNTS)
def test_a_place_of_a_stream_reads_as_it_was_written(
    places: list[int], sent: list[int], begun: int
) -> None:
    for ended in (False, True):
        reached = Reached(places, sent, begun, ended=ended)
        read = Reached.read(str(reached))
        assert (read.places, read.sent, read.begun) == (reached.places, reached.sent, begun)
        assert read.ended is ended


@given(WRITTEN | st.lists(st.sampled_from(["1", "23", ".", "-", "+", "-end"])).map("".join))
@example("٣-٣")
def test_any_place_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert Reached.read(str(Reached.read(text))).places


@given(WRITTEN)
@example("1" * 400)
@example("9" * 400 + "%")
def test_any_duration_size_and_share_is_read_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_share):
        found: float | Share | None = None
        with contextlib.suppress(ValueError):
            found = parse(text)
        assert found is None or isinstance(found, Share) or found >= 0


@given(WRITTEN)
def test_any_platform_is_read_and_reads_again_to_the_same_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidPlatform):
        found = Platform.parse(text)
        assert Platform.parse(str(found)) == found


@given(
    st.dictionaries(
        st.sampled_from(OPTIONS), WRITTEN | st.sampled_from(["0", "1", "10%", "101%", " 5 "])
    )
)
def test_any_waves_are_read_or_a_value_error(given_options: dict[str, str]) -> None:
    with contextlib.suppress(ValueError):
        assert (Waves.of(given_options) is None) == (not given_options)


@given(WRITTEN)
def test_any_pattern_of_nodes_and_of_registries_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidTarget):
        assert parse_nodes(text).text == text
    with contextlib.suppress(InvalidConfiguration):
        assert Registries.of([text]).patterns


@given(WRITTEN)
def test_any_registry_is_read_and_reads_again_to_the_same_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidReference):
        found = parse_registry(text)
        assert parse_registry(found) == found


@given(st.text("abc:@*=,./-é", max_size=40) | WRITTEN, WRITTEN)
def test_any_permission_is_read_or_a_value_error(text: str, other: str) -> None:
    for permission in (text, f"docker:write@{text}", f"docker:write@web-*,image={text}"):
        try:
            grant = parse_grant(permission)
        except ValueError:
            continue
        assert f"{grant.permission}@{grant.scope}" == permission
        assert covers([permission], permission)
        assert common([permission], [grant.permission]) == {permission}
        with contextlib.suppress(ValueError):
            covers([permission], other)


@given(st.lists(WRITTEN | st.sampled_from(["wait=5", "respond-async", 'wait="7"']), max_size=4))
def test_whatever_is_preferred_is_understood_or_ignored(lines: list[str]) -> None:
    preference = Preference(lines)
    assert preference.wait is None or preference.wait >= 0
    assert preference.applied(5.0).isascii()


PARTS = ["@fact.", "hostname", "custom", ".", "rack", "-", "a", "@", "fact", " ", "x9"]
FACTS = {"hostname": "web-01", "custom.rack": "@fact.hostname", "a": ""}


@given(WRITTEN | st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_any_reference_to_a_fact_is_resolved_or_named(text: str) -> None:
    if not refers(text):
        assert resolve(text, FACTS) == text
        return
    with contextlib.suppress(ValueError):
        assert isinstance(resolve(text, FACTS), str)
