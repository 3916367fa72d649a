"""`nanoide usage`: the ledger, grouped."""

import csv
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import get_args

import click

from nanoide.cli import printer
from nanoide.cli.door import connected, run_async
from nanoide.cli.turns import attempt_object, usage_object
from nanoide.core.errors import UsageError
from nanoide.core.usage import usd
from nanoide.wire import BudgetLine, LedgerRow, ReadUsage, UsageKey, UsageReport, UsageRow

_RECENT = 500
"""Attempts listed in JSON; the sums are over all."""


@click.command()
@click.option("--by", type=click.Choice(get_args(UsageKey)), default="day", show_default=True, help="How to group.")
@click.option("--since", default="", metavar="D", help="A date, a time, or an age such as 12h, 7d, 4w.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, the latest attempts with it.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the groups as CSV.")
def command(by: UsageKey, since: str, as_json: bool, as_csv: bool) -> int:
    """Tokens, money and time, from the ledger."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    now = datetime.now().astimezone()
    start = since_when(since, now)
    offset = now.utcoffset() or timedelta()
    request = ReadUsage(
        by=by,
        since=None if start is None else start.astimezone(UTC).isoformat(),
        recent=_RECENT if as_json else 0,
        tz_minutes=int(offset.total_seconds() // 60),
    )
    report = run_async(_read(request))
    if as_json:
        printer.json_object(
            {
                "by": report.by,
                "since": report.since,
                "rows": [row_object(each) for each in report.rows],
                "total": row_object(report.total),
                "attempts": [ledger_object(each) for each in report.recent],
                "budgets": [budget_object(each) for each in report.budgets],
            }
        )
    elif as_csv:
        _csv(report)
    else:
        _table(report)
    if not as_json:
        for each in report.budgets:
            if each.notice:
                printer.complain(each.notice)
    return 0


def since_when(text: str, now: datetime) -> datetime | None:
    """The moment that `text` stands for, seen from `now`; None for "". Raises UsageError."""
    if not text:
        return None
    try:
        if age := re.fullmatch(r"(\d{1,5})([hdw])", text):
            hours = {"h": 1, "d": 24, "w": 168}[age[2]]
            return now - timedelta(hours=int(age[1]) * hours)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--since {text!r} is no date", hint="write 2026-11-21, or an age such as 12h, 7d, 4w"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


def row_object(row: UsageRow) -> dict[str, object]:
    """A group, with stable keys. `cost_usd` is null when not one attempt has a price."""
    return {
        "key": row.key,
        "label": row.label or row.key,
        "turns": row.turns,
        "attempts": row.attempts,
        "failed": row.failed,
        "usage": usage_object(row.usage),
        "cost_usd": None if _unpriced(row) else usd(row.cost_nano),
        "unpriced": row.unpriced,
        "local_turns": row.local_turns,
        "ttft_p50_ms": row.ttft_p50_ms,
    }


def budget_object(budget: BudgetLine) -> dict[str, object]:
    """A budget as it stands now, with stable keys."""
    return {
        "label": budget.label,
        "spent_usd": usd(budget.spent_nano),
        "limit_usd": usd(budget.limit_nano),
        "notice": budget.notice,
    }


def ledger_object(row: LedgerRow) -> dict[str, object]:
    """An attempt of the ledger, with stable keys."""
    return {
        "at": row.at,
        "turn": row.turn,
        "number": row.number,
        "session": row.session,
        "skill": row.skill,
        "project": row.project,
        "branch": row.branch,
        **attempt_object(row.attempt),
    }


def _unpriced(row: UsageRow) -> bool:
    return row.attempts > 0 and row.unpriced == row.attempts


def _cells(row: UsageRow) -> tuple[str, ...]:
    cost = None if _unpriced(row) else row.cost_nano
    return (
        row.label or row.key or "–",
        str(row.turns),
        str(row.attempts),
        str(row.failed),
        f"{'~' if row.usage.estimated else ''}{row.usage.input:,}",
        f"{row.usage.cache_read:,}",
        f"{row.usage.output:,}",
        printer.money(cost, unpriced=0 if cost is None else row.unpriced),
        str(row.local_turns),
        printer.millis(row.ttft_p50_ms),
    )


def _table(report: UsageReport) -> None:
    head = (report.by.upper(), "TURNS", "TRIES", "FAILED", "INPUT", "CACHED", "OUTPUT", "COST", "LOCAL", "FIRST TOKEN")
    rows = [_cells(each) for each in report.rows]
    printer.table(head, [*rows, ("total", *_cells(report.total)[1:])], right=range(1, len(head)))


def _csv(report: UsageReport) -> None:
    rows = [row_object(each) for each in report.rows]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    head = ("key", "turns", "attempts", "failed", "cost_usd", "unpriced", "local_turns", "ttft_p50_ms")
    tokens = ("input", "output", "cache_read", "cache_write", "estimated")
    writer.writerow((*head, *tokens))
    for row, group in zip(rows, report.rows, strict=True):
        counted = usage_object(group.usage)
        writer.writerow((*(row[name] for name in head), *(counted[name] for name in tokens)))


async def _read(request: ReadUsage) -> UsageReport:
    async with connected("cli usage") as connection:
        return await connection.call(request)
