"""One way to ask: each module turns one kind of server into a `Backend`. HTTP lives here and in the gateway only."""
