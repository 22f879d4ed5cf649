"""The date that the author of a message gives. RFC 5322 §3.3 with the obsolete forms of §4.3."""

import re
from datetime import UTC, datetime, timedelta, timezone

from maillib.message.content import without_comments
from maillib.message.fields import of_names

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    rb"(?:[A-Za-z]{1,10}+\s*+,?)?\s*+([0-9]{1,2})[\s-]++([A-Za-z]{3})[A-Za-z]{0,7}+[\s-]++([0-9]{4}|[0-9]{2,3})"
    rb"(?:,?\s++([0-9]{1,2})\s*+:\s*+([0-9]{1,2})(?:\s*+:\s*+([0-9]{1,2}))?)?(?:[.][0-9]{1,9})?"
    rb"\s*+([+-][0-9]{4}|[A-Za-z]{1,5})?"
)
_ZONES = {b"EDT": -4, b"EST": -5, b"CDT": -5, b"CST": -6, b"MDT": -6, b"MST": -7, b"PDT": -7, b"PST": -8}


def sent_date(header: bytes) -> datetime | None:
    """With its zone, UTC where that is unknown; None: there is no date that can be read."""
    values = of_names(header, (b"date",))
    return parse_date(values[-1][1]) if values else None


def parse_date(value: bytes) -> datetime | None:
    """A value of the field, unfolded."""
    match = _DATE.match(without_comments(value).strip())
    if match is None:
        return None
    month = match[2].decode("ascii").lower()
    if month not in _MONTHS:
        return None
    year = int(match[3])
    if len(match[3]) < 4:  # RFC 5322 §4.3
        year += 2000 if year < 50 and len(match[3]) == 2 else 1900
    try:
        return datetime(
            year,
            _MONTHS.index(month) + 1,
            int(match[1]),
            int(match[4] or 0),
            int(match[5] or 0),
            min(59, int(match[6] or 0)),  # a leap second is no second here
            tzinfo=_zone(match[7] or b""),
        )
    except ValueError:
        return None


def _zone(name: bytes) -> timezone:
    if name[:1] in (b"+", b"-"):
        minutes = int(name[1:3]) * 60 + int(name[3:5])
        if minutes >= 24 * 60:
            return UTC
        return timezone(timedelta(minutes=-minutes if name.startswith(b"-") else minutes))
    return timezone(timedelta(hours=_ZONES.get(name.upper(), 0)))
