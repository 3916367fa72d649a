"""SQL in two calls. The one place that bridges apsw's stub, part of which Python 3.11 cannot resolve."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import apsw

SqlValue = str | int | float | bytes | None
Values = Sequence[SqlValue] | Mapping[str, SqlValue]


def rows(connection: apsw.Connection, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
    """Run `statement` and fetch every row it gives; the columns have the types that it asks for."""
    cursor = connection.execute(statement, values)  # pyright: ignore[reportUnknownMemberType] - apsw's own stub
    return cast("list[tuple[Any, ...]]", cursor.fetchall())  # pyright: ignore[reportUnknownMemberType] - likewise


def each(connection: apsw.Connection, statement: str, values: Iterable[Values]) -> None:
    """Run `statement` once for each of `values`."""
    connection.executemany(statement, values)  # pyright: ignore[reportUnknownMemberType] - likewise
