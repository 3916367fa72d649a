"""The language server: an editor's text in, one completion out, everything else asked of the hub.

`pygls` is imported only in this room. Nothing but LSP may reach standard output.
"""
