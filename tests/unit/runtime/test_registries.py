"""Which registries images may come from, in whatever way an address is spelled."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from towline.errors import InvalidConfiguration
from towline.runtime.registries import ALL, Registries, link_local
from towline.wire.reference import Reference, parse_registry

Spell = Callable[[int], str]
NUMBERS: list[Spell] = [
    str,
    hex,
    lambda number: f"0X{number:X}",
    lambda number: f"0{number:o}",
    lambda number: f"000{number:o}",
]


@st.composite
def spellings(draw: st.DrawFn, addresses: st.SearchStrategy[IPv4Address]) -> str:
    """An IPv4 address as C libraries read it: one to four numbers, the last being the rest."""
    packed = draw(addresses).packed
    count = draw(st.integers(1, 4))
    numbers = [*packed[: count - 1], int.from_bytes(packed[count - 1 :])]
    return ".".join(draw(st.sampled_from(NUMBERS))(number) for number in numbers)


@st.composite
def in_ipv6(draw: st.DrawFn, addresses: st.SearchStrategy[IPv4Address]) -> str:
    """An IPv4 address in one of IPv6: mapped, compatible, of NAT64, of 6to4."""
    number = int(draw(addresses))
    whole = draw(
        st.sampled_from(
            [
                number | 0xFFFF << 32,
                number,
                number | 0x0064_FF9B << 96,
                number | 0x0064_FF9B_0001 << 80 | draw(st.integers(0, 2**48 - 1)) << 32,
                number | 0xFFFF << 48,
                number << 80 | 0x2002 << 112 | draw(st.integers(0, 2**80 - 1)),
            ]
        )
    )
    address = IPv6Address(whole)
    return f"[{draw(st.sampled_from([address.compressed, address.exploded.upper()]))}]"


PORTS = st.sampled_from(["", ":5000", ":80", ":00080"])
LOCAL = st.integers(0xA9FE0000, 0xA9FEFFFF).map(IPv4Address)
ELSEWHERE = (
    st.integers(0, 2**32 - 1).map(IPv4Address).filter(lambda address: not address.is_link_local)
)
OF_IPV6 = st.ip_addresses(v=6, network="fe80::/10").map(lambda address: f"[{address}]")


@given(spellings(LOCAL) | in_ipv6(LOCAL) | OF_IPV6, PORTS)
@example("169.254.169.254", "")
@example("0xa9fea9fe", ":80")
@example("2852039166", ":80")
@example("0169.0254.0169.0254", "")
@example("[::ffff:a9fe:a9fe]", ":80")
def test_no_spelling_of_a_link_local_address_gets_through(host: str, port: str) -> None:
    registry = host + port
    assert link_local(registry)
    for allowed in (ALL, Registries.of(["*"]), Registries.of(["*.*", "[*]*", "169.254.*", "*:*"])):
        assert allowed.problem(registry) is not None
    if "." in registry or ":" in registry:
        reference = Reference.parse(f"{registry}/latest/meta-data")
        assert ALL.problem(parse_registry(reference.domain)) is not None


@given(spellings(ELSEWHERE) | in_ipv6(ELSEWHERE), PORTS)
@example("localhost", ":5000")
@example("docker.io", "")
@example("169.254.169.254.example", "")
@example("1.2.3.4.5", "")
@example("999.254.169.254", "")
@example("[::::]", ":5000")
def test_other_addresses_and_names_are_not_link_local(host: str, port: str) -> None:
    assert not link_local(host + port)
    assert ALL.problem(host + port) is None


@pytest.mark.parametrize(
    ("patterns", "registry", "allowed"),
    [
        (["docker.io"], "docker.io", True),
        (["index.docker.io"], "docker.io", True),
        (["docker.io"], "docker.io:443", False),
        (["docker.io"], "evil.example", False),
        (["registry.internal"], "registry.internal:5000", False),
        (["registry.internal:*"], "registry.internal:5000", True),
        (["Registry.Internal:5000"], "registry.internal:5000", True),
        (["*.example"], "a.b.example", True),
        (["*.example"], "example", False),
        (["*.EXAMPLE"], "a.example", True),
        (["*.example"], "a.example.evil", False),
        (["*"], "10.0.0.1:5000", True),
        (["[fd00::1]:5000"], "[fd00::1]:5000", True),
        (["169.254.1.1:5000"], "169.254.1.1:5000", True),
        (["169.254.1.1:5000"], "169.254.1.1", False),
        ([], "docker.io", False),
    ],
)
def test_what_a_pattern_names_is_allowed_and_nothing_else(
    patterns: list[str], registry: str, allowed: bool
) -> None:
    assert (Registries.of(patterns).problem(registry) is None) is allowed


@pytest.mark.parametrize(
    "pattern",
    ["", "nginx", "a.example/*", "https://a.example", "a b.example", "user@a.example", "?*"],
)
def test_what_is_no_pattern_of_registries_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidConfiguration, match="'registries'"):
        Registries.of([pattern])


def test_a_refusal_names_the_registry_and_what_is_allowed() -> None:
    problem = Registries.of([f"r{number}.example" for number in range(12)]).problem("evil.example")
    assert problem is not None
    assert "'evil.example' is none" in problem
    assert "r9.example and 2 more" in problem
