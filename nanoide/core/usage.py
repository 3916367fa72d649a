"""Tokens and money. Money is integer nano-dollars; prices are integer pico-dollars a token.

One US dollar per million tokens is one micro-dollar, that is 1,000,000 pico-dollars, a token.
"""

from decimal import ROUND_HALF_EVEN, Decimal

from nanoide.core.value import Value

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""


class Usage(Value, frozen=True):
    """Tokens of one attempt. `input` counts all input tokens, those read from a cache included."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    """Part of `input` that came from a prompt cache (a provider's, or this machine's KV cache)."""
    cache_write: int = 0
    """Part of `input` that was written to a provider's prompt cache at a price of its own."""
    estimated: bool = False
    """True when any of the numbers is our count, not the backend's report."""

    def __add__(self, other: "Usage") -> "Usage":
        """The sum; estimated when either part is."""
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            estimated=self.estimated or other.estimated,
        )


class Price(Value, frozen=True):
    """What one token costs, in integer pico-dollars."""

    input: int = 0
    output: int = 0
    cache_read: int | None = None
    """None means as `input`."""
    cache_write: int | None = None
    """None means as `input`."""
    source: str = ""
    """Where the price comes from: "config", "genai-prices 0.2.3" …, "device" for a local model."""


FREE = Price(source="device")
"""What a backend on this device costs: no money. Energy is told apart from money."""


def price_per_million(usd: str | Decimal) -> int:
    """Pico-dollars a token for a price in `usd` per million tokens. Raises ValueError when it is no price."""
    try:
        value = Decimal(usd)
    except ArithmeticError as error:
        raise ValueError(f"{usd!r} is not a decimal number") from error
    if not value.is_finite() or value < 0 or value > 1_000_000:
        raise ValueError(f"{usd!r} is not a price between 0 and 1000000")
    return int((value * 1_000_000).to_integral_value(rounding=ROUND_HALF_EVEN))


def cost(usage: Usage, price: Price) -> int:
    """Nano-dollars for `usage` at `price`, rounded half to even once, at the end."""
    plain = max(0, usage.input - usage.cache_read - usage.cache_write)
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    pico = plain * price.input + usage.cache_read * read + usage.cache_write * write + usage.output * price.output
    return int((Decimal(pico) / 1000).to_integral_value(rounding=ROUND_HALF_EVEN))


def usd(nano: int) -> str:
    """A decimal string in dollars with all nine digits: `usd(1_500) == "0.000001500"`."""
    sign = "-" if nano < 0 else ""
    whole, part = divmod(abs(nano), NANO)
    return f"{sign}{whole}.{part:09d}"


def nano_from_usd(text: str | Decimal) -> int:
    """Nano-dollars for a decimal string in dollars. Raises ValueError when it is no amount ≥ 0."""
    try:
        value = Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"{text!r} is not a decimal number") from error
    if not value.is_finite() or value < 0:
        raise ValueError(f"{text!r} is not an amount of at least 0")
    return int((value * NANO).to_integral_value(rounding=ROUND_HALF_EVEN))
