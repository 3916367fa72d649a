"""nanoide: a terminal command center for nanochats, small AI sessions that each do one micro-task."""

__version__ = "0.1.0"
