"""What lasts: sessions as Facts, the ledger, the workspace index. The only room that knows SQLite."""
