"""No policy can be widened, and only what the policy says leaves the machine."""

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.core.policy import Egress, Where, decide, narrowest

POLICIES = st.none() | st.sampled_from(get_args(Egress))


@given(st.lists(POLICIES, max_size=5), POLICIES)
def test_another_voice_never_widens(said: list[Egress | None], more: Egress | None) -> None:
    """Adding a policy leaves it as strict or makes it stricter."""
    order = ["local-only", "ask", "remote"]
    if any(said):
        assert order.index(narrowest(*said, more)) <= order.index(narrowest(*said))


def test_with_nothing_said_the_person_is_asked() -> None:
    """Silence is not consent."""
    assert narrowest() == narrowest(None, None) == "ask"


@pytest.mark.parametrize(("policy", "where"), list(product(get_args(Egress), get_args(Where))))
def test_the_whole_table(policy: Egress, where: Where) -> None:
    """On the device always; elsewhere as the policy says."""
    expected = "allow" if where == "device" else {"local-only": "refuse", "ask": "ask", "remote": "allow"}[policy]
    assert decide(policy, where) == expected
