"""What one client may take: addresses, callers, and what operators may write."""

import pytest

from towline.controller.http.limits import Callers, Limits, is_of, networks, origin
from towline.errors import InvalidConfiguration, TooManyRequests


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_address_counts_as_what_one_client_has(address: str, counted: str) -> None:
    assert origin(address) == counted


def test_each_caller_has_so_many_requests_and_streams() -> None:
    callers = Callers(Limits(requests_of_caller=1, streams_of_caller=2))
    one_more = pytest.raises(TooManyRequests, match="'ana' has 1 requests under way")
    with callers.request("ana"), callers.request("ben"), one_more:
        callers.request("ana").__enter__()
    one_more = pytest.raises(TooManyRequests, match="max-streams-per-caller")
    with callers.stream("ana"), callers.stream("ana"), callers.stream("ben"), one_more:
        callers.stream("ana").__enter__()
    with callers.request("ana"), callers.stream("ana"):
        pass


def test_a_request_that_failed_is_under_way_no_more() -> None:
    callers = Callers(Limits(requests_of_caller=1))
    for _ in range(3):
        with pytest.raises(LookupError), callers.request("ana"):
            raise LookupError


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        *(("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("10.1.2.4", False)),
        *(("2001:db8::5", True), ("2001:db8::6", False), ("2001:db8:7:8:9::1", True)),
        *(("::1", True), ("fe80::2%eth0", True)),
    ],
)
def test_a_proxy_is_known_by_its_whole_address(address: str, *, trusted: bool) -> None:
    proxies = networks(["10.1.2.3", "2001:db8::5", "2001:db8:7::/48", "::1", "fe80::/10"])
    assert is_of(address, proxies) is trusted


def test_a_proxy_that_is_no_network_is_refused() -> None:
    assert len(networks(["10.1.2.3", "10.0.0.0/8", "2001:db8::/32"])) == 3
    for text in ("proxy.example", "10.0.0.1/8", ""):
        with pytest.raises(InvalidConfiguration, match=r"10\.0\.0\.0/8"):
            networks([text])


def test_an_address_may_ask_to_come_in_so_many_times_at_once_and_then_so_many_a_second() -> None:
    now = [0.0]
    limits = Limits(joins=2.0, joins_at_once=5, proxies=networks(["192.0.2.9"]))
    callers = Callers(limits, clock=lambda: now[0])
    too_many = pytest.raises(TooManyRequests, match="2001:db8::/64, sends more than 2 ")
    for _ in range(5):
        callers.machine("2001:db8::1")
    with too_many:
        callers.machine("2001:db8::2")
    for _ in range(20):
        callers.machine("192.0.2.9")
        callers.machine("")
    callers.machine("192.0.2.10")
    now[0] += 1.0
    for _ in range(2):
        callers.machine("2001:db8::1")
    with too_many:
        callers.machine("2001:db8::1")


def test_many_machines_behind_one_address_may_come_in_at_once_and_wait_to_be_let_in() -> None:
    now = [0.0]
    callers = Callers(Limits(), clock=lambda: now[0])
    # Each asks every five seconds.
    for _ in range(100):
        for _ in range(200):
            callers.machine("192.0.2.7")
        now[0] += 5.0
