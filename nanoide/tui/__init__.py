"""The command center: glass over the hub. It renders sessions and sends requests, and holds no truth."""
