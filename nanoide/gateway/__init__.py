"""OpenAI-compatible HTTP on loopback, for programs that speak nothing else: a process of its own, a client of the hub.

Everything that is asked here goes to the hub, so it has the ladder, the breakers, the policy and the ledger.
Starlette and uvicorn are imported in this room alone.
"""
