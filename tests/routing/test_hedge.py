from nanoide.routing.hedge import SHARE, WINDOW, Allowance


def test_a_second_rung_is_asked_in_one_turn_of_twenty_at_most() -> None:
    """Also when every turn is slow, and in any two hundred turns in a row."""
    allowance = Allowance()
    taken: list[bool] = []
    for _ in range(1_000):
        allowance.turn()
        taken.append(allowance.take())
    assert sum(taken) == 50
    assert taken.index(True) == 19, "the twentieth turn may, none before"
    assert all(sum(taken[place : place + WINDOW]) <= WINDOW * SHARE for place in range(1_000))


def test_turns_that_need_no_second_rung_leave_it_to_later_ones_within_bounds() -> None:
    """Ten slow ones in a row after a long calm, then no more; with time there is room again."""
    allowance = Allowance()
    for _ in range(500):
        allowance.turn()
    assert [allowance.take() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(WINDOW):
        allowance.turn()
    assert allowance.take()
