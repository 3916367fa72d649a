"""Pure values and rules. No I/O, no asyncio, no import from any other room enters here."""
