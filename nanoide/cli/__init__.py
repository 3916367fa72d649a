"""The command line: one file per noun, each of which parses, makes one call to the hub, and prints.

No thinking enters here: what a command shows, the hub has told.
"""
