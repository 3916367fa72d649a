"""The way to the hub, for every front door: find or start it, ask it, hear from it."""
