"""Speed and memory: `python -m tests.bench NAME [--check]`. Not part of the tests, which keep no time."""
