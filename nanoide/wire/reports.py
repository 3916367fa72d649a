"""What there is and how it is: skills, backends, usage, egress, health, status."""

from datetime import datetime
from typing import Literal

from nanoide.core.chat import Attempt
from nanoide.core.policy import Egress, Tier, Where
from nanoide.core.usage import Usage
from nanoide.core.value import Value
from nanoide.wire.request import Done, Request

Mode = Literal["full", "degraded", "local only", "reflex only"]


class HubStatus(Value, frozen=True):
    """What the status bar shows, of the whole hub."""

    pid: int = 0
    uptime_s: float = 0.0
    mode: Mode = "full"
    mode_reason: str = ""
    """Why, as a phrase; empty when all is well."""
    mode_since: datetime | None = None
    """When the mode began; the hub remembers it as long as it runs."""
    mode_backend: str = ""
    """The first model of the default ladder that cannot be asked; empty when all can."""
    next_probe_s: float | None = None
    """Until one of them is tried again: 0 means by the next prompt. None when nothing is waited for."""
    tokens_per_min: int = 0
    today_nano: int = 0
    today_unpriced: int = 0
    """Attempts of today without a price."""
    saved_nano: int | None = None
    """What today's local answers would have cost remotely; None when there is no price to compare with."""
    cpu_percent: float = 0.0
    """Of the hub and its engines, 100 per core."""
    memory_bytes: int = 0
    """Of the hub and its engines."""
    sessions: int = 0
    active: int = 0
    needy: int = 0
    parked: int = 0
    clients: int = 0
    budget_day_nano: int | None = None
    notices: tuple[str, ...] = ()
    """Budgets that are used up to 80 % or more, a sentence each."""


class SkillLine(Value, frozen=True):
    """A skill in a list."""

    name: str
    description: str
    where: str
    """bundled, user, agents or project."""
    folder: str
    route: str
    egress: Egress | None
    action: str
    reflex: bool
    problem: str = ""
    """Why it does not load; empty when it does."""


class SkillText(Value, frozen=True):
    """A skill, whole."""

    line: SkillLine
    instruction: str
    settings: dict[str, object]
    """nanoide.toml with its defaults filled in."""


class ListSkills(Request[tuple[SkillLine, ...]], frozen=True):
    """All skills that can be seen from `folder`."""

    METHOD = "skills.list"
    REPLY = tuple[SkillLine, ...]

    folder: str = ""


class ShowSkill(Request[SkillText], frozen=True):
    """One skill, whole."""

    METHOD = "skills.show"
    REPLY = SkillText

    name: str
    folder: str = ""


class Check(Value, frozen=True):
    """One line of the doctor, or of a skill's check."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    """The one command that mends it; empty when all is well or nothing does."""


class CheckSkill(Request[tuple[Check, ...]], frozen=True):
    """Whether the folder `path` holds a skill that loads, and what is wrong with it if not."""

    METHOD = "skills.check"
    REPLY = tuple[Check, ...]

    path: str
    """Absolute."""


class Trust(Request[Done], frozen=True):
    """Use the skills that `folder`'s repository brings with it, from now on and as they are now."""

    METHOD = "trust"
    REPLY = Done

    folder: str


class BackendLine(Value, frozen=True):
    """One rung's health."""

    name: str
    kind: str
    where: Where
    tier: Tier
    model: str = ""
    state: Literal["ready", "starting", "asleep", "cooling", "down", "off"] = "ready"
    """asleep: starts when asked. cooling: its breaker is open. down: cannot answer now. off: cannot run here."""
    reason: str = ""
    breaker: Literal["closed", "open", "half-open"] = "closed"
    recovers_in_s: float | None = None
    pid: int | None = None
    memory_bytes: int = 0
    running: int = 0
    queued: int = 0
    tokens_per_s: float = 0.0
    device: str = ""
    """What computes, as a phrase; empty where that is not known."""
    parked: int = 0
    """Sequences that rest outside of the KV cache, in RAM or in files."""
    kv_used: int = 0
    """Tokens in the KV cache."""
    kv_size: int = 0
    """Tokens that it can hold; 0 where nothing is known of it."""
    prefix_hits: int = 0
    """Prompts whose beginning was known already, since the engine started."""
    disk_bytes: int = 0
    """Of sequences that rest in files."""


class ListBackends(Request[tuple[BackendLine, ...]], frozen=True):
    """Health of every rung. With `probe` each is asked now."""

    METHOD = "backends"
    REPLY = tuple[BackendLine, ...]

    probe: bool = False


UsageKey = Literal["day", "block", "model", "backend", "skill", "session", "project"]


class UsageRow(Value, frozen=True):
    """Sums over one group of the ledger."""

    key: str
    turns: int
    attempts: int
    failed: int
    """Attempts that did not end ok."""
    usage: Usage
    cost_nano: int
    """Of the priced attempts."""
    unpriced: int
    """Attempts without a price."""
    local_turns: int
    """Turns answered on this device."""
    ttft_p50_ms: int | None = None
    label: str = ""
    """What a person calls the group when that is not its key: a session's name. Empty when it is the key."""


class LedgerRow(Value, frozen=True):
    """One attempt as it stands in the ledger."""

    at: str
    """ISO 8601, UTC."""
    turn: str
    number: int
    """Of the attempt within its turn, from 1."""
    session: str
    skill: str
    project: str
    branch: str
    attempt: Attempt


class BudgetLine(Value, frozen=True):
    """How far one budget is used up."""

    label: str
    """ "today's budget of $2.00"."""
    spent_nano: int
    limit_nano: int
    notice: str = ""
    """What the person has to know of it, as a sentence; empty below 80 %."""


class UsageReport(Value, frozen=True):
    """Groups and the rows behind the last few."""

    by: UsageKey
    since: str | None
    rows: tuple[UsageRow, ...]
    total: UsageRow
    recent: tuple[LedgerRow, ...] = ()
    budgets: tuple[BudgetLine, ...] = ()
    """All that config.toml sets, as they stand now, whatever the report's period."""


class ReadUsage(Request[UsageReport], frozen=True):
    """Group the ledger. Days are those of the time zone `tz_minutes` east of UTC."""

    METHOD = "usage"
    REPLY = UsageReport

    by: UsageKey = "day"
    since: str | None = None
    """ISO 8601 date or time; None means from the beginning."""
    recent: int = 0
    """How many of the latest attempts to list."""
    tz_minutes: int = 0


class EgressLine(Value, frozen=True):
    """Something that left this machine."""

    at: str
    backend: str
    host: str
    where: Where
    session: str
    skill: str
    bytes: int
    hidden: tuple[str, ...] = ()
    """What was redacted, a phrase each."""
    label: str = ""
    """The session's name; empty when it has none any more."""


class ReadEgress(Request[tuple[EgressLine, ...]], frozen=True):
    """What left this machine, latest first. Dates are those of the time zone `tz_minutes` east of UTC."""

    METHOD = "egress"
    REPLY = tuple[EgressLine, ...]

    limit: int = 200
    since: str | None = None
    """ISO 8601 date or time; None means from the beginning."""
    session: str = ""
    """Its number, name or id; empty means every one."""
    tz_minutes: int = 0


class GrantLine(Value, frozen=True):
    """A yes for good: the skill may send to the backend, as long as that is at this host."""

    skill: str
    backend: str
    host: str
    at: str
    """ISO 8601, UTC."""


class ListGrants(Request[tuple[GrantLine, ...]], frozen=True):
    """What the person has allowed for good."""

    METHOD = "egress.grants"
    REPLY = tuple[GrantLine, ...]


class ForgetGrant(Request[Done], frozen=True):
    """Take a yes back, those for single sessions of the skill included: the next prompt asks again."""

    METHOD = "egress.forget"
    REPLY = Done

    skill: str
    backend: str


class Examine(Request[tuple[Check, ...]], frozen=True):
    """What the hub can say about its own health."""

    METHOD = "doctor"
    REPLY = tuple[Check, ...]

    folder: str = ""
    """Absolute; models below it are told too. Empty means none."""


class ReadStatus(Request[HubStatus], frozen=True):
    """The hub in one line."""

    METHOD = "status"
    REPLY = HubStatus


class StopHub(Request[Done], frozen=True):
    """Finish writing and leave. Active turns are stored as interrupted."""

    METHOD = "hub.stop"
    REPLY = Done
