"""The wall: real servers on loopback that misbehave, and what a person sees of it.

`python -m tests.faults` plays every row and prints what was seen, as the table of docs/failover.md.
"""
