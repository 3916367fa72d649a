"""The hub: one per user, owner of everything that lasts. Clients reach it only over its socket."""
