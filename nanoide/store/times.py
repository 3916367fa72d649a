"""Times as the database keeps them: microseconds since 1970, UTC; and the days that people ask for."""

from datetime import UTC, datetime, timedelta, timezone

from nanoide.core.errors import UsageError

SECOND = 1_000_000
"""Microseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Microseconds since 1970. A time without a zone is taken as UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def iso(value: int) -> str:
    """ISO 8601 in UTC, as in "2026-11-21T04:30:00.250000Z"."""
    return (_EPOCH + timedelta(microseconds=value)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_iso(text: str) -> int:
    """Microseconds since 1970 for what `iso` wrote, or any ISO 8601 time. Raises ValueError when it is none."""
    return micros(datetime.fromisoformat(text))


def zone(minutes: int) -> timezone:
    """The time zone that many minutes east of UTC. Raises UsageError when there is no such place."""
    if not -18 * 60 <= minutes <= 18 * 60:
        raise UsageError(f"a time zone {minutes} minutes from UTC does not exist")
    return timezone(timedelta(minutes=minutes))


def since(text: str, minutes: int) -> int:
    """The moment a person means by an ISO 8601 date or time, `minutes` east of UTC. Raises UsageError."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            f"since {text!r} is neither a date nor a time", hint="write it as 2026-11-21 or 2026-11-21T13:30"
        ) from error
    try:
        return micros(at if at.tzinfo else at.replace(tzinfo=zone(minutes)))
    except OverflowError as error:
        raise UsageError(f"since {text!r} is out of range") from error


def midnight(now: datetime, minutes: int) -> int:
    """When the day of `now` began, `minutes` east of UTC."""
    local = now.astimezone(zone(minutes))
    return micros(local.replace(hour=0, minute=0, second=0, microsecond=0))
