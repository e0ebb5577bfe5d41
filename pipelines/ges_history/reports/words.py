"""How numbers, sizes, times and names read on screen and page. All of it is pure."""

import unicodedata
from datetime import date, datetime
from math import floor

NONE = "\N{EN DASH}"

_SIZE_UNITS = (("TB", 1024.0**2), ("GB", 1024.0), ("MB", 1.0))
_TIME_UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))


def number(value: float | None, digits: int = 0) -> str:
    """A number with separators: 1,234.5."""
    return NONE if value is None else f"{value:,.{digits}f}".replace("-", "\u2212")


def size(mb: float | None) -> str:
    """A size given in MB, in the unit that reads best; 1 GB is 1,024 MB."""
    if mb is None:
        return NONE
    unit, factor = size_unit(abs(mb))
    value = mb / factor
    digits = 0 if unit == "MB" and (abs(value) >= 100 or value == int(value)) else 1
    return f"{number(value, digits)} {unit}"


def change(mb: float | None) -> str:
    """A size with its sign, for growth."""
    if mb is None:
        return NONE
    sign = "+" if mb > 0 else ""
    if abs(mb) < 1:
        return f"{sign}{number(mb, 2)} MB" if abs(mb) >= 0.005 else "0 MB"
    return sign + size(mb)


def size_unit(largest_mb: float) -> tuple[str, float]:
    """The unit for sizes up to this one, and how many MB it has."""
    return next((unit for unit in _SIZE_UNITS if largest_mb >= unit[1]), _SIZE_UNITS[-1])


def time_unit(longest_seconds: float) -> tuple[str, float]:
    """The unit for durations up to this one, and how many seconds it has."""
    return next((unit for unit in _TIME_UNITS if longest_seconds >= 2 * unit[1]), _TIME_UNITS[-1])


def seconds(value: float | None) -> str:
    """A duration given in seconds, in its two largest units: 2 h 5 min."""
    if value is None:
        return NONE
    if abs(value) < 60:
        return f"{number(value, 0 if value == int(value) else 1)} s"
    return hours(value / 3600)


def hours(value: float | None) -> str:
    """A duration given in hours, in its two largest units: 3 days 4 h."""
    if value is None:
        return NONE
    if value < 0:
        return f"\u2212{hours(-value)}"
    total = _whole(value * 3600)
    if total < 3600:
        minutes, rest = divmod(total, 60)
        return _two(minutes, "min", rest if minutes < 10 else 0, "s")
    total = _whole(total / 60)
    if total < 48 * 60:
        return _two(*_parts(total, 60, "h", "min"))
    days, rest = divmod(_whole(total / 60), 24)
    return _two(days, "days", rest if days < 14 else 0, "h")


def percent(share: float | None) -> str:
    """A share from 0 to 1; 100 % and 0 % are only said where they are exact."""
    if share is None:
        return NONE
    shown = min(max(100 * share, 0.1), 99.9) if 0 < share < 1 else 100 * share
    return f"{shown:.1f} %" if 0 < share < 1 else f"{shown:.0f} %"


def day(value: date | datetime | None) -> str:
    """A date: 3 Nov 2026."""
    return NONE if value is None else f"{value.day} {value:%b %Y}"


def moment(value: datetime | None) -> str:
    """An instant in UTC: 3 Nov 2026, 02:05."""
    return NONE if value is None else f"{day(value)}, {value:%H:%M}"


def count(amount: int, one: str, many: str = "") -> str:
    """An amount with its noun: 1 graph, 2 graphs."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def plain(text: object) -> str:
    """Text from the API, harmless; a dash where there is none."""
    return NONE if text is None or text == "" else harmless(str(text))


def harmless(text: str) -> str:
    """Text without characters that steer a terminal, break its lines or turn them around."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else char
        for char in text
    )


def _whole(value: float) -> int:
    """To the nearest whole, halves up, as the page's script does."""
    return floor(value + 0.5)


def _parts(total: int, divisor: int, large: str, small: str) -> tuple[int, str, int, str]:
    whole, rest = divmod(total, divisor)
    return whole, large, rest, small


def _two(whole: int, large: str, rest: int, small: str) -> str:
    if not whole:
        return f"{rest} {small}"
    name = "day" if large == "days" and whole == 1 else large
    return f"{whole:,} {name} {rest} {small}" if rest else f"{whole:,} {name}"
