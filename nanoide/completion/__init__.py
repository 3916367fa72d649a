"""Inline completion: the prompt, the shape of what may be shown, the cache, the neighbouring text.

Pure: no I/O, no asyncio. Editors and the hub share it.
"""
