"""A backend that cannot begin yet says so, and is not given up for it."""

from nanoide.backends.scripted import Hang, Pause, ScriptedBackend
from nanoide.core.chat import Waits
from nanoide.settings import BackendTable, Timeout
from tests.routing.rig import Rig

LOADING = tuple(Waits(f"loads the model, {percent} %") for percent in (10, 60))


async def test_what_a_turn_waits_for_is_its_reason_until_it_begins() -> None:
    """Each word about a load is a rung again, and the rung as it was comes before the first text, in one attempt."""
    rig = Rig(ScriptedBackend(*[[*LOADING, "here", " it is"]], name="local"))
    answer = await rig.ask()
    assert [rung.reason for rung in answer.rungs] == ["", "loads the model, 10 %", "loads the model, 60 %", ""]
    assert answer.text == "here it is"
    assert rig.outcomes == [("local", "ok")]


async def test_the_limit_for_the_first_token_begins_anew_with_each_word() -> None:
    """A load that takes longer than the first token may is waited for; one that falls silent is given up."""
    limits = BackendTable(
        name="local", kind="openai", base_url="http://127.0.0.1:1", model="m", timeout=Timeout(first_token=0.5)
    )
    slow = [step for _ in range(4) for step in (LOADING[0], Pause(0.2))]
    rig = Rig(ScriptedBackend([*slow, "late"], name="local"), tables=[limits])
    assert (await rig.ask()).text == "late"
    silent = Rig(
        ScriptedBackend([LOADING[0], Hang()], name="local"), ScriptedBackend(["other"], name="next"), tables=[limits]
    )
    assert (await silent.ask()).text == "other"
    assert silent.outcomes == [("local", "timeout"), ("next", "ok")]
