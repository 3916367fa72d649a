from nanoide.routing.latency import ENOUGH, REMEMBERED, Latency, percentile


def test_too_few_first_tokens_say_nothing() -> None:
    """Nineteen are luck, twenty a habit."""
    latency = Latency()
    for _ in range(ENOUGH - 1):
        latency.note(9.0)
    assert (latency.p50, latency.p95, latency.slow(1.0)) == (None, None, "")
    latency.note(9.0)
    assert (latency.p50, latency.p95) == (9.0, 9.0)


def test_the_oldest_are_forgotten() -> None:
    """What was slow an hour ago is not slow now."""
    latency = Latency()
    for _ in range(REMEMBERED):
        latency.note(30.0)
    for _ in range(REMEMBERED):
        latency.note(0.2)
    assert latency.count == REMEMBERED
    assert latency.p95 == 0.2


def test_a_rung_is_slow_when_one_in_twenty_reaches_its_limit() -> None:
    """It is told with the figure; below the limit nothing is."""
    latency = Latency()
    for place in range(60):
        latency.note(12.34 if place % 10 == 0 else 1.0)
    assert latency.p50 == 1.0
    assert latency.slow(10.0) == "is slow: first token after up to 12.3 s"
    assert latency.slow(15.0) == ""


def test_a_percentile_is_one_of_those_seen() -> None:
    """The smallest that the share does not exceed."""
    seen = [float(each) for each in range(1, 101)]
    assert [percentile(seen, share) for share in (0.01, 0.5, 0.95, 1.0)] == [1.0, 50.0, 95.0, 100.0]
    assert percentile([7.0], 0.95) == 7.0
