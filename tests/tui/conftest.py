"""Quicker looks at whether the app has come to rest."""

import pytest
import textual._wait


@pytest.fixture(autouse=True)
def quick_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pilot looks every 5 ms instead of every 20 ms: it does so twice for every key."""
    monkeypatch.setattr(textual._wait, "SLEEP_GRANULARITY", 1 / 200)
    monkeypatch.setattr(textual._wait, "SLEEP_IDLE", 1 / 400)
