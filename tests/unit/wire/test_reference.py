import doctest
import re
import string
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from towline.wire import reference
from towline.wire.reference import InvalidReference, Reference
from towline.wire.text import quoted

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA384 = "sha384:" + "0123456789abcdef" * 6
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("grafana/loki", "docker.io/grafana/loki:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/grafana/loki:3", "docker.io/grafana/loki:3"),
        ("library/nginx", "docker.io/library/nginx:latest"),
        ("localhost/hello", "localhost/hello:latest"),
        ("localhost:5000/demo/hello", "localhost:5000/demo/hello:latest"),
        ("localhost:5000/demo/hello:1.0", "localhost:5000/demo/hello:1.0"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest"),
        ("registry/hello", "docker.io/registry/hello:latest"),
        ("Registry/hello", "Registry/hello:latest"),
        ("127.0.0.1:5000/hello", "127.0.0.1:5000/hello:latest"),
        ("[2001:db8::1]/hello", "[2001:db8::1]/hello:latest"),
        ("[2001:db8::1]:5000/hello:1", "[2001:db8::1]:5000/hello:1"),
        ("my_org/a.b_c__d---e", "docker.io/my_org/a.b_c__d---e:latest"),
        (f"nginx@{SHA256}", f"docker.io/library/nginx@{SHA256}"),
        (f"nginx:1.27@{SHA256}", f"docker.io/library/nginx:1.27@{SHA256}"),
        (f"localhost:5000/a@{SHA384}", f"localhost:5000/a@{SHA384}"),
        (f"localhost:5000/a@{SHA512}", f"localhost:5000/a@{SHA512}"),
        ("f" * 63, f"docker.io/library/{'f' * 63}:latest"),
        (f"docker.io/{'f' * 64}", f"docker.io/library/{'f' * 64}:latest"),
        (SHA256, f"docker.io/library/{SHA256}"),
        ("nginx:" + "t" * 128, "docker.io/library/nginx:" + "t" * 128),
        ("ghcr.io/" + "a" * 255, "ghcr.io/" + "a" * 255 + ":latest"),
    ],
)
def test_a_short_name_is_read_as_docker_reads_it(text: str, canonical: str) -> None:
    assert str(Reference.parse(text)) == canonical


def test_a_reference_has_its_parts() -> None:
    parsed = Reference.parse(f"localhost:5000/demo/hello:1.0@{SHA256}")
    assert parsed == Reference("localhost:5000", "demo/hello", "1.0", SHA256)
    assert parsed.repository == "localhost:5000/demo/hello"
    assert parsed.name == str(parsed) == f"localhost:5000/demo/hello:1.0@{SHA256}"


def test_the_colon_before_a_port_is_no_tag() -> None:
    assert Reference.parse("localhost:5000/demo/hello").tag == "latest"


def test_a_digest_alone_has_no_tag() -> None:
    assert Reference.parse(f"nginx@{SHA256}").tag is None


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/library/nginx", "nginx:latest"),
        (f"nginx@{SHA256}", f"nginx@{SHA256}"),
        ("docker.io/grafana/loki:3", "grafana/loki:3"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        ("localhost:5000/library/nginx:1", "localhost:5000/library/nginx:1"),
        ("docker.io/localhost/a", "docker.io/localhost/a:latest"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest"),
    ],
)
def test_the_familiar_name_leaves_out_only_what_parsing_puts_back(text: str, familiar: str) -> None:
    assert Reference.parse(text).familiar == familiar
    assert Reference.parse(familiar) == Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "problem", "mend"),
    [
        ("", "it is empty", "write one such as 'nginx:1.27'"),
        ("a" * 1025, "it has 1025 characters", "use at most 1024"),
        ("a" * 248, "its repository name has 256 characters", "use at most 255"),
        ("ghcr.io/" + "a" * 256, "its repository name has 256 characters", "use at most 255"),
        ("Nginx", "'Nginx' in its repository name has upper-case letters", "write 'nginx'"),
        ("a/B/c", "'B' in its repository name has upper-case letters", "write 'b'"),
        ("nginx:", "it ends in ':'", "write a tag after it"),
        (f"nginx:@{SHA256}", "its tag is empty", "leave out the ':'"),
        ("nginx:-1", "its tag '-1' is not allowed", "with neither '.' nor '-' first"),
        ("nginx:.1", "its tag '.1' is not allowed", "with neither '.' nor '-' first"),
        ("nginx:1:2", "its tag '1:2' is not allowed", "use letters, digits, '_', '.' and '-'"),
        ("a/b:5000/c", "its tag '5000/c' is not allowed", "use letters, digits"),
        ("nginx:" + "t" * 129, "its tag has 129 characters", "use at most 128"),
        ("nginx@", "'' after the '@' is not a digest", "write one as 'sha256:' and 64 hex"),
        ("nginx@1", "'1' after the '@' is not a digest", "or a tag after ':'"),
        ("nginx@sha256:", "it ends in ':'", "leave that out"),
        ("nginx@sha256:0f", "its sha256 digest has 2 hex digits", "write all 64"),
        (f"nginx@{SHA256}0", "its sha256 digest has 65 hex digits", "write all 64"),
        (f"nginx@{SHA384[:-1]}", "its sha384 digest has 95 hex digits", "write all 96"),
        (f"nginx@{SHA512[:-1]}", "its sha512 digest has 127 hex digits", "write all 128"),
        ("nginx@sha256:" + "A" * 64, "is not in lower-case hex", "use 0-9 and a-f"),
        ("nginx@sha256:" + "g" * 64, "is not in lower-case hex", "use 0-9 and a-f"),
        ("nginx@md5:" + "0" * 32, "algorithm 'md5' is not known", "use one of sha256, sha384"),
        ("nginx@SHA256:" + "0" * 64, "algorithm 'SHA256' is not known", "use one of sha256"),
        (
            "f" * 64,
            "64 hex digits alone would be an image's id",
            "write a digest as 'name@sha256:'",
        ),
        ("a b", "it holds white space (character 2)", "leave that out"),
        (" nginx", "it holds white space (character 1)", "leave that out"),
        ("nginx\n", r"it holds the control character '\n' (character 6)", "leave that out"),
        ("a\0", r"it holds the control character '\x00' (character 2)", "leave that out"),
        ("a\x7f", r"it holds the control character '\x7f' (character 2)", "leave that out"),
        ("ñginx", "'ñ', which is not ASCII (character 1)", "leave that out"),
        ("nginx:\uff11", "which is not ASCII (character 7)", "leave that out"),
        ("a\ud800", r"'\ud800', which is not ASCII (character 2)", "leave that out"),
        ("https://ghcr.io/a", "it is a URL", "leave out the scheme 'https://'"),
        ("docker://nginx", "it is a URL", "leave out the scheme 'docker://'"),
        ("nginx/", "it ends in '/'", "name a repository after it"),
        ("ghcr.io/", "it ends in '/'", "name a repository after it"),
        ("/nginx", "a component of its repository name is empty", "leave out the extra '/'"),
        ("a//b", "a component of its repository name is empty", "leave out the extra '/'"),
        ("ghcr.io/:1", "a component of its repository name is empty", "leave out the extra '/'"),
        (":1", "a component of its repository name is empty", "leave out the extra '/'"),
        ("a..b", "'a..b' in its repository name is not allowed", "joined by one '.'"),
        ("a___b", "'a___b' in its repository name is not allowed", "one or two '_'"),
        ("-a", "'-a' in its repository name is not allowed", "use lower-case letters"),
        ("a$(b)", "'a$(b)' in its repository name is not allowed", "use lower-case letters"),
        ("localhost:x/a", "its registry 'localhost:x' is not a host", "'x' is not a port number"),
        ("a:/b", "its registry 'a:' is not a host", "'' is not a port number"),
        ("fc00::1:5000/a", "'fc00::1:5000' is not a host", "put an IPv6 address in brackets"),
        ("[fe80::1%eth0]:5000/a", "is not a host", "use letters, digits, '-' and '.'"),
        ("-a.io/b", "its registry '-a.io' is not a host", "use letters, digits, '-' and '.'"),
        ("my_host.io/a", "its registry 'my_host.io' is not a host", "use letters, digits"),
    ],
)
def test_a_refusal_shows_the_text_and_says_what_is_wrong_and_how_to_mend_it(
    text: str, problem: str, mend: str
) -> None:
    with pytest.raises(InvalidReference) as refusal:
        Reference.parse(text)
    message = str(refusal.value)
    assert message.startswith(f"{quoted(text)} is not an image reference: ")
    assert problem in message
    assert mend in message


@pytest.mark.parametrize(
    "text",
    [
        "ada:hunter2@ghcr.io/a",
        "ada:hunter2@ghcr.io/a:1",
        f"ada:hunter2@ghcr.io/a@{SHA256}",
        "https://ada:hunter2@ghcr.io/a",
        "ada:hunter2@localhost:5000/a",
        "ada:hunter2@localhost:5000",
        "ada:hunter2@ghcr.io",
        "ada:hunter2@sha256:1/a",
        "ada:hunter2@",
        "hunter2@ghcr.io/a",
        "hunter2@localhost:5000/a",
        "ada:hun/ter2:hunter2@ghcr.io/a",
        "ada:@hunter2@ghcr.io/a",
        "ada:hunter2 \n\xff@ghcr.io/a",
        "ada:" + "hunter2" * 1000 + "@ghcr.io/a",
    ],
)
def test_a_password_is_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(InvalidReference) as refusal:
        Reference.parse(text)
    assert "hunter2" not in str(refusal.value)
    assert "'***@" in str(refusal.value)


@given(password=st.text(max_size=40), after=st.sampled_from(["ghcr.io/a", f"h.io/a@{SHA256}"]))
def test_no_password_gets_into_a_message_whatever_it_holds(password: str, after: str) -> None:
    with pytest.raises(InvalidReference) as refusal:
        Reference.parse(f"ada:hunter2{password}@{after}")
    assert "hunter2" not in str(refusal.value)


def test_what_is_shown_is_escaped_and_at_most_80_characters_of_the_text() -> None:
    assert quoted("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert quoted("a" * 80) == repr("a" * 80)
    assert quoted("a" * 50 + "b" * 50) == f"'{'a' * 39}…{'b' * 40}'"


@pytest.mark.parametrize("unit", ["a", "a-", "-", "a.", "a/", "@", ":", "a:", "a@a", "\0", "é"])
def test_a_megabyte_is_refused_at_once(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.perf_counter()
    with pytest.raises(InvalidReference) as refusal:
        Reference.parse(text)
    assert time.perf_counter() - started < 0.5  # takes some milliseconds at worst
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("unit", ["a", "a-", "-", "a.", "a_", "a__", "A", "A-", "[", "[:", "a:"])
@pytest.mark.parametrize("form", ["{}!", "{}!/a", "a/{}!", "a:{}!", "a@{}!", "a@sha256:{}!"])
def test_no_text_makes_the_checks_backtrack(form: str, unit: str) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidReference):
        Reference.parse(form.format(unit * (1000 // len(unit))))
    assert time.perf_counter() - started < 0.5  # takes some 10 microseconds


def test_the_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(reference)
    assert results.attempted
    assert not results.failed


# The published grammar once more, as one expression, to hold the parser against.

LABEL = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN = rf"(?:{LABEL}(?:\.{LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
PUBLISHED = re.compile(
    rf"(?P<domain>{DOMAIN})/(?P<path>{COMPONENT}(?:/{COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?"
)


def by_the_published_grammar(text: str) -> Reference | None:
    if re.fullmatch("[a-f0-9]{64}", text):
        return None
    first, slash, rest = text.partition("/")
    if not slash or not (first == "localhost" or re.search("[.:A-Z]", first)):
        text = f"docker.io/{text}"
    elif first == "index.docker.io":
        text = f"docker.io/{rest}"
    if text.startswith("docker.io/") and text.count("/") == 1:
        text = text.replace("/", "/library/")
    match = PUBLISHED.fullmatch(text)
    if match is None or len(match["path"]) > 255:
        return None
    tag = match["tag"] or (None if match["digest"] else "latest")
    return Reference(match["domain"], match["path"], tag, match["digest"])


def parsed_or_none(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


def joined(
    parts: st.SearchStrategy[str], separators: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    more = st.lists(st.tuples(separators, parts).map("".join), max_size=3).map("".join)
    return st.tuples(parts, more).map("".join)


LOWER = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
MIXED = st.text(string.ascii_letters + string.digits, min_size=1, max_size=6)
HOST_LABELS = joined(MIXED, st.sampled_from(["-", "--"]))
HOSTS = joined(HOST_LABELS, st.just(".")) | st.ip_addresses(v=6).map("[{}]".format)
PORTS = st.integers(0, 65535).map(":{}".format)
REGISTRIES = (
    st.just("localhost")
    | st.tuples(HOSTS, PORTS).map("".join)
    | st.tuples(HOST_LABELS, st.just("."), HOSTS.filter(lambda host: "[" not in host)).map("".join)
)
PATHS = joined(joined(LOWER, st.sampled_from([".", "_", "__", "-", "---"])), st.just("/"))
PATHS_ON_DOCKER_HUB = joined(joined(LOWER, st.sampled_from(["_", "__", "-"])), st.just("/"))
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
DIGESTS = st.sampled_from([("sha256", 64), ("sha384", 96), ("sha512", 128)]).flatmap(
    lambda kind: st.text("0123456789abcdef", min_size=kind[1], max_size=kind[1]).map(
        lambda encoded: f"{kind[0]}:{encoded}"
    )
)
NAMES = (
    st.tuples(REGISTRIES, st.just("/"), PATHS).map("".join)
    | st.tuples(st.sampled_from(["docker.io/", "index.docker.io/"]), PATHS).map("".join)
    | PATHS_ON_DOCKER_HUB.filter(lambda path: not path.startswith("localhost/"))
)
GRAMMATICAL = st.tuples(
    NAMES, st.just("") | TAGS.map(":{}".format), st.just("") | DIGESTS.map("@{}".format)
).map("".join)


@st.composite
def near_the_grammar(draw: st.DrawFn) -> str:
    text = draw(GRAMMATICAL)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 2))
        text = text[:start] + draw(st.text("aZf0.-_:/@[] %*é\n", max_size=2)) + text[end:]
    return text


@given(REGISTRIES, PATHS, TAGS, DIGESTS)
def test_every_part_of_a_full_reference_is_found_again(
    registry: str, path: str, tag: str, digest: str
) -> None:
    parsed = Reference.parse(f"{registry}/{path}:{tag}@{digest}")
    assert parsed == Reference(registry, path, tag, digest)


@given(GRAMMATICAL)
def test_what_the_grammar_yields_is_parsed_and_parses_again_to_the_same(text: str) -> None:
    parsed = Reference.parse(text)
    assert Reference.parse(str(parsed)) == parsed
    assert Reference.parse(parsed.familiar) == parsed


@given(GRAMMATICAL | near_the_grammar())
@example("my_host.io/a")
@example("a.b_c/d")
@example("[::]/a")
@example("a:1/b")
@example("A/b")
@example("docker.io/a/:b")
@example("index.docker.io:443/a")
@example("f" * 64)
@example("docker.io/library/" + "a" * 247)
@example("docker.io/library/" + "a" * 248)
def test_the_parser_agrees_with_the_published_grammar(text: str) -> None:
    assert parsed_or_none(text) == by_the_published_grammar(text)


@given(st.text() | st.text(string.printable) | near_the_grammar())
def test_any_text_is_either_parsed_or_refused_in_one_line(text: str) -> None:
    message = ""
    try:
        Reference.parse(text)
    except InvalidReference as refusal:
        message = str(refusal)
    assert message.isprintable()
