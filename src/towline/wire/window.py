"""Maintenance windows: at which times of which days something may begin, in a named time zone."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec

from towline.errors import did_you_mean
from towline.wire.text import problem_with_characters, quoted

LONGEST = 500
"""Characters of a window's text."""
MOST_SPANS = 20
"""Parts of a window between semicolons."""
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WHOLE_DAY = 24 * 60
_LOOKED_AHEAD = 22
"""Days within which each window opens: one on a day of the week may lie in an hour that is left out
when clocks are put forward, and no zone does that twice in three weeks."""
_OF_THIS_MACHINE = ("localtime", "posixrules", "Factory")
"""Names of zones that mean something else on another machine, or nothing."""
_LEAPING = ("posix/", "right/")
_FORM = "write such as '02:00-04:00 Europe/Berlin' or 'Mon-Fri 22:00-06:00 UTC'"
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})")


class InvalidWindow(ValueError):
    """The text is no window; the message shows it and says how to mend it."""


class Span(msgspec.Struct, frozen=True):
    """One part of a window: from one time of the day to another, on some days of the week.

    Attributes:
        days: those on which it begins, 0 for Monday; sorted.
        start, end: minutes since midnight. An end that isn't later is that of the day after.
        zone: the name of the time zone.
    """

    days: tuple[int, ...]
    start: int
    end: int
    zone: str

    def shows(self, at: datetime) -> bool:
        """Return whether a clock on the wall shows a time within."""
        day, minutes = at.weekday(), at.hour * 60 + at.minute
        if self.start < self.end:
            return day in self.days and self.start <= minutes < self.end
        late = day in self.days and minutes >= self.start
        return late or ((day - 1) % 7 in self.days and minutes < self.end)

    def __str__(self) -> str:
        days = "" if len(self.days) == len(DAYS) else f"{_written(self.days)} "
        return f"{days}{_clock(self.start)}-{_clock(self.end)} {self.zone}"


class Window(msgspec.Struct, frozen=True):
    """The times at which something may begin: whenever one of its spans is open.

    A span is open whenever clocks in its zone show a time that is in it. So what lies in the hour
    that is left out when they are put forward isn't open on that day, and what lies in the hour
    that comes twice is open twice.

    Attributes:
        spans: at least one, in the order in which they were written.
    """

    spans: tuple[Span, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a window; `str` of it is read as an equal one.

            >>> str(Window.parse("fri-sun,mon 22:00-06:00 UTC; 12:00-13:00 Asia/Tokyo"))
            'Mon,Fri-Sun 22:00-06:00 UTC; 12:00-13:00 Asia/Tokyo'

        Parameters:
            text: parts between semicolons, each of days (`Mon-Fri`, `Sat,Sun`; unless given, all),
                two times with a dash between (`24:00` is an end, too), and the name of a time
                zone of the IANA database. One that ends earlier than it begins ends on the day
                after.

        Raises `InvalidWindow` when the text is none.
        """
        return cls(_spans(text))

    def __str__(self) -> str:
        return "; ".join(map(str, self.spans))

    def is_open(self, at: float) -> bool:
        """Return whether it is open at a moment, in seconds since 1970."""
        return any(span.shows(_local(at, span.zone)) for span in self.spans)

    def opens(self, at: float) -> float | None:
        """Return when it is open next, in seconds since 1970: at once where it is open.

        None where that is not within the next weeks.
        """
        if self.is_open(at):
            return at
        found = (
            moment
            for span in self.spans
            for moment in _beginnings(span, at)
            if moment > at and self.is_open(moment)
        )
        return min(found, default=None)


def _local(at: float, zone: str) -> datetime:
    return datetime.fromtimestamp(at, ZoneInfo(zone))


def _beginnings(span: Span, at: float) -> Iterator[float]:
    """Yield moments among which are all of the next weeks at which a span opens."""
    zone = ZoneInfo(span.zone)
    today = _local(at, span.zone).date()
    for count in range(-1, _LOOKED_AHEAD):
        day = today + timedelta(days=count)
        begins = datetime.combine(day, time(), zone) + timedelta(minutes=span.start)
        yield begins.timestamp()
        yield begins.replace(fold=1).timestamp()
        moved = _moved(day, zone)
        if moved is not None:
            yield moved


def _moved(day: date, zone: ZoneInfo) -> float | None:
    """Return when clocks are put forward or back in the 24 hours before noon (UTC) of a day."""
    until = int(datetime.combine(day, time(12), UTC).timestamp())
    since = until - 86400
    after = _offset(until, zone)
    if _offset(since, zone) == after:
        return None
    while until - since > 1:
        middle = (since + until) // 2
        if _offset(middle, zone) == after:
            until = middle
        else:
            since = middle
    return float(until)


def _offset(at: int, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(at, zone).utcoffset()


# Reading


@functools.lru_cache(1000)
def _spans(text: str) -> tuple[Span, ...]:
    problem = _problem(text)
    if problem is None:
        try:
            return tuple(_span(part.split()) for part in text.split(";"))
        except ValueError as error:
            problem = str(error)
    raise InvalidWindow(f"{quoted(text)} is not a window: {problem}")


def _problem(text: str) -> str | None:
    if not text.strip():
        return f"it is empty, {_FORM}"
    if len(text) > LONGEST:
        return f"it has {len(text)} characters, use at most {LONGEST}"
    if problem := problem_with_characters(text.replace(" ", "_")):
        return problem
    if (parts := 1 + text.count(";")) > MOST_SPANS:
        return f"it has {parts} parts, use at most {MOST_SPANS}"
    return None


def _span(words: list[str]) -> Span:
    if not words:
        raise ValueError("beside one of its ';' something is missing, leave that out")
    if len(words) == 1 or (len(words) == 2 and "/" not in words[1] and ":" in words[1]):
        raise ValueError(
            f"{quoted(' '.join(words))} names no time zone, {_FORM}: without one it would be "
            "another time at each controller"
        )
    if len(words) > 3:
        raise ValueError(
            f"{quoted(' '.join(words))} has {len(words)} words, {_FORM}; several are parted by ';'"
        )
    days, (times, zone) = words[:-2], words[-2:]
    start, end = _times(times)
    return Span(_days(days[0]) if days else tuple(range(len(DAYS))), start, end, _zone(zone))


def _times(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not dash:
        raise ValueError(f"{quoted(text)} is no span of time, {_FORM}")
    start, end = _minutes(first), _minutes(last)
    if start == WHOLE_DAY:
        raise ValueError("'24:00' is an end alone, begin with '00:00' on the day after")
    if start == end:
        raise ValueError(f"{quoted(text)} has no length, write '00:00-24:00' for whole days")
    return start, end


def _minutes(text: str) -> int:
    found = _CLOCK.fullmatch(text)
    if found is not None:
        minutes = int(found[1]) * 60 + int(found[2])
        if int(found[2]) < 60 and minutes <= WHOLE_DAY:
            return minutes
    raise ValueError(f"{quoted(text)} is no time of the day, write from '00:00' to '24:00'")


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _days(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = _day(first)
        end = _day(last) if dash else start
        found |= {(start + count) % 7 for count in range((end - start) % 7 + 1)}
    return tuple(sorted(found))


def _day(text: str) -> int:
    name = text.capitalize()
    if name not in DAYS:
        raise ValueError(f"{quoted(text)} is no day, write one of {', '.join(DAYS)}")
    return DAYS.index(name)


def _written(days: tuple[int, ...]) -> str:
    """Return days as people write them: three and more in a row by their first and last."""
    rows: list[list[int]] = []
    for day in days:
        if rows and rows[-1][-1] == day - 1:
            rows[-1].append(day)
        else:
            rows.append([day])
    return ",".join(
        f"{DAYS[row[0]]}-{DAYS[row[-1]]}" if len(row) > 2 else ",".join(DAYS[each] for each in row)
        for row in rows
    )


def _zone(name: str) -> str:
    try:
        if name not in _OF_THIS_MACHINE and not name.startswith(_LEAPING):
            ZoneInfo(name)
            return name
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    asked = did_you_mean(name, _zones())
    raise ValueError(f"there is no time zone {quoted(name)}, write one as 'Europe/Berlin'. {asked}")


@functools.cache
def _zones() -> frozenset[str]:
    # Some 600 files are looked for.
    return frozenset(available_timezones() - set(_OF_THIS_MACHINE))
