from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nanoide.core.errors import Outcome
from nanoide.routing.breaker import Breaker, Kept, Leave, Patience

NOW = 100.0


def _fail(breaker: Breaker, now: float, outcome: Outcome = "server_error", retry_after: float | None = None) -> None:
    leave = breaker.admit(now)
    assert leave is not None
    breaker.ended(leave, outcome, now, retry_after=retry_after, reason="boom")


def test_it_opens_after_three_failures_in_a_row_and_says_why() -> None:
    """Two are bad luck."""
    breaker = Breaker()
    _fail(breaker, NOW)
    _fail(breaker, NOW)
    assert breaker.state(NOW) == "closed"
    _fail(breaker, NOW)
    assert breaker.state(NOW) == "open"
    assert breaker.refusal(NOW) == "rests for 5 s after: boom"
    assert breaker.admit(NOW + 4.9) is None


def test_a_success_between_failures_begins_the_count_anew() -> None:
    """Only failures in a row count; a prompt it does not like is no failure."""
    breaker = Breaker()
    for outcome in ("server_error", "server_error", "ok", "timeout", "cut", "bad_request", "server_error"):
        _fail(breaker, NOW, outcome)
    assert breaker.state(NOW) == "closed"


def test_overload_opens_at_once_and_retry_after_is_honoured() -> None:
    """The server's own word counts, to a limit; nobody asks before."""
    breaker = Breaker()
    _fail(breaker, NOW, "overloaded", retry_after=42.0)
    assert breaker.rest(NOW) == 42.0
    assert breaker.admit(NOW + 41.9) is None
    assert breaker.admit(NOW + 42.0) == Leave(probe=True)
    greedy = Breaker(Patience(told=10.0))
    _fail(greedy, NOW, "overloaded", retry_after=1e9)
    assert greedy.rest(NOW) == 10.0


def test_half_open_lets_exactly_one_probe_through() -> None:
    """Fifty who ask at the same time: one goes, and its end decides."""
    breaker = Breaker()
    _fail(breaker, NOW, "overloaded")
    later = NOW + 5.0
    leaves = [leave for leave in (breaker.admit(later) for _ in range(50)) if leave is not None]
    assert leaves == [Leave(probe=True)]
    assert "another turn" in breaker.refusal(later)
    breaker.ended(leaves[0], "ok", later)
    assert breaker.state(later) == "closed"
    assert all(breaker.admit(later) is not None for _ in range(50))


def test_a_probe_that_fails_lengthens_the_rest_and_one_that_is_cancelled_frees_the_place() -> None:
    """5, 10, 20 … up to the longest; a cancelled probe says nothing."""
    breaker = Breaker()
    now = NOW
    for rest in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        _fail(breaker, now, "unavailable")
        assert breaker.rest(now) == rest
        now += rest
    leave = breaker.admit(now)
    assert leave is not None
    breaker.ended(leave, "cancelled", now)
    assert breaker.admit(now) == Leave(probe=True)


def test_attempts_from_before_the_opening_do_not_lengthen_the_rest() -> None:
    """Twelve turns that fail together are one outage."""
    breaker = Breaker()
    leaves = [breaker.admit(NOW) for _ in range(12)]
    for leave in leaves:
        assert leave is not None
        breaker.ended(leave, "connect_error", NOW)
    assert breaker.rest(NOW) == 5.0


def test_a_backend_that_minds_its_own_crashes_is_not_rested_for_them() -> None:
    """One crash of the engine fails every turn it was working on."""
    breaker = Breaker(Patience(crashes=False))
    for _ in range(12):
        _fail(breaker, NOW, "crashed")
    assert breaker.state(NOW) == "closed"


def test_a_refused_key_is_not_tried_again_until_it_is_another_one() -> None:
    """No time heals it; what forgets it is another key, or an attempt from before that ends well."""
    breaker = Breaker()
    _fail(breaker, NOW, "auth")
    assert breaker.locked
    assert breaker.admit(NOW + 1e9) is None
    assert breaker.refusal(NOW) == "waits for another key after: boom"
    breaker.forget()
    assert breaker.admit(NOW) == Leave(probe=False)


def test_a_probe_that_speaks_lets_the_others_come_and_one_more_failure_ends_that() -> None:
    """A long answer keeps nobody waiting; one that breaks off rests the backend for longer than before."""
    breaker = Breaker()
    _fail(breaker, NOW, "overloaded")
    probe = breaker.admit(NOW + 5.0)
    assert probe is not None
    breaker.spoke(probe)
    assert breaker.admit(NOW + 5.0) == Leave(probe=False)
    breaker.ended(probe, "cut", NOW + 6.0)
    assert breaker.rest(NOW + 6.0) == 10.0


def test_an_old_probe_that_ends_does_not_make_room_for_a_second_new_one() -> None:
    """It spoke, and is no probe any more."""
    breaker = Breaker()
    _fail(breaker, NOW, "overloaded")
    old = breaker.admit(NOW + 5.0)
    assert old is not None
    breaker.spoke(old)
    _fail(breaker, NOW + 6.0, "overloaded")
    assert breaker.admit(NOW + 60.0) == Leave(probe=True)
    breaker.ended(old, "cancelled", NOW + 60.0)
    assert breaker.admit(NOW + 60.0) is None


def test_an_allowance_that_is_used_up_rests_the_backend_until_it_is_filled() -> None:
    """Answers to earlier questions do not end that."""
    breaker = Breaker()
    earlier, last = breaker.admit(NOW), breaker.admit(NOW)
    assert earlier is not None
    assert last is not None
    breaker.ended(last, "ok", NOW)
    breaker.exhausted(12.0, NOW)
    breaker.ended(earlier, "ok", NOW)
    assert breaker.rest(NOW) == 12.0
    assert breaker.refusal(NOW) == "rests for 12 s after: its allowance is used up"
    probe = breaker.admit(NOW + 12.0)
    assert probe == Leave(probe=True)
    breaker.ended(probe, "ok", NOW + 12.0)
    assert breaker.state(NOW + 12.0) == "closed"


def test_another_breaker_goes_on_where_one_ended() -> None:
    """The rest that is left, and how many there were in a row; a refused key stays refused."""
    breaker, later = Breaker(), Breaker()
    assert breaker.kept(NOW) is None
    _fail(breaker, NOW, "overloaded")
    kept = breaker.kept(NOW + 2.0)
    assert kept == Kept(rest=3.0, rests=1, reason="boom")
    later.take_up(kept, 7.0)
    assert later.refusal(7.0) == "rests for 3 s after: boom"
    _fail(later, 10.0)
    assert later.rest(10.0) == 10.0
    refused = Breaker()
    _fail(refused, NOW, "auth")
    kept = refused.kept(NOW)
    assert kept is not None
    later.take_up(kept, 7.0)
    assert later.locked


def test_who_waits_is_told_when_to_look_again() -> None:
    """When it opens, when a probe is free again, when it closes; never for nothing."""
    told: list[str] = []
    breaker = Breaker(on_change=lambda: told.append(breaker.state(NOW + 5.0)))
    breaker.ended(Leave(probe=False), "ok", NOW)
    assert told == []
    _fail(breaker, NOW, "overloaded")
    probe = breaker.admit(NOW + 5.0)
    assert probe is not None
    breaker.ended(probe, "cancelled", NOW + 5.0)
    probe = breaker.admit(NOW + 5.0)
    assert probe is not None
    breaker.spoke(probe)
    breaker.ended(probe, "ok", NOW + 5.0)
    assert told == ["half-open", "half-open", "closed"]


class Callers(RuleBasedStateMachine):
    """Any number of callers, any order of ends, time going on."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(Patience(failures=2, rest=4.0, longest=16.0, told=30.0))
        self.now = 0.0
        self.under_way: list[Leave] = []
        self.spoken: list[Leave] = []
        self.not_before = 0.0

    @rule(seconds=st.floats(0.0, 40.0))
    def time_goes_on(self, seconds: float) -> None:
        """It passes."""
        self.now += seconds

    @rule()
    def someone_asks(self) -> None:
        """What `refusal` says is what `admit` does."""
        refusal = self.breaker.refusal(self.now)
        leave = self.breaker.admit(self.now)
        assert (leave is None) == bool(refusal)
        if leave is not None:
            assert self.now >= self.not_before - 0.001
            self.under_way.append(leave)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def someone_speaks(self, data: st.DataObject) -> None:
        """A first token: an attempt that was a probe is one like any other from here on."""
        leave = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.breaker.spoke(leave)
        self.spoken.append(leave)
        if leave.probe:
            self.not_before = 0.0

    @precondition(lambda self: self.under_way or self.spoken)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["ok", "server_error", "timeout", "overloaded", "quota", "cancelled", "bad_request"]),
        after=st.none() | st.floats(0.0, 60.0),
    )
    def someone_ends(self, data: st.DataObject, outcome: Outcome, after: float | None) -> None:
        """Well or badly, with or without a Retry-After."""
        place = data.draw(st.integers(0, len(self.under_way) + len(self.spoken) - 1))
        mute = place < len(self.under_way)
        leave = self.under_way.pop(place) if mute else self.spoken.pop(place - len(self.under_way))
        after = after if outcome == "overloaded" else None
        self.breaker.ended(leave, outcome, self.now, retry_after=after)
        if after is not None:
            self.not_before = max(self.not_before, self.now + min(after, 30.0))
        elif outcome in {"ok", "bad_request"}:
            self.not_before = 0.0

    @invariant()
    def one_probe_at_most(self) -> None:
        """Never two."""
        assert sum(leave.probe for leave in self.under_way) <= 1

    @invariant()
    def no_rest_is_longer_than_the_longest(self) -> None:
        """It always comes back by itself."""
        assert self.breaker.rest(self.now) < 30.001


TestCallers = Callers.TestCase
