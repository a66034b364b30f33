"""What one client of the API may take of a controller, so that the others have theirs.

How many connections an address has, and how often it begins one; how long it may take over a
request; what a caller may have under way. Whoever goes beyond is told which limit it was, and what
to do.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from towline.controller.rate import Rate
from towline.errors import InvalidConfiguration, TooManyRequests

if TYPE_CHECKING:
    from towline.runtime.config import Settings

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

RESERVED = 256
"""Descriptors that are no client's: for the index, the broker's two connections and those that take
their place, the log, and connections that are being refused."""
REMEMBERED = 256
"""Addresses that were read last: each request comes from one."""
MOST_FILES = 65_536
"""Open files that a controller asks the system for, where it may."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one client may take.

    Attributes:
        connections: how many there may be in all.
        connections_of_address: how many of one address; an IPv6 network of 64 bits counts as one.
        proxies: networks whose addresses may have any number: each of their connections may be
            another client's.
        handshakes, handshakes_at_once: how many TLS handshakes one address may begin a second for
            long, and at once after a while without any.
        told: how many connections that are beyond that are told so a second, by a handshake; the
            others are closed.
        joins, joins_at_once: as of handshakes, of requests to come in and for new logins, which
            take no token.
        requests_of_caller: how many requests of one token's subject may be under way.
        streams_of_caller: how many streams of events it may follow besides.
        head, headers: bytes of a request's head, and lines.
        head_within: seconds for a request's head, from its first byte or the connection's begin.
        body_within, body_rate: seconds for a request's body, and the bytes a second that it is
            given further time for.
        idle: seconds for which a connection stays open without a request.
        stuck: seconds after which a client is given up that takes nothing of its answer.
        lingering: seconds for which a refused connection is still received from: a client that
            sends would otherwise get a reset in place of the refusal.
        refused: how many connections may linger.
        look_every: seconds between looks for connections that have taken too long.
    """

    connections: int = 10_000
    connections_of_address: int = 2_500
    handshakes: float = 50.0
    handshakes_at_once: int = 2_500
    told: float = 5.0
    joins: float = 50.0
    joins_at_once: int = 1_000
    proxies: tuple[Network, ...] = ()
    requests_of_caller: int = 2_000
    streams_of_caller: int = 1_000
    head: int = 64 * 1024
    headers: int = 100
    head_within: float = 20.0
    body_within: float = 30.0
    body_rate: int = 4096
    idle: float = 75.0
    stuck: float = 60.0
    lingering: float = 2.0
    refused: int = 100
    look_every: float = 1.0


def limits_of(settings: Settings) -> Limits:
    """Return what one client may take by the settings.

    Raises:
        InvalidConfiguration: a trusted proxy is no network.
    """
    return Limits(
        connections_of_address=settings.max_connections_per_address,
        proxies=networks(settings.trusted_proxies),
        requests_of_caller=settings.max_requests_per_caller,
        streams_of_caller=settings.max_streams_per_caller,
    )


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that are written so, `10.0.0.0/8` or one address.

    Raises:
        InvalidConfiguration: one of them is none.
    """
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise InvalidConfiguration(
            "A trusted proxy is not valid.", f"{error}; write 10.1.2.3, or 10.0.0.0/8"
        ) from error


def most_connections() -> int:
    """Have the system allow a controller many open files; return how many connections it may have.

    Whatever clients do, there are descriptors left for the index and the broker.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    most = MOST_FILES if hard == unlimited else min(MOST_FILES, hard)
    if soft != unlimited and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return max(1, (most if soft == unlimited else soft) - RESERVED)


def origin(address: str) -> str:
    """Return what counts as one address: of IPv6 the network, which is one client's at least."""
    parsed = _parsed(address)
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


def is_of(address: str, networks: Iterable[Network]) -> bool:
    """Return whether an address is of one of these networks."""
    parsed = _parsed(address)
    return any(parsed in each for each in networks)


def client_of(address: str, forwarded: Iterable[str], proxies: Iterable[Network]) -> str:
    """Return the address that a request comes from: behind trusted proxies what they say it is.

    Args:
        address: of the connection.
        forwarded: the values of X-Forwarded-For.
    """
    networks = tuple(proxies)
    with contextlib.suppress(ValueError):
        # Each proxy writes behind what others have written: only the end can be believed.
        for each in reversed(",".join(forwarded).split(",")):
            if not address or not is_of(address, networks):
                break
            address = str(_parsed(each.strip()))
    return address


@functools.lru_cache(maxsize=REMEMBERED)
def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address without its zone; one of IPv4 as itself, however it is written."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed


class Callers:
    """What each caller has under way at this controller, and how often those come without a token.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._joins = Rate(limits.joins, limits.joins_at_once, clock=clock)
        self._requests: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    def machine(self, client: str) -> None:
        """Count a request of a machine that comes in, or is given a new login.

        Args:
            client: its address; "" where that is not known.

        Raises:
            TooManyRequests: its address sends more of them than one may.
        """
        if not client or is_of(client, self._limits.proxies) or self._joins.spend(origin(client)):
            return
        raise TooManyRequests(
            f"Your address, {origin(client)}, sends more than {self._limits.joins:.0f} requests a "
            "second to come in or for a new login, as many as one address may.",
            "Ask again in a second, or another controller",
        )

    def request(self, subject: str) -> AbstractContextManager[None]:
        """Count a request of a caller while the block goes on.

        Raises:
            TooManyRequests: it has as many as it may.
        """
        return _counted(
            *(self._requests, subject, self._limits.requests_of_caller, "requests under way"),
            "max-requests-per-caller",
        )

    def stream(self, subject: str) -> AbstractContextManager[None]:
        """Count a stream of events, as `request`."""
        return _counted(
            *(self._streams, subject, self._limits.streams_of_caller, "streams of events"),
            "max-streams-per-caller",
        )


@contextlib.contextmanager
def _counted(
    counts: Counter[str], subject: str, most: int, what: str, setting: str
) -> Iterator[None]:
    if counts[subject] >= most:
        raise TooManyRequests(
            f"The caller {subject[:80]!r} has {most} {what}, as many as one caller may have at a "
            "controller.",
            f"Wait until some have ended, or ask another controller; the setting {setting} allows "
            "more",
        )
    counts[subject] += 1
    try:
        yield
    finally:
        counts[subject] -= 1
        if not counts[subject]:
            del counts[subject]
