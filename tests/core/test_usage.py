"""Money is exact: integers inside, decimals at the edge."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.core.usage import FREE, Price, Usage, cost, nano_from_usd, price_per_million, usd

COUNTS = st.integers(0, 10**7)


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        (Usage(), 0),
        (Usage(input=1_000_000), 250_000_000),
        (Usage(output=1_000_000), 1_250_000_000),
        (Usage(input=1_000_000, cache_read=1_000_000), 30_000_000),
        (Usage(input=1_000_000, cache_write=1_000_000), 250_000_000),
        (Usage(input=1, output=1), 1_500),
        (Usage(input=10, cache_read=20), 600),
    ],
)
def test_what_tokens_cost(usage: Usage, nano: int) -> None:
    """Cached tokens are part of the input and cost what is said for them, once."""
    price = Price(
        input=price_per_million("0.25"), output=price_per_million("1.25"), cache_read=price_per_million("0.03")
    )
    assert cost(usage, price) == nano


def test_a_local_model_costs_no_money() -> None:
    """Whatever it reads and writes."""
    assert cost(Usage(input=10**6, output=10**6), FREE) == 0


@given(st.builds(Usage, COUNTS, COUNTS), st.builds(Usage, COUNTS, COUNTS), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_cost_of_a_sum_is_the_sum_of_costs(one: Usage, two: Usage, given_price: int, taken_price: int) -> None:
    """But for one rounding each."""
    price = Price(input=given_price, output=taken_price)
    assert abs(cost(one + two, price) - cost(one, price) - cost(two, price)) <= 1


@given(st.integers(0, 10**15))
def test_dollars_go_out_and_in(nano: int) -> None:
    """Nine digits lose nothing."""
    assert nano_from_usd(usd(nano)) == nano
    assert Decimal(usd(nano)) * 10**9 == nano


def test_a_sum_with_an_estimate_is_an_estimate() -> None:
    """It is never dressed up as a report."""
    assert (Usage(input=1) + Usage(output=1, estimated=True)) == Usage(input=1, output=1, estimated=True)


@pytest.mark.parametrize("text", ["-1", "NaN", "inf", "ten", "", "1000001"])
def test_what_is_no_price(text: str) -> None:
    """Negative, not a number, or beyond all reason."""
    with pytest.raises(ValueError, match="is not a"):
        price_per_million(text)


@pytest.mark.parametrize("text", ["-0.01", "NaN", "Infinity", "2,50"])
def test_what_is_no_amount(text: str) -> None:
    """The same for dollars."""
    with pytest.raises(ValueError, match="is not a"):
        nano_from_usd(text)
