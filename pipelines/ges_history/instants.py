"""Instants as people give them, read in one place for every command and function."""

import re
from datetime import UTC, date, datetime, time, timedelta

Instant = str | date
"""A datetime, a date, ISO text of either, or `now`, `today`, `yesterday`, `7d`, `12h`, ..."""

_AGO = re.compile(r"(\d{1,6}) ?(m|min|h|d|w)", re.IGNORECASE)
_UNITS = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS = {"today": 0, "yesterday": 1}


def parse_instant(value: Instant, now: datetime | None = None) -> datetime:
    """An aware datetime, in UTC.

    Args:
        value: A datetime or a date, UTC where it has no zone; ISO 8601 text of either; `now`;
            `today` and `yesterday`, as UTC midnights; or so long ago: `90m`, `12h`, `7d`, `2w`.
        now: What relative words count from; default: the clock.

    Raises:
        ValueError: It is none of these; the message says what is.
    """
    if not isinstance(value, str):
        return _in_utc(value)
    now = now or datetime.now(UTC)
    text = value.strip().lower()
    if text == "now":
        return now
    if text in _DAYS:
        return _in_utc(now.astimezone(UTC).date()) - timedelta(days=_DAYS[text])
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return _in_utc(datetime.fromisoformat(value.strip()))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{value!r} is no instant: give one like 2026-06-08, 2026-06-08T13:55:13Z, 7d, 12h,"
            " yesterday or today."
        ) from None


def _in_utc(value: date) -> datetime:
    found = value if isinstance(value, datetime) else datetime.combine(value, time())
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
