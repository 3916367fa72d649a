import ast
import threading
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
from msgspec.structs import replace

import nanoide.routing
from nanoide.backends.scripted import ScriptedBackend
from nanoide.core.chat import Context, Fill, Message, Prompt, Reflex, Source
from nanoide.core.errors import BudgetRefused, PolicyRefused, StoreError
from nanoide.core.events import ConsentChoice
from nanoide.core.policy import Egress, Where
from nanoide.core.usage import NANO, Price
from nanoide.routing import egress
from nanoide.routing.budget import Purse
from nanoide.routing.egress import LARGE, Customs, Departure, Gate, Held, Pass, what_leaves
from nanoide.routing.redact import Redactor
from nanoide.settings import Budget
from nanoide.wire import EgressLine

SECRET = "ghp_" + "a1B2" * 9


class Border:
    """A gate to a scripted backend elsewhere, and everything that happens at it, in order."""

    def __init__(self, *, where: Where = "remote", budget: Budget | None = None, spent: int = 0) -> None:
        self.happened: list[object] = []
        self.choice: ConsentChoice = "once"
        self.backend = ScriptedBackend(["hi"], name="far", where=where, host="far (far.example)")
        budget = budget or Budget()

        async def audit(line: EgressLine) -> None:
            assert not self.backend.prompts, "the line is written before anything is sent"
            self.happened.append(line)

        async def today() -> int:
            return spent

        async def held() -> tuple[str, ...]:
            return ("held-key-of-mine",)

        self.purse = Purse(budget, spent=today, spent_since=None, clock=lambda: datetime.now(UTC))
        customs = Customs(audit=audit, purse=self.purse, held=held)
        price = Price(input=1_000_000, output=2_000_000, source="config")
        self.gate = Gate(self.backend, customs, price=price, policies=frozenset({"ask"}))

    async def consent(self, departure: Departure) -> ConsentChoice:
        """Answer as the person would."""
        self.happened.append(departure)
        return self.choice


def _prompt(egress: Egress = "remote", text: str = f"look: {SECRET} held-key-of-mine") -> Prompt:
    return Prompt(skill="explain", session="s-1", messages=(Message("user", text),), egress=egress, max_output=10)


async def _send(gate: Gate, leave: Pass | Held) -> list[object]:
    assert isinstance(leave, Pass)
    with leave:
        return [chunk async for chunk in await gate.open(leave)]


async def test_what_leaves_is_redacted_audited_and_then_sent() -> None:
    """The backend never sees a secret, and the audit knows the bytes that did leave."""
    border = Border()
    leave = await border.gate.clear(_prompt(), None)
    assert border.happened == []
    await _send(border.gate, leave)
    line = border.happened[0]
    assert isinstance(line, EgressLine)
    sent = border.backend.prompts[0].messages[0].text
    assert sent == "look: [hidden: GitHub token] [hidden: key]"
    assert (line.backend, line.host, line.where, line.session, line.skill) == (
        "far",
        "far (far.example)",
        "remote",
        "s-1",
        "explain",
    )
    assert line.bytes == len(sent)
    assert line.hidden == ("key of this machine", "GitHub token")


@pytest.mark.parametrize("where", ["lan", "remote"])
async def test_local_only_holds_everything_back(where: Where) -> None:
    """Neither the audit nor the person nor the backend hears of it."""
    border = Border(where=where)
    held = await border.gate.clear(_prompt("local-only"), border.consent)
    assert isinstance(held, Held)
    assert held.kind == "policy"
    assert border.happened == []
    assert border.backend.prompts == []


async def test_ask_asks_with_what_would_leave() -> None:
    """Whom, what, how much, what was hidden and what it may cost; yes lets it go."""
    border = Border()
    await _send(border.gate, await border.gate.clear(_prompt("ask"), border.consent))
    departure = border.happened[0]
    assert isinstance(departure, Departure)
    assert (departure.backend, departure.host, departure.what) == ("far", "far (far.example)", "the question")
    assert departure.hidden
    assert departure.tokens > 0
    assert departure.cost_nano is not None
    assert departure.cost_nano > 10 * 2_000
    assert isinstance(border.happened[1], EgressLine)


async def test_no_and_nobody_there_both_mean_stay() -> None:
    """Without a yes nothing leaves."""
    border = Border()
    border.choice = "stay"
    assert isinstance(await border.gate.clear(_prompt("ask"), border.consent), Held)
    assert isinstance(await border.gate.clear(_prompt("ask"), None), Held)
    assert border.backend.prompts == []


async def test_a_used_up_budget_goes_on_below_asks_or_stops() -> None:
    """As [budget] on_breach says."""
    local = Border(budget=Budget(day_usd="1", on_breach="local"), spent=NANO)
    held = await local.gate.clear(_prompt(), local.consent)
    assert isinstance(held, Held)
    assert held.kind == "budget"
    assert local.happened == []

    asks = Border(budget=Budget(day_usd="1", on_breach="ask"), spent=NANO)
    await _send(asks.gate, await asks.gate.clear(_prompt(), asks.consent))
    assert isinstance(asks.happened[0], Departure)
    assert asks.happened[0].over == "today's budget of $1 is used up"

    stops = Border(budget=Budget(day_usd="1", on_breach="stop"), spent=NANO)
    with pytest.raises(BudgetRefused, match="used up"):
        await stops.gate.clear(_prompt(), stops.consent)


async def test_what_was_reserved_is_free_again_after_each_way_out() -> None:
    """Sent, refused by the person, or never used."""
    border = Border(budget=Budget(day_usd="0.0001"))
    for _ in range(3):
        await _send(border.gate, await border.gate.clear(_prompt(text="x"), None))
        border.backend.prompts.clear()
        border.choice = "stay"
        assert isinstance(await border.gate.clear(_prompt("ask", "x"), border.consent), Held)
        leave = await border.gate.clear(_prompt(text="x"), None)
        assert isinstance(leave, Pass)
        with leave:
            pass


async def test_a_pass_is_good_once_and_at_its_own_gate_only() -> None:
    """There is no way to a backend elsewhere but through its gate."""
    border, other = Border(), Border()
    leave = await border.gate.clear(_prompt(), None)
    assert isinstance(leave, Pass)
    with pytest.raises(PolicyRefused):
        await other.gate.open(leave)
    await _send(border.gate, leave)
    with pytest.raises(PolicyRefused):
        await border.gate.open(leave)
    assert len(border.backend.prompts) == 1


async def test_nothing_leaves_when_the_audit_cannot_be_written() -> None:
    """A full disk is no reason to go unseen."""
    border = Border()

    async def full(line: EgressLine) -> None:
        raise StoreError("the disk is full")

    border.gate.customs.audit = full
    leave = await border.gate.clear(_prompt(), None)
    with pytest.raises(StoreError):
        await _send(border.gate, leave)
    assert border.backend.prompts == []


async def test_a_large_prompt_is_looked_through_beside_the_event_loop() -> None:
    """Nothing else waits meanwhile, and what comes out is the same."""
    border = Border()
    threads: set[int] = set()
    redact = Redactor.prompt

    class Watched(Redactor):
        def prompt(self, prompt: Prompt) -> tuple[Prompt, tuple[str, ...]]:
            threads.add(threading.get_ident())
            return redact(self, prompt)

    border.gate.customs._redactor = Watched()  # pyright: ignore[reportPrivateUsage]
    border.gate.customs._looked = monotonic()  # pyright: ignore[reportPrivateUsage]
    await _send(border.gate, await border.gate.clear(_prompt(text=f"{'x ' * LARGE}{SECRET}"), None))
    assert border.backend.prompts[0].messages[0].text.endswith("x [hidden: GitHub token]")
    assert threads
    assert threading.get_ident() not in threads


async def test_a_key_that_was_replaced_is_known_a_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that we hold are read anew."""
    border = Border()
    keys = ["first-key-of-mine"]

    async def held() -> list[str]:
        return list(keys)

    border.gate.customs._held = held  # pyright: ignore[reportPrivateUsage]
    text = "first-key-of-mine second-key-of-mine"
    assert (await border.gate.customs.examine(_prompt(text=text)))[0].messages[0].text.endswith("second-key-of-mine")
    keys.append("second-key-of-mine")
    monkeypatch.setattr(egress, "LOOK_AGAIN", 0.0)
    assert (await border.gate.customs.examine(_prompt(text=text)))[0].messages[0].text == "[hidden: key] [hidden: key]"


async def test_a_file_that_stays_holds_the_prompt_back_before_anything_is_asked(tmp_path: Path) -> None:
    """A backend elsewhere does not get it, one here does; nobody is asked and nothing is reserved."""
    (tmp_path / ".env").write_text("x")
    prompt = replace(_prompt("ask"), files=(str(tmp_path / "a.py"), str(tmp_path / ".env")))
    border = Border()
    held = await border.gate.clear(prompt, border.consent)
    assert isinstance(held, Held)
    assert held.why == f"'{tmp_path}/.env' stays on this machine: by its name it holds secrets"
    assert border.happened == []
    here = Border(where="device")
    await _send(here.gate, await here.gate.clear(prompt, None))


def test_a_yes_is_bound_to_text_receiver_and_price() -> None:
    """Whatever changes, it is another question."""
    one = Departure("far", "h", "remote", "a.py", 10, (), 5, content="x")
    others = [
        replace(one, backend="b"), replace(one, host="i"), replace(one, tokens=11), replace(one, hidden=("k",)),
        replace(one, cost_nano=6), replace(one, over="budget"), replace(one, content="y"), replace(one, what="b.py"),
    ]  # fmt: skip
    assert len({each.digest for each in (one, *others)}) == 9
    assert one.digest == replace(one).digest


async def test_a_backend_here_gets_the_prompt_as_it_is() -> None:
    """Nothing leaves, so nothing is hidden, asked or written down."""
    border = Border(where="device")
    await _send(border.gate, await border.gate.clear(_prompt("local-only"), None))
    assert SECRET in border.backend.prompts[0].messages[0].text
    assert border.happened == []


def test_only_the_gate_touches_a_backend() -> None:
    """In this room nobody but egress.py calls `stream` on anything, or holds on to a backend."""
    room = Path(nanoide.routing.__path__[0])
    for file in room.glob("*.py"):
        calls = [
            node
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Attribute) and node.attr in {"stream", "_backend"}
        ]
        touched = [ast.unparse(node) for node in calls if ast.unparse(node) != "self._stream"]
        if file.name == "egress.py":
            assert touched.count("self._backend.stream") == 1
        else:
            assert touched == [], file.name


def test_a_person_reads_what_would_leave() -> None:
    """The labels of what was gathered, else the kind of prompt."""
    sources = tuple(Source("file", label, "") for label in ("staged diff", "a.py", "b.py", "a.py"))
    given = Prompt(messages=(Message("user", ""),), reflex=Reflex("", Context(sources=sources)))
    assert what_leaves(given) == "staged diff, a.py and 1 more"
    assert what_leaves(Prompt(fill=Fill("", path="a.py"))) == "code around the cursor in a.py"
    assert what_leaves(Prompt(messages=(Message("user", ""),) * 3)) == "a conversation of 3 messages"
    assert what_leaves(Prompt(files=("/p/a.py", "/p/b.py"), partial="so")) == "a.py, b.py and the answer so far"


async def test_under_a_config_of_before_nothing_leaves_any_more() -> None:
    """A turn that is under way while config.toml changes goes on here."""
    border = Border()
    border.gate.customs.stale = {"far"}.__contains__
    held = await border.gate.clear(_prompt(), border.consent)
    assert isinstance(held, Held)
    assert (held.why, held.kind, held.hint) == ("config.toml changed meanwhile", "policy", "ask again")
    assert border.happened == []
