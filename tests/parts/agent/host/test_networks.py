"""Facts of networks, found in network namespaces of which the kernel knows what is in them."""

import subprocess
import sys

import msgspec

from towline.wire.facts import MOST_INTERFACES, MOST_ROUTES, Facts, Interface, Route

GATHER = (
    "import msgspec, sys; from towline.agent.host.facts import gather; "
    "sys.stdout.buffer.write(msgspec.json.encode(gather().facts))"
)


def facts_of(*commands: str) -> Facts:
    """Return the facts of a machine whose network `ip` has made by these commands."""
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "sh",
            "-c",
            'ip -batch - && exec "$0" -c "$1"',
            sys.executable,
            GATHER,
        ],
        input="".join(f"{command}\n" for command in commands).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=Facts)


def pair(name: str, *more: str) -> list[str]:
    """Return what makes a pair of interfaces, both of them up, the first one called so."""
    return [
        f"link add {name} address 02:00:00:00:00:01 type veth peer name {name}-peer",
        f"link set {name} up",
        f"link set {name}-peer up",
        *(f"{each} dev {name}" for each in more),
    ]


def test_a_machine_without_a_network_has_no_interfaces() -> None:
    facts = facts_of("link set lo up")
    assert (facts.interfaces, facts.routes, facts.primary_interface) == ([], [], "")
    assert facts.kernel


def test_interfaces_have_their_addresses_of_either_family() -> None:
    facts = facts_of(
        *pair("both", "addr add 192.0.2.10/24", "addr add 2001:db8::10/64 nodad"),
        *pair("four", "addr add 198.51.100.10/24"),
        *pair("six", "addr add 2001:db8:6::10/64 nodad"),
    )
    mac = "02:00:00:00:00:01"
    assert facts.interfaces[0] == Interface("both", "192.0.2.10", "2001:db8::10", mac, "dual")
    by_name = {each.name: each for each in facts.interfaces}
    assert by_name.keys() == {"both", "four", "six"}
    assert by_name["six"] == Interface("six", None, "2001:db8:6::10", mac, "inet6")
    # It has a link-local address, too, as every interface of a kernel that knows IPv6.
    assert by_name["four"].ipv4 == "198.51.100.10"


def test_interfaces_that_are_down_are_left_out() -> None:
    facts = facts_of(*pair("off", "addr add 192.0.2.10/24"), "link set off down")
    assert facts.interfaces == []


def test_the_primary_interface_is_that_of_the_default_route_with_the_least_metric() -> None:
    facts = facts_of(
        *pair("backup", "addr add 192.0.2.10/24"),
        *pair("first", "addr add 198.51.100.10/24"),
        "route add default via 192.0.2.1 metric 200",
        "route add default via 198.51.100.1 metric 100",
        "route add 203.0.113.0/24 via 192.0.2.2",
    )
    assert facts.primary_interface == "first"
    assert [each.name for each in facts.interfaces] == ["first", "backup"]
    assert Route("0.0.0.0", "198.51.100.1", "first", "0.0.0.0", 100, "UG") in facts.routes
    assert Route("203.0.113.0", "192.0.2.2", "backup", "255.255.255.0", 0, "UG") in facts.routes
    assert Route("192.0.2.0", "0.0.0.0", "backup", "255.255.255.0", 0, "U") in facts.routes


def test_a_machine_with_ipv6_alone_has_a_primary_interface_too() -> None:
    facts = facts_of(
        *pair("six", "addr add 2001:db8::10/64 nodad"), "route add default via 2001:db8::1"
    )
    assert facts.primary_interface == "six"
    default = Route("::", "2001:db8::1", "six", "::", 1024, "UG")
    direct = Route("2001:db8::", "::", "six", "ffff:ffff:ffff:ffff::", 256, "U")
    assert facts.routes == [direct, default]


def test_a_route_that_refuses_makes_no_interface_the_primary_one() -> None:
    facts = facts_of(*pair("six", "addr add 2001:db8::10/64 nodad"), "route add unreachable ::/0")
    assert facts.primary_interface == ""


def test_the_ends_of_five_hundred_containers_are_left_out() -> None:
    containers = [command for number in range(500) for command in pair(f"veth{number}")]
    attached = [f"link set veth{number} master docker0" for number in range(500)]
    facts = facts_of(
        *("link add docker0 type bridge", "link set docker0 up"),
        *("addr add 172.17.0.1/16 dev docker0", *containers, *attached),
        *pair("uplink", "addr add 192.0.2.10/24"),
        "route add default via 192.0.2.1",
    )
    assert [each.name for each in facts.interfaces] == ["uplink", "docker0"]
    assert {each.interface for each in facts.routes} == {"uplink", "docker0"}


def test_of_a_thousand_interfaces_and_routes_so_many_are_named_the_primary_first() -> None:
    many = [
        command
        for number in range(200)
        for command in pair(f"net{number}", f"addr add 10.0.{number}.1/24")
    ]
    facts = facts_of(
        *(*many, *pair("uplink", "addr add 192.0.2.10/24"), "route add default via 192.0.2.1")
    )
    assert len(facts.interfaces) == MOST_INTERFACES
    assert facts.interfaces[0].name == facts.primary_interface == "uplink"
    assert len(facts.routes) == MOST_ROUTES
