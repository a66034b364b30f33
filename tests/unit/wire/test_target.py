import doctest
import random
import re
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.wire import target
from towline.wire.target import (
    ALL,
    ANY,
    Hostname,
    InvalidLabel,
    InvalidTarget,
    Label,
    Target,
    is_any,
    is_several,
    means_any,
    parse_hostname,
    parse_label,
    parse_machine_id,
    parse_target,
)
from towline.wire.text import quoted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_any", ANY),
        ("_all", ALL),
        ("web-01", Hostname("web-01")),
        ("Web_01.EU.example.com", Hostname("Web_01.EU.example.com")),
        ("10.0.0.7", Hostname("10.0.0.7")),
        ("a" * 64, Hostname("a" * 64)),
        (f"{'a' * 63}.b", Hostname(f"{'a' * 63}.b")),
        (".".join(["a" * 62] * 4) + ".b", Hostname(".".join(["a" * 62] * 4) + ".b")),
        ("3f2504e04f8941d39a0c0305e82c3301", Hostname("3f2504e04f8941d39a0c0305e82c3301")),
        ("group:web", Label("group", "web")),
        ("group:web.dev.eu", Label("group", "web.dev.eu")),
        ("Rack_2-b:-_.9", Label("Rack_2-b", "-_.9")),
        ("k" * 63 + ":v", Label("k" * 63, "v")),
        ("k:" + ".".join("abcdefghijklmnop"), Label("k", ".".join("abcdefghijklmnop"))),
        ("k:" + "v" * 253, Label("k", "v" * 253)),
    ],
)
def test_a_target_is_one_node_any_all_or_those_with_a_label(text: str, expected: Target) -> None:
    parsed = parse_target(text)
    assert parsed == expected
    assert type(parsed) is type(expected)
    assert str(parsed) == text


@pytest.mark.parametrize(
    ("text", "problem", "mend"),
    [
        ("", "it is empty", "write a hostname, '_any', '_all' or a label such as 'group:web'"),
        ("a" * 256, "it has 256 characters", "use at most 255"),
        ("a" * 5000, "it has 5000 characters", "use at most 255"),
        (".".join(["a" * 63] * 3) + "." + "b" * 62, "it has 254 characters", "use at most 253"),
        ("a" * 65, f"'{'a' * 65}' has 65 characters", "use at most 64"),
        (f"{'a' * 64}.b", f"'{'a' * 64}' has 64 characters", "use at most 63"),
        ("web/01", "it holds '/'", "write a hostname"),
        ("../etc", "it holds '/'", "write a hostname"),
        (">", "it holds '>'", "'_all' or a label"),
        ("group:>", "it holds '>'", "write key:value"),
        ("web 01", "it holds white space (character 4)", "leave that out"),
        ("web\t01", r"it holds the control character '\t' (character 4)", "leave that out"),
        ("web\0", r"it holds the control character '\x00' (character 4)", "leave that out"),
        ("wéb", "'é', which is not ASCII (character 2)", "leave that out"),
        ("w\u0435b", "which is not ASCII (character 2)", "leave that out"),
        ("_web", "names that begin with '_' are reserved", "write '_any', '_all' or a hostname"),
        ("_ANY", "names that begin with '_' are reserved", "write '_any', '_all' or a hostname"),
        ("_", "names that begin with '_' are reserved", "write '_any', '_all' or a hostname"),
        (".", "a part between its dots is empty", "leave out the extra '.'"),
        ("web..eu", "a part between its dots is empty", "leave out the extra '.'"),
        ("web.eu.", "a part between its dots is empty", "leave out the extra '.'"),
        ("-web", "'-web' is not allowed as a name", "a letter or digit first and last"),
        ("web-", "'web-' is not allowed as a name", "a letter or digit first and last"),
        ("web._eu", "'_eu' is not allowed as a name", "a letter or digit first and last"),
        ("web%2F01", "'web%2F01' is not allowed as a name", "use letters, digits, '-' and '_'"),
    ],
)
def test_a_refused_target_is_shown_with_what_is_wrong_and_how_to_mend_it(
    text: str, problem: str, mend: str
) -> None:
    with pytest.raises(InvalidTarget) as refusal:
        parse_target(text)
    message = str(refusal.value)
    assert re.match(rf"{re.escape(quoted(text))} is not a (target|label): ", message)
    assert problem in message
    assert mend in message


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("web-*", "web-*"),
        ("web-*;db-01", "db-01;web-*"),
        ("site:ber,group:web", "group:web,site:ber"),
        ("a;b,!c,d", "a;b,d,!c"),
        ("_all,!rack:r3", "_all,!rack:r3"),
        ("!web-03,web-*,!rack:r3", "web-*,!rack:r3,!web-03"),
        ("group:web,_any", "_any,group:web"),
        ("_any,b;a,_any", "_any,a;_any,b"),
        ("_any,!a", "_any,!a"),
        ("_any,a", "_any,a"),
        ("_all;a", "_all;a"),
        ("rack:r*.u1", "rack:r*.u1"),
        ("a,!a", "a,!a"),
    ],
)
def test_an_expression_has_one_text_in_whichever_order_it_is_written(
    text: str, canonical: str
) -> None:
    parsed = parse_target(text)
    assert str(parsed) == canonical
    assert parse_target(canonical) == parsed
    assert means_any(canonical) == is_any(parsed) == ("_any" in text)
    assert is_several(parsed) == ("_any" not in text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web-01;web-01", Hostname("web-01")),
        ("web-01,_all", Hostname("web-01")),
        ("group:web,_all", Label("group", "web")),
        ("rack:r*", Label("rack", "r*")),
        ("_any,_all", ANY),
        ("_all;_all", ALL),
    ],
)
def test_what_could_be_written_without_signs_is_that(text: str, expected: Target) -> None:
    parsed = parse_target(text)
    assert parsed == expected
    assert type(parsed) is type(expected)


@pytest.mark.parametrize(
    ("text", "problem", "mend"),
    [
        (";;", "something is missing", "leave one out"),
        (",", "something is missing", "leave one out"),
        ("a,", "something is missing", "leave one out"),
        ("!", "'!' excludes no names", "write !HOSTNAME or !LABEL"),
        ("_all,!_all", "'!_all' excludes no names", "write !HOSTNAME or !LABEL"),
        ("!_any", "'!_any' excludes no names", "write !HOSTNAME or !LABEL"),
        ("_all,!!a", "'!a' is not allowed as a name", "use letters, digits, '-' and '_'"),
        ("!rack:r3", "'!rack:r3' only excludes", "write of which nodes: _all,!rack:r3"),
        ("a;!b", "'!b' only excludes", "write of which nodes: _all,!b"),
        ("_any;_any", "'_any' means exactly one node", "once in each part"),
        ("_any,a;_any,a", "'_any' means exactly one node", "once in each part"),
        ("_any,a;b", "'_any' means exactly one node", "once in each part"),
        ("_any,_any", "'_any' stands twice", "leave one out"),
        ("*", "it would be every node", "write '_all'"),
        ("_all,!**", "it would be every node", "write '_all'"),
        ("_a*", "names that begin with '_' are reserved", "write '_any', '_all' or a hostname"),
        ("-*", "'-x' is not allowed as a name", "a letter or digit first and last"),
        ("*:web", "its key '*' is not allowed", "use letters, digits, '-' and '_'"),
        ("group:*.", "a segment between its value's dots is empty", "leave out the extra '.'"),
        ("a, b", "it holds white space (character 3)", "leave that out"),
        ("wéb,db", "'é', which is not ASCII (character 2)", "leave that out"),
        ("a/b,c", "it holds '/'", "write a hostname"),
        ("a=b,c", "it has no ':'", "write key:value in place of '='"),
        (";".join(["a"] * 65), "it has 65 parts", "use at most 64"),
        (";".join(["a*"] * 9), "9 of its parts hold '*'", "use at most 8"),
        ("a*" * 1001, "it has 2002 characters", "use at most 2000"),
        (",".join(["a" * 80] * 30), "it has 2429 characters", "use at most 2000"),
    ],
)
def test_a_refused_expression_is_shown_with_what_is_wrong_and_how_to_mend_it(
    text: str, problem: str, mend: str
) -> None:
    with pytest.raises(InvalidTarget) as refusal:
        parse_target(text)
    message = str(refusal.value)
    assert message.startswith(f"{quoted(text)} is not a target: ")
    assert problem in message
    assert mend in message
    assert len(message) < 400


@pytest.mark.parametrize("parse", [parse_target, parse_label])
@pytest.mark.parametrize(
    ("text", "problem", "mend"),
    [
        ("group=web", "it has no ':'", "write key:value in place of '='"),
        ("group:a=b", "'a=b' is not allowed in its value", "use letters, digits, '-' and '_'"),
        (":web", "it has no key before the ':'", "write key:value"),
        ("group:", "it has no value after the ':'", "write key:value"),
        (":", "it has no key before the ':'", "write key:value"),
        ("k" * 64 + ":v", "its key has 64 characters", "use at most 63"),
        ("-k:v", "its key '-k' is not allowed", "a letter or digit first and last"),
        ("_k:v", "its key '_k' is not allowed", "a letter or digit first and last"),
        ("k_:v", "its key 'k_' is not allowed", "a letter or digit first and last"),
        ("a.b:v", "its key 'a.b' is not allowed", "use letters, digits, '-' and '_'"),
        ("k:.a", "a segment between its value's dots is empty", "leave out the extra '.'"),
        ("k:a.", "a segment between its value's dots is empty", "leave out the extra '.'"),
        ("k:a..b", "a segment between its value's dots is empty", "leave out the extra '.'"),
        ("k:a:b", "'a:b' is not allowed in its value", "joined by dots"),
        ("k:a$b", "'a$b' is not allowed in its value", "joined by dots"),
        ("k:" + ".".join("abcdefghijklmnopq"), "its value has 17 segments", "use at most 16"),
        ("k:" + "v" * 254, "it has 256 characters", "use at most 255"),
    ],
)
def test_a_refused_label_is_shown_with_what_is_wrong_and_how_to_mend_it(
    parse: Callable[[str], object], text: str, problem: str, mend: str
) -> None:
    with pytest.raises(InvalidLabel) as refusal:
        parse(text)
    message = str(refusal.value)
    assert message.startswith(f"{quoted(text)} is not a label: ")
    assert problem in message
    assert mend in message


@pytest.mark.parametrize("text", ["", "group", "_all", "a/b", "k:*", "k:a b", "k:é"])
def test_what_has_no_key_and_value_is_no_label(text: str) -> None:
    with pytest.raises(InvalidLabel, match="is not a label"):
        parse_label(text)


@pytest.mark.parametrize("text", ["_any", "_all", "group:web", "group=web"])
def test_a_node_cannot_be_named_like_another_target(text: str) -> None:
    with pytest.raises(InvalidTarget, match="is not a target"):
        parse_hostname(text)


@pytest.mark.parametrize("text", ["", "a.b", "_a", "-a", "a-", "a" * 65, "a:b", "a b", "*"])
def test_a_machine_id_is_a_name_without_dots(text: str) -> None:
    with pytest.raises(InvalidTarget, match="is not a machine id"):
        parse_machine_id(text)


@pytest.mark.parametrize(
    ("selector", "carried"),
    [
        ("group:web", "group:web"),
        ("group:web", "group:web.dev.eu"),
        ("group:web.dev", "group:web.dev.eu"),
        ("rack:r*", "rack:r12"),
        ("rack:r*", "rack:r12.u3"),
        ("rack:*.u3", "rack:r12.u3.left"),
        ("rack:*", "rack:x"),
    ],
)
def test_a_label_matches_itself_and_what_is_below_it(selector: str, carried: str) -> None:
    label = parse_target(selector)
    assert isinstance(label, Label)
    assert label.matches(parse_label(carried))


@pytest.mark.parametrize(
    ("selector", "carried"),
    [
        ("rack:r*3", "rack:r1.u3"),
        ("rack:*.*", "rack:r12"),
        ("rack:r*", "row:r12"),
        ("group:web", "group:website"),
        ("group:web", "group:dev.web"),
        ("group:web", "role:web"),
        ("group:web", "group:Web"),
        ("group:web.dev", "group:web"),
        ("group:web.dev", "group:web.development"),
    ],
)
def test_a_label_matches_by_whole_segments_only(selector: str, carried: str) -> None:
    label = parse_target(selector)
    assert isinstance(label, Label)
    assert not label.matches(parse_label(carried))


@pytest.mark.parametrize(
    "unit", ["a", "a-", "a.", "a:", "k:.", "=", "*", ";", "a,", "!", "\0", "é"]
)
def test_a_megabyte_is_refused_at_once(unit: str) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidTarget) as refusal:
        parse_target(unit * (1_000_000 // len(unit)))
    assert time.perf_counter() - started < 0.5  # takes some milliseconds at worst
    assert len(str(refusal.value)) < 1000


def test_the_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(target)
    assert results.attempted
    assert not results.failed


# The rules once more, each as one expression, to hold the parser against.

SIGNS = {*";,!*"}
NAME = "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,%d}[A-Za-z0-9])?"
DOTTED = rf"{NAME % 61}(?:\.{NAME % 61})*"
HOSTNAME = re.compile(rf"(?={DOTTED}\Z).{{1,253}}|{NAME % 62}")
MACHINE_ID = re.compile(NAME % 62)
LABEL = re.compile(rf"(?=.{{3,255}}\Z)({NAME % 61}):([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){{0,15}})")


def by_the_rules(text: str) -> Target | None:
    """What the forms without signs mean."""
    if text == "_any":
        return ANY
    if text == "_all":
        return ALL
    if label := LABEL.fullmatch(text):
        return Label(label[1], label[2])
    return Hostname(text) if HOSTNAME.fullmatch(text) else None


def parsed_or_none(text: str) -> Target | None:
    try:
        return parse_target(text)
    except InvalidTarget:
        return None


SEGMENTS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=14)
NAMES = st.from_regex(NAME % 61, fullmatch=True)
VALUES = st.lists(SEGMENTS, min_size=1, max_size=12).map(".".join)
LABELS = st.builds(Label, NAMES, VALUES)
# Few letters and segments, so that one is often a prefix of another.
KINDRED = st.builds(
    Label,
    st.sampled_from("kl"),
    st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=4).map(".".join),
)
HOSTNAMES = st.lists(NAMES, min_size=1, max_size=3).map(".".join).map(Hostname)
TARGETS = st.sampled_from([ANY, ALL]) | HOSTNAMES | LABELS
TERMS = (HOSTNAMES | LABELS).map(str) | st.sampled_from(["a*", "*b*", "k:*", "k:a*.b"])
PARTS = st.builds(
    lambda first, more, excluded: ",".join([first, *more, *(f"!{each}" for each in excluded)]),
    st.just("_all") | TERMS,
    st.lists(TERMS, max_size=2),
    st.lists(TERMS, max_size=2),
)
EXPRESSIONS = st.builds(
    lambda parts, one: ";".join(f"_any,{part}" if one else part for part in parts),
    st.lists(PARTS, min_size=1, max_size=3),
    st.booleans(),
).filter(lambda text: text.count("*") <= 8 and len(text) <= 2000)


@st.composite
def near_the_rules(draw: st.DrawFn) -> str:
    text = draw(TARGETS.map(str) | EXPRESSIONS)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 2))
        text = text[:start] + draw(st.text("aZ0.-_:=/*> %é\n;,!", max_size=2)) + text[end:]
    return text


@given(TARGETS)
def test_every_target_is_read_back_from_its_text(original: Target) -> None:
    assert parse_target(str(original)) == original


@given(EXPRESSIONS, st.randoms())
def test_an_expression_means_the_same_in_any_order_of_its_parts(
    text: str, random: random.Random
) -> None:
    parts = text.split(";")
    try:
        parsed = parse_target(text)
    except InvalidTarget:
        assert "_any" in text  # the same part twice
        return
    assert parse_target(str(parsed)) == parsed
    shuffled = [part.split(",") for part in random.sample(parts, len(parts))]
    for part in shuffled:
        random.shuffle(part)
    assert parse_target(";".join(",".join(part) for part in shuffled)) == parsed


@given(LABELS)
def test_every_label_is_read_back_from_its_text(label: Label) -> None:
    assert parse_label(str(label)) == label


@given(TARGETS.map(str) | near_the_rules() | st.text(string.ascii_letters, min_size=60))
def test_the_parser_agrees_with_the_rules(text: str) -> None:
    parsed = parsed_or_none(text)
    if not SIGNS.intersection(text):
        assert parsed == by_the_rules(text)
    elif parsed is not None and not SIGNS.intersection(str(parsed)):
        assert parsed == by_the_rules(str(parsed))


@given(NAMES | near_the_rules())
def test_machine_ids_are_the_targets_without_dots_colons_and_reserved_names(text: str) -> None:
    if MACHINE_ID.fullmatch(text):
        assert parse_machine_id(text) == text
        assert parse_target(text) == Hostname(text)
    else:
        with pytest.raises(InvalidTarget):
            parse_machine_id(text)


@given(st.text() | st.text(string.printable) | near_the_rules())
def test_whatever_is_accepted_is_safe_in_a_broker_subject(text: str) -> None:
    parsed = parsed_or_none(text)
    if SIGNS.intersection(text):
        return  # what has signs is written into no subject
    if isinstance(parsed, Label):
        for token in (parsed.key, *parsed.value.split(".")):
            assert re.fullmatch("[A-Za-z0-9_-]+", token)
    elif parsed is not None:
        assert re.fullmatch("[A-Za-z0-9_.-]+", str(parsed))


@given(st.text() | st.text(string.printable) | near_the_rules())
@pytest.mark.parametrize("parse", [parse_target, parse_label, parse_hostname, parse_machine_id])
def test_any_text_is_either_parsed_or_refused_in_one_line(
    parse: Callable[[str], object], text: str
) -> None:
    message = ""
    try:
        parse(text)
    except InvalidTarget as refusal:
        message = str(refusal)
    assert message.isprintable()


@given(KINDRED, KINDRED)
def test_a_label_matches_exactly_when_it_is_a_prefix(selector: Label, carried: Label) -> None:
    wanted, segments = selector.value.split("."), carried.value.split(".")
    is_prefix = selector.key == carried.key and segments[: len(wanted)] == wanted
    assert selector.matches(carried) == is_prefix
