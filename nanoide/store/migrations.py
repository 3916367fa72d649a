"""The schema, as numbered steps. A step that was ever released is never changed; a new one is added below."""

APPLICATION_ID = 0x6E616E6F
"""In the header of every database of ours ("nano"), so that a foreign one is told apart."""

MIGRATIONS: tuple[str, ...] = (
    # 1: sessions, the ledger, what left the machine, what was allowed for good.
    """
    CREATE TABLE facts (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, also after a deletion
        session TEXT NOT NULL,
        type TEXT NOT NULL,                    -- the event's tag
        at INTEGER NOT NULL,                   -- microseconds since 1970, UTC
        body TEXT NOT NULL                     -- the event as JSON, its tag included
    );
    CREATE INDEX facts_by_session ON facts (session, seq);
    CREATE INDEX facts_asked ON facts (session, seq) WHERE type = 'turn-asked';

    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        number INTEGER NOT NULL UNIQUE,
        outline TEXT NOT NULL,                 -- the session without turns, as JSON; empty when removed
        removed INTEGER NOT NULL DEFAULT 0     -- the line stays, so that its number is not used again
    ) WITHOUT ROWID;

    CREATE TABLE ledger (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,                   -- microseconds since 1970, UTC
        turn TEXT NOT NULL,
        number INTEGER NOT NULL,               -- of the attempt within its turn, from 1
        session TEXT NOT NULL,
        skill TEXT NOT NULL,
        project TEXT NOT NULL,
        branch TEXT NOT NULL,
        backend TEXT NOT NULL,
        location TEXT NOT NULL,                -- device, lan or remote
        tier TEXT NOT NULL,
        model TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL,
        ms INTEGER NOT NULL,
        ttft_ms INTEGER,
        input INTEGER NOT NULL,
        output INTEGER NOT NULL,
        cache_read INTEGER NOT NULL,
        cache_write INTEGER NOT NULL,
        estimated INTEGER NOT NULL,
        cost_nano INTEGER,                     -- nano-dollars; NULL is unpriced, which is not free
        price_source TEXT NOT NULL
    );
    CREATE INDEX ledger_by_time ON ledger (at);
    CREATE INDEX ledger_by_turn ON ledger (turn, outcome);

    CREATE TABLE egress (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        backend TEXT NOT NULL,
        host TEXT NOT NULL,
        location TEXT NOT NULL,
        session TEXT NOT NULL,
        skill TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        hidden TEXT NOT NULL                   -- a JSON array of phrases
    );

    CREATE TABLE grants (
        skill TEXT NOT NULL,
        backend TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (skill, backend)
    ) WITHOUT ROWID;
    """,
    # 2: what is allowed for good is bound to the host, so that another address asks again; sums of one session.
    """
    ALTER TABLE grants ADD COLUMN host TEXT NOT NULL DEFAULT ''; -- empty for those of before: they do not hold
    CREATE INDEX ledger_by_session ON ledger (session);
    """,
)
"""The database's user_version is how many of these have been applied."""
