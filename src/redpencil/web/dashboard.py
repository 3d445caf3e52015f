"""How far the project is: items, people, pace, time per item, kept share, agreement."""

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from statistics import fmean, median
from typing import Any

from sqlalchemy import Connection, Row, func, select

from redpencil.web.agreement import Agreement, Alpha, Period, agreement
from redpencil.web.charts import Chart, Line, Point, columns, lines, rows
from redpencil.web.gold import GoldScore, gold_scores
from redpencil.web.project import CURRENT, OUTCOME_NAMES, ProjectConfig, read_project
from redpencil.web.review import count_disputes
from redpencil.web.schema import adjudication, assignment, item, person, submission


def progress_charts(progress: "Progress") -> Mapping[str, Chart]:
    """The charts by name; that of agreement is left out as long as there is nothing to agree on."""
    charts = {
        "by_day": columns(
            [(_day(each.start), each.count) for each in progress.by_day],
            title="Items handed in, by day",
            below="day (UTC)",
            beside="items",
            ticks_every=5,
        ),
        "by_hour": columns(
            [(_hour(each.start), each.count) for each in progress.by_hour],
            title="Items handed in, the last 24 hours",
            below="hour (UTC)",
            beside="items",
            ticks_every=4,
        ),
        "seconds": columns(
            [(_seconds(each), each.count) for each in progress.seconds],
            title="Time per item",
            below="active time on the item, from",
            beside="items",
            series=2,
        ),
        "kept": columns(
            [(f"{100 * each.start:.0f}", each.count) for each in progress.kept],
            title="Share of the words that is kept",
            below="from this share on, %",
            beside="edits",
            series=2,
        ),
        "outcomes": _outcomes(progress.outcomes),
    }
    drawn = _agreement(progress.agreement.periods)
    span = progress.agreement.span
    if drawn:
        charts["agreement"] = lines(
            drawn,
            title="Agreement over time",
            below=f"{'day' if span == 'day' else 'week that begins on'} (UTC)",
            beside="Krippendorff\N{RIGHT SINGLE QUOTATION MARK}s alpha",
            ticks=_alpha_ticks(drawn),
        )
    return charts


def _outcomes(outcomes: Mapping[str, int]) -> Chart:
    total = sum(outcomes.values())
    bars = [
        (OUTCOME_NAMES.get(name, name), float(count), f"{count:,} ({100 * count / total:.0f} %)")
        for name, count in outcomes.items()
    ]
    return rows(bars, title="Outcomes", whole=max(outcomes.values(), default=1), series=0)


def _agreement(periods: Sequence[Period]) -> list[Line]:
    """A line for each measure that has a value anywhere."""
    named = (("words changed", "words", 0), ("outcome", "outcome", 1), ("preference", "preference", 2))
    drawn = []
    for name, measure, series in named:
        alphas: list[Alpha] = [getattr(period.measures, measure) for period in periods]
        if any(alpha.value is not None for alpha in alphas):
            points = [
                Point(_iso_day(period.start), alpha.value, alpha.low, alpha.high)
                for period, alpha in zip(periods, alphas, strict=True)
            ]
            drawn.append(Line(name, points, series))
    return drawn


def _alpha_ticks(drawn: Sequence[Line]) -> tuple[float, ...]:
    """From 0 to 1, or from as far below 0 as values and their intervals go."""
    lowest = min(end for line in drawn for point in line.points for end in (point.value, point.low) if end is not None)
    if lowest >= 0:
        return (0, 0.25, 0.5, 0.75, 1)
    return (-0.5, 0, 0.5, 1) if lowest >= -0.5 else (-1, -0.5, 0, 0.5, 1)


def _day(at: float) -> str:
    return _short(datetime.fromtimestamp(at, UTC).date())


def _iso_day(day: str) -> str:
    return _short(date.fromisoformat(day))


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"


def _hour(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H}:00"


def _seconds(each: "Bin") -> str:
    return f"{each.start:g} s" if each.start < 60 else f"{each.start / 60:g} min"


AnyRow = Row[*tuple[Any, ...]]

HOUR_S, DAY_S = 3600, 86400
SHOWN_HOURS, SHOWN_DAYS, PACE_DAYS = 24, 30, 7
FEWEST_DAYS = 2
"""Days with work without which nothing is foretold."""
KEPT_BINS = 10
SECONDS_EDGES = (15, 30, 60, 120, 240, 480, 960)
"""Ends of the bins of the time per item; the last bin is open."""


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Items without a known answer, by how far they are; `known` counts those with one, `comparisons` pairs.

    `done` have as many editors as the project wants, `started` some, `waiting` none. `open` have somebody at work now;
    `at_work` counts these people.
    """

    total: int
    done: int
    started: int
    waiting: int
    open: int
    at_work: int
    known: int
    comparisons: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Submissions of the last days on which somebody worked, and how many such days the rest takes.

    Submissions on items with a known answer are left out. `left` counts those that are still wanted; `days_left` is
    None where nothing is left, or where one day alone says nothing of the next.
    """

    left: int
    per_day: float
    days_left: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar: its beginning (a time, a number of seconds, a share), its end (None where open), how many it counts."""

    start: float
    end: float | None
    count: int


@dataclass(frozen=True, slots=True)
class PersonProgress:
    """What one person has done.

    Args:
        id: of the person.
        name: of the person.
        role: of the person.
        revoked: whether they may come back no more.
        done: items handed in, without skipped ones.
        skipped: items skipped.
        skipped_share: of all that they handed in or skipped.
        taken_back: submissions that they undid.
        median_seconds: of active work on an item.
        kept: mean share of words kept, of their edits.
        outcomes: how often they chose each.
        last_seen: when they last opened, saved or handed in something.
    """

    id: int
    name: str
    role: str
    revoked: bool
    done: int
    skipped: int
    skipped_share: float | None
    taken_back: int
    median_seconds: float | None
    kept: float | None
    outcomes: Mapping[str, int]
    last_seen: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """All that the dashboard shows, ready for JSON. Times are seconds since 1970, UTC; skipped items count nowhere
    but in the outcomes and beside their people.
    """

    title: str
    at: float
    editors_per_item: int
    items: ItemCounts
    pace: Pace
    disputed: int
    settled: int
    outcomes: Mapping[str, int]
    people: tuple[PersonProgress, ...]
    by_hour: tuple[Bin, ...]
    by_day: tuple[Bin, ...]
    median_seconds: float | None
    seconds: tuple[Bin, ...]
    mean_kept: float | None
    kept: tuple[Bin, ...]
    agreement: Agreement
    known: tuple[GoldScore, ...]

    @property
    def only_comparisons(self) -> bool:
        """Whether there is nothing to edit here."""
        return 0 < self.items.comparisons == self.items.total + self.items.known

    @property
    def charts(self) -> Mapping[str, Chart]:
        """The pictures of the page, by name."""
        return progress_charts(self)


def progress(connection: Connection, now: float | None = None) -> Progress:
    """How far the project is at the time `now`."""
    now = time.time() if now is None else now
    config = read_project(connection)
    current = connection.execute(
        select(
            submission.c.person_id,
            submission.c.outcome,
            submission.c.kept,
            submission.c.seconds,
            submission.c.submitted,
            item.c.known_answer.is_not(None).label("known"),
        )
        .join_from(submission, item)
        .where(submission.c.undone.is_(None))
    ).all()
    work = [row for row in current if row.outcome != "skipped"]
    times = [row.submitted for row in work]
    seconds = [row.seconds for row in work]
    kept = [row.kept for row in work if row.outcome == "edited"]
    items, left = _items(connection, config, now)
    return Progress(
        title=config.title,
        at=now,
        editors_per_item=config.editors_per_item,
        items=items,
        pace=_pace([row.submitted for row in work if not row.known], left, now),
        disputed=count_disputes(connection, settled=False),
        settled=count_disputes(connection, settled=True),
        outcomes=dict(Counter(row.outcome for row in current).most_common()),
        people=_people(connection, current),
        by_hour=_by_time(times, HOUR_S, SHOWN_HOURS, now),
        by_day=_by_time(times, DAY_S, SHOWN_DAYS, now),
        median_seconds=median(seconds) if seconds else None,
        seconds=_by_seconds(seconds),
        mean_kept=fmean(kept) if kept else None,
        kept=_by_kept(kept),
        agreement=agreement(connection),
        known=tuple(gold_scores(connection)),
    )


def _items(connection: Connection, config: ProjectConfig, now: float) -> tuple[ItemCounts, int]:
    """The counts, and how many submissions are still wanted."""
    unknown = item.c.known_answer.is_(None)
    wanted = config.editors_per_item
    done = Counter[int]()
    decided = adjudication.c.id.is_not(None)
    for times, settled, items in connection.execute(
        select(item.c.done, decided, func.count())
        .join_from(item, adjudication, isouter=True)
        .where(unknown)
        .group_by(item.c.done, decided)
    ):
        done[max(times, wanted) if settled else times] += items  # nobody gets an item that is decided
    opened, at_work = connection.execute(
        select(func.count(assignment.c.item_id.distinct()), func.count(assignment.c.person_id.distinct()))
        .join(item, assignment.c.item_id == item.c.id)
        .where(unknown, assignment.c.state == "open", assignment.c.lease_until > now)
    ).one()
    known = connection.scalar(select(func.count()).select_from(item).where(item.c.known_answer.is_not(None)))
    total = done.total()
    whole = sum(items for times, items in done.items() if times >= wanted)
    counts = ItemCounts(
        total=total,
        done=whole,
        started=total - whole - done[0],
        waiting=done[0],
        open=opened,
        at_work=at_work,
        known=known or 0,
        comparisons=connection.scalar(select(func.count()).where(item.c.kind == "compare")) or 0,
    )
    return counts, sum(items * max(wanted - times, 0) for times, items in done.items())


def _pace(times: Sequence[float], left: int, now: float) -> Pace:
    """The pace of the last days; those without work, such as a weekend, do not count."""
    recent = [at for at in times if now - at < PACE_DAYS * DAY_S]
    days = len({int(at // DAY_S) for at in recent})
    per_day = len(recent) / days if days else 0.0
    return Pace(left, per_day, left / per_day if left and days >= FEWEST_DAYS else None)


def _people(connection: Connection, current: Iterable[AnyRow]) -> tuple[PersonProgress, ...]:
    """Everybody who has a way in or has done something, the busiest first."""
    of_person: defaultdict[int, list[AnyRow]] = defaultdict(list)
    for row in current:
        of_person[row.person_id].append(row)
    taken_back = _counts_by_person(connection)
    seen = _last_seen(connection)
    everybody = (
        _person(row, of_person[row.id], taken_back.get(row.id, 0), seen.get(row.id))
        for row in connection.execute(select(person.c.id, person.c.name, person.c.role, person.c.revoked))
    )
    shown = [each for each in everybody if not each.revoked or each.last_seen is not None]
    return tuple(sorted(shown, key=lambda each: (-each.done, each.name)))


def _person(row: AnyRow, handed_in: Sequence[AnyRow], taken_back: int, seen: float | None) -> PersonProgress:
    work = [each for each in handed_in if each.outcome != "skipped"]
    kept = [each.kept for each in work if each.outcome == "edited"]
    skipped = len(handed_in) - len(work)
    return PersonProgress(
        id=row.id,
        name=row.name,
        role=row.role,
        revoked=row.revoked is not None,
        done=len(work),
        skipped=skipped,
        skipped_share=skipped / len(handed_in) if handed_in else None,
        taken_back=taken_back,
        median_seconds=median(each.seconds for each in work) if work else None,
        kept=fmean(kept) if kept else None,
        outcomes=dict(Counter(each.outcome for each in handed_in).most_common()),
        last_seen=seen,
    )


def _counts_by_person(connection: Connection) -> dict[int, int]:
    undone = (
        select(submission.c.person_id, func.count().label("times"))
        .where(submission.c.undone.is_not(None))
        .group_by(submission.c.person_id)
    )
    return {row.person_id: row.times for row in connection.execute(undone)}


def _last_seen(connection: Connection) -> dict[int, float]:
    at_work = select(
        assignment.c.person_id, func.max(assignment.c.opened), func.max(assignment.c.draft_saved)
    ).group_by(assignment.c.person_id)
    handed_in = select(submission.c.person_id, func.max(submission.c.submitted)).group_by(submission.c.person_id)
    seen: dict[int, float] = {}
    for query in (at_work, handed_in):
        for person_id, *times in connection.execute(query):
            seen[person_id] = max(at for at in (seen.get(person_id), *times) if at is not None)
    return seen


def _by_time(times: Iterable[float], span: int, shown: int, now: float) -> tuple[Bin, ...]:
    """The last hours or days, the current one last; they begin on full hours, or days of UTC."""
    last = int(now // span)
    counts = Counter(int(at // span) for at in times)
    return tuple(Bin(n * span, (n + 1) * span, counts[n]) for n in range(last - shown + 1, last + 1))


def _by_seconds(seconds: Iterable[float]) -> tuple[Bin, ...]:
    counts = Counter(bisect_right(SECONDS_EDGES, each) for each in seconds)
    starts = (0, *SECONDS_EDGES)
    ends: tuple[int | None, ...] = (*SECONDS_EDGES, None)
    return tuple(Bin(start, end, counts[n]) for n, (start, end) in enumerate(zip(starts, ends, strict=True)))


def _by_kept(kept: Iterable[float]) -> tuple[Bin, ...]:
    counts = Counter(min(int(each * KEPT_BINS), KEPT_BINS - 1) for each in kept)
    return tuple(Bin(n / KEPT_BINS, (n + 1) / KEPT_BINS, counts[n]) for n in range(KEPT_BINS))


@dataclass(frozen=True, slots=True)
class PreferenceCount:
    """How often people preferred the first file's response, the second's, or neither; with the models, where known."""

    first_model: str
    second_model: str
    first: int
    second: int
    tie: int

    @property
    def names(self) -> tuple[str, str]:
        """What to call the two files."""
        models = (("the first file", self.first_model), ("the second file", self.second_model))
        first, second = (f"{file} ({model})" if model else file for file, model in models)
        return first, second


def preference_counts(connection: Connection) -> tuple[PreferenceCount, ...]:
    """The counts of each pair of models, by name. They would tell whoever compares which model is the better one."""
    shown = (item.c.model, item.c.second_model, item.c.swapped, submission.c.outcome)
    query = select(*shown, func.count()).join_from(item, submission, submission.c.item_id == item.c.id)
    counts: Counter[tuple[str, str, str]] = Counter()
    for model, second_model, swapped, outcome, count in connection.execute(
        query.where(item.c.kind == "compare", CURRENT).group_by(*shown)
    ):
        models = (model, second_model or "")
        if swapped:
            models = models[::-1]
            outcome = {"first": "second", "second": "first"}.get(outcome, outcome)
        counts[*models, outcome] += count
    return tuple(
        PreferenceCount(*pair, *(counts[*pair, name] for name in ("first", "second", "tie")))
        for pair in sorted({key[:2] for key in counts})
    )
