"""Lines in a table of the database, for tests that do not care which."""

import apsw

from nanoide.store.sql import rows


def put(value: str, key: str = "a"):
    """A write that puts one line into a table."""

    def work(connection: apsw.Connection) -> int:
        rows(connection, "INSERT INTO grants (skill, backend, at) VALUES (?, ?, 0)", (key, value))
        return connection.last_insert_rowid()

    return work


def count(connection: apsw.Connection) -> int:
    """How many lines there are."""
    return rows(connection, "SELECT count(*) FROM grants")[0][0]
