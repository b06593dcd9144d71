"""Column types that behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from registry.errors import InvalidRecordError
from registry.states import VersionState


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time. Takes any aware datetime, gives it back in UTC; SQLite would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a naive datetime is refused, since nobody knows which time it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise InvalidRecordError(f"time `{value.isoformat()}` has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Attach or convert to UTC."""
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


class StateColumn(TypeDecorator[VersionState]):
    """A version's state, stored as its word."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: VersionState | str | None, dialect: Dialect) -> str | None:
        """The word; an unknown one is refused."""
        return None if value is None else VersionState(value).value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> VersionState | None:
        """The state that the word names."""
        return None if value is None else VersionState(value)


class Words(TypeDecorator[str]):
    """Text. A NUL or half of a surrogate pair is refused here, since one of the databases would."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it is."""
        if value is not None and ("\x00" in value or any("\ud800" <= one <= "\udfff" for one in value)):
            raise InvalidRecordError(f"text {value[:80]!a} holds a character that cannot be stored")
        return value
