"""HL7 v2 time stamps as FHIR writes them, with the precision they came in.

A time is never given an offset that nobody stated: its own, else the message's, else that of the declared zone at
that moment. Without one only the date stands.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

_LENGTHS = (4, 6, 8, 10, 12, 14)
_PLAIN = (12, 14, 19)  # to the minute, to the second, and that with an offset


def offset_of(text: str) -> str:
    """The offset at the end of a time stamp as FHIR writes it; "" when there is none."""
    if text.isdigit():
        return ""
    if text[:-5].isdigit() and text[-5] in "+-":
        return _stated(text[-5], text[-4:]) or ""
    return _split(text)[1] or ""


def read_stamp(text: str, message_offset: str, zone: ZoneInfo | None) -> tuple[str, str]:
    """A FHIR date or dateTime ("" when there is none) and the code of what is wrong ("" when nothing is)."""
    found = plain_stamp(text, message_offset, zone)
    return (found, "") if found else _read_any(text, message_offset, zone)


def plain_stamp(text: str, message_offset: str, zone: ZoneInfo | None) -> str:
    """A dateTime of a stamp with minutes, and an offset or none, in which nothing is wrong; "" for any other."""
    digits = text[:14]
    if len(text) in _PLAIN and digits.isdigit() and text.isascii():
        minutes, seconds = digits[10:12], digits[12:] or "00"
        known = _hour(digits[:10], text[14:], message_offset, zone)
        if known and minutes <= "59" and seconds <= "59":
            return f"{known[0]}{minutes}:{seconds}{known[1]}"
    return ""


def read_day(text: str) -> tuple[str, str]:
    """A FHIR date of the day, and no more, of a stamp, and the code of what is wrong."""
    day = _day(text[:8]) if text.isdigit() and len(text) > 7 and text.isascii() else ""
    return (day, "") if day else _read_any(text[:8], "", None)


@lru_cache(maxsize=4096)
def _hour(digits: str, stated: str, message_offset: str, zone: ZoneInfo | None) -> tuple[str, str] | None:
    """What stands before and behind the minutes and seconds of an hour; None when it may change within the hour."""
    first, fault = _read_any(digits + "0000" + stated, message_offset, zone)
    last, fault_of_last = _read_any(digits + "5959" + stated, message_offset, zone)
    before, behind = first[:14], first[19:]
    return (before, behind) if behind and behind == last[19:] and not (fault or fault_of_last) else None


def _read_any(text: str, message_offset: str, zone: ZoneInfo | None) -> tuple[str, str]:
    """A stamp of any length, with fraction and offset."""
    stamp, offset = (text, "") if text.isdigit() else _split(text)
    digits, dot, fraction = stamp.partition(".")
    n = len(digits)
    if offset is None or n not in _LENGTHS or not digits.isdigit() or not text.isascii():
        return "", "time_invalid"
    if dot and not (n == 14 and fraction.isdigit()):
        return "", "time_invalid"
    day = _day(digits[:8])
    if not day or digits[8:10] > "23" or digits[10:12] > "59" or digits[12:] > "59":
        return "", "time_invalid"
    if n <= 8:
        return day, ""
    if n == 10:
        return day, "time_precision"
    offset, fault = (offset or message_offset, "") if offset or message_offset else _local(zone, digits)
    if not offset:
        return day, fault
    return f"{day}T{digits[8:10]}:{digits[10:12]}:{digits[12:] or '00'}{dot}{fraction}{offset}", fault


@lru_cache(maxsize=4096)
def _day(digits: str) -> str:
    """A year, month or day as FHIR writes it; "" when the calendar has none such."""
    try:
        date(int(digits[:4]), int(digits[4:6] or 1), int(digits[6:8] or 1))
    except ValueError:
        return ""
    return "-".join(part for part in (digits[:4], digits[4:6], digits[6:8]) if part)


def _local(zone: ZoneInfo | None, digits: str) -> tuple[str, str]:
    """The zone's offset at a local time, and what is wrong with it."""
    if zone is None:
        return "", "zone_unknown"
    return _offset_in_hour(zone, digits[:10]) or _offset(zone, digits[:12])


@lru_cache(maxsize=4096)
def _offset_in_hour(zone: ZoneInfo, digits: str) -> tuple[str, str] | None:
    """The offset when it is one and certain through the whole hour; clocks change within few hours."""
    first, last = _offset(zone, digits + "00"), _offset(zone, digits + "59")
    return first if first == last and not first[1] else None


def _offset(zone: ZoneInfo, digits: str) -> tuple[str, str]:
    moment = datetime.strptime(digits, "%Y%m%d%H%M")
    first = zone.utcoffset(moment)
    if first is None:  # a ZoneInfo always has one; the protocol of tzinfo does not promise it
        return "", "zone_unknown"
    doubtful = zone.utcoffset(moment.replace(fold=1)) != first
    return _written(first), "time_ambiguous" if doubtful else ""


def _written(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}"


def _split(text: str) -> tuple[str, str | None]:
    """The stamp and its offset: "" when there is none, None when what stands there is no offset."""
    for sign in "+-":
        stamp, found, offset = text.partition(sign)
        if found:
            return stamp, _stated(sign, offset)
    return (text[:-1], "+00:00") if text[-1:] == "Z" else (text, "")


@lru_cache(maxsize=256)
def _stated(sign: str, offset: str) -> str | None:
    """A stated offset as FHIR writes it; None when it is none."""
    if len(offset) == 4 and offset.isdigit() and offset <= "1400" and offset[2:] <= "59":
        return f"{sign}{offset[:2]}:{offset[2:]}"
    return None


def ends_before(start: str, end: str) -> bool:
    """True when the end of a period is certainly before its start (FHIR R4 per-1): "" is an open end."""
    if not (start and end):
        return False
    if "T" in start and "T" in end:
        return datetime.fromisoformat(end) < datetime.fromisoformat(start)
    known = min(len(start), len(end), 10)  # what both say of the date
    return end[:known] < start[:known]


def time_of_day(text: str) -> str:
    """A TM as FHIR time, "" when it is not one or has an offset, which FHIR's time cannot hold."""
    digits, dot, fraction = text.partition(".")
    if len(digits) not in (4, 6) or not digits.isdigit() or not text.isascii() or (dot and not fraction.isdigit()):
        return ""
    hours, minutes, seconds = digits[:2], digits[2:4], digits[4:] or "00"
    if hours > "23" or minutes > "59" or seconds > "59":
        return ""
    return f"{hours}:{minutes}:{seconds}{dot}{fraction}"
