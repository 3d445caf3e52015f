"""Progress of the project: items, people, pace, time per item, kept share, agreement; and its charts."""

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from statistics import fmean, median
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy import Row as SqlRow

from redpencil.svg import Axis, Chart, Column, Plot, Point, Row, draw_columns, draw_rows
from redpencil.web.agreement import Agreement, Alpha, agreement
from redpencil.web.gold import GoldScore, gold_scores
from redpencil.web.items import OTHER_SIDE
from redpencil.web.project import CURRENT, DECIDED, IS_GOLD, OUTCOME_NAMES, WITHDRAWN, ProjectConfig, read_project
from redpencil.web.review import count_disputes
from redpencil.web.schema import adjudication, assignment, item, person, submission


def _histogram(
    bins: Sequence["Bin"], label_of: Callable[[float], str], *, title: str, x: str, y: str = "items", series: int = 0
) -> Chart:
    bars = [(label_of(bar.start), bar.count) for bar in bins]
    story = ", ".join(f"{label}: {count}" for label, count in bars if count) or "nothing yet"
    drawing = draw_columns([Column(label, ((count, series),)) for label, count in bars], x=x, y=y, whole=True)
    return Chart(drawing, title, f"{title}, by {x}. {story}.")


def _outcomes(outcomes: Mapping[str, int]) -> Chart:
    total, most = sum(outcomes.values()), max(outcomes.values(), default=1)
    bars = [
        (OUTCOME_NAMES.get(name, name), count / most, f"{count:,} ({100 * count / total:.0f} %)")
        for name, count in outcomes.items()
    ]
    story = "; ".join(f"{name}: {note}" for name, _, note in bars) or "nothing yet"
    drawing = draw_rows([Row(name, ((length, note, 0),)) for name, length, note in bars])
    return Chart(drawing, "Outcomes", f"Outcomes. {story}.")


MEASURES = (("words changed", "words"), ("outcome", "outcome"), ("preference", "preference"))


def _agreement(agreed: Agreement) -> Chart | None:
    """Agreement by day or week, a line for each measure that has a value anywhere; None if none has."""
    lines: list[tuple[str, int, list[Point]]] = []
    for series, (name, measure) in enumerate(MEASURES):
        alphas: list[Alpha] = [getattr(period.measures, measure) for period in agreed.periods]
        points = [Point(i, a.value, a.low, a.high) for i, a in enumerate(alphas) if a.value is not None]
        if points:
            lines.append((name, series, points))
    if not lines:
        return None
    days = [_short(date.fromisoformat(period.start)) for period in agreed.periods]
    title, x = "Agreement over time", f"{'day' if agreed.span == 'day' else 'week that begins on'} (UTC)"
    ticks = _alpha_ticks([point for _, _, points in lines for point in points])
    y = Axis(
        ticks[0],
        ticks[-1],
        "Krippendorff\N{RIGHT SINGLE QUOTATION MARK}s alpha",
        tuple((tick, f"{tick:g}".replace("-", "\N{MINUS SIGN}")) for tick in ticks),
    )
    plot, stories = Plot(Axis.named(days, x), y), []
    for number, (name, series, points) in enumerate(lines):
        plot.line(points, series, shift=7 * (number - (len(lines) - 1) / 2))
        stories.append(f"{name}: {', '.join(f'{days[int(point.x)]}: {point.y:.2f}' for point in points)}")
    return Chart(plot.svg(), title, f"{title}, by {x}. {'. '.join(stories)}.")


def _alpha_ticks(points: Sequence[Point]) -> tuple[float, ...]:
    """Reach from 0 to 1, or from as far below 0 as values and their intervals go."""
    lowest = min(point.y if point.low is None else point.low for point in points)
    if lowest >= 0:
        return (0, 0.25, 0.5, 0.75, 1)
    return (-0.5, 0, 0.5, 1) if lowest >= -0.5 else (-1, -0.5, 0, 0.5, 1)


def _day(at: float) -> str:
    return _short(datetime.fromtimestamp(at, UTC).date())


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"


def _hour(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H}:00"


def _seconds(start: float) -> str:
    return f"{start:g} s" if start < 60 else f"{start / 60:g} min"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


AnyRow = SqlRow[*tuple[Any, ...]]

HOUR_S, DAY_S = 3600, 86400
SHOWN_HOURS, SHOWN_DAYS, PACE_DAYS = 24, 30, 7
FEWEST_DAYS = 2
"""Days with work that a forecast needs."""
KEPT_BINS = 10
SECONDS_EDGES = (15, 30, 60, 120, 240, 480, 960)
"""Ends of the bins of the time per item; the last bin is open."""


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Items by state. Gold items, which have a known answer, are in `known` only; `comparisons` counts pairs.

    `done` have as many editors as the project asks for, `started` some, `waiting` none. `open` are being worked on now,
    by `at_work` people. `withdrawn` are unfinished ones that runs need no more; no other number counts them.
    """

    total: int
    done: int
    started: int
    waiting: int
    open: int
    at_work: int
    known: int
    comparisons: int
    withdrawn: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Submissions per day of work, over the last days, and the number of such days that the rest takes.

    Submissions on gold items are left out. `left` counts the submissions that are still needed; `days_left` is None
    where nothing is left, or where there was only one day of work, which is no basis for a forecast.
    """

    left: int
    per_day: float
    days_left: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar: its start (a time, a number of seconds, a share), its end (None where open), and its count."""

    start: float
    end: float | None
    count: int


@dataclass(frozen=True, slots=True)
class PersonProgress:
    """Progress of one person; those who were `revoked` have lost access.

    `done` items were handed in and not skipped, and `skipped_share` is the share of the skipped ones among both.
    `taken_back` counts submissions that they undid, `outcomes` how often they chose each. `median_seconds` is active
    work on an item, `kept` the mean share of words kept in their edits, and `last_seen` the time when they last opened,
    saved or handed in an item.
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
    """Everything that the dashboard shows, ready for JSON.

    Times are seconds since 1970, UTC. Skipped items count in the outcomes and for their people only.
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
        """True if all items are comparisons, so that there is nothing to edit."""
        return 0 < self.items.comparisons == self.items.total + self.items.known

    @property
    def charts(self) -> Mapping[str, Chart]:
        """The charts of the page, by name; that of agreement is left out as long as nothing has been measured."""
        hours, seconds, kept = "Items handed in, the last 24 hours", "Time per item", "Share of the words that is kept"
        charts = {
            "by_day": _histogram(self.by_day, _day, title="Items handed in, by day", x="day (UTC)"),
            "by_hour": _histogram(self.by_hour, _hour, title=hours, x="hour (UTC)"),
            "seconds": _histogram(self.seconds, _seconds, title=seconds, x="active time on the item, from", series=2),
            "kept": _histogram(self.kept, _percent, title=kept, x="from this share on, %", y="edits", series=2),
            "outcomes": _outcomes(self.outcomes),
        }
        agreed = _agreement(self.agreement)
        return charts if agreed is None else {**charts, "agreement": agreed}


def progress(connection: Connection, now: float | None = None) -> Progress:
    """Measure the progress at the time `now`."""
    now = time.time() if now is None else now
    config = read_project(connection)
    current = connection.execute(
        select(
            submission.c.person_id,
            submission.c.outcome,
            submission.c.kept,
            submission.c.seconds,
            submission.c.submitted,
            IS_GOLD.label("known"),
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
    """Counts of items, and the number of submissions that are still needed."""
    needed = config.editors_per_item
    done = Counter[int]()
    decided = adjudication.c.id.is_not(None)
    unwanted = WITHDRAWN & (item.c.done < needed) & ~DECIDED
    for times, settled, items in connection.execute(
        select(item.c.done, decided, func.count())
        .join_from(item, adjudication, isouter=True)
        .where(~IS_GOLD, ~unwanted)
        .group_by(item.c.done, decided)
    ):
        done[max(times, needed) if settled else times] += items  # an item that is settled is not assigned again
    opened, at_work = connection.execute(
        select(func.count(assignment.c.item_id.distinct()), func.count(assignment.c.person_id.distinct()))
        .join(item, assignment.c.item_id == item.c.id)
        .where(~IS_GOLD, assignment.c.state == "open", assignment.c.lease_until > now)
    ).one()
    known = connection.scalar(select(func.count()).select_from(item).where(IS_GOLD))
    total = done.total()
    whole = sum(items for times, items in done.items() if times >= needed)
    counts = ItemCounts(
        total=total,
        done=whole,
        started=total - whole - done[0],
        waiting=done[0],
        open=opened,
        at_work=at_work,
        known=known or 0,
        comparisons=connection.scalar(select(func.count()).where(item.c.kind == "compare")) or 0,
        withdrawn=connection.scalar(select(func.count()).select_from(item).where(unwanted)) or 0,
    )
    return counts, sum(items * max(needed - times, 0) for times, items in done.items())


def _pace(times: Sequence[float], left: int, now: float) -> Pace:
    """Pace over the last days; days without work, such as a weekend, do not count."""
    recent = [at for at in times if now - at < PACE_DAYS * DAY_S]
    days = len({int(at // DAY_S) for at in recent})
    per_day = len(recent) / days if days else 0.0
    return Pace(left, per_day, left / per_day if left and days >= FEWEST_DAYS else None)


def _people(connection: Connection, current: Iterable[AnyRow]) -> tuple[PersonProgress, ...]:
    """All people who have access or have done something, the busiest first."""
    of_person: defaultdict[int, list[AnyRow]] = defaultdict(list)
    for row in current:
        of_person[row.person_id].append(row)
    undone = select(submission.c.person_id, func.count()).where(submission.c.undone.is_not(None))
    taken_back: dict[int, int] = dict(connection.execute(undone.group_by(submission.c.person_id)).all())
    seen = _last_seen(connection)
    everyone = (
        _person(row, of_person[row.id], taken_back.get(row.id, 0), seen.get(row.id))
        for row in connection.execute(select(person.c.id, person.c.name, person.c.role, person.c.revoked))
    )
    listed = [one for one in everyone if not one.revoked or one.last_seen is not None]
    return tuple(sorted(listed, key=lambda one: (-one.done, one.name)))


def _person(row: AnyRow, handed_in: Sequence[AnyRow], taken_back: int, seen: float | None) -> PersonProgress:
    work = [sent for sent in handed_in if sent.outcome != "skipped"]
    kept = [sent.kept for sent in work if sent.outcome == "edited"]
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
        median_seconds=median(sent.seconds for sent in work) if work else None,
        kept=fmean(kept) if kept else None,
        outcomes=dict(Counter(sent.outcome for sent in handed_in).most_common()),
        last_seen=seen,
    )


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
    """Counts of the last hours or days, the current one last; they start on full hours, or days of UTC."""
    last = int(now // span)
    counts = Counter(int(at // span) for at in times)
    return tuple(Bin(n * span, (n + 1) * span, counts[n]) for n in range(last - shown + 1, last + 1))


def _by_seconds(seconds: Iterable[float]) -> tuple[Bin, ...]:
    counts = Counter(bisect_right(SECONDS_EDGES, value) for value in seconds)
    starts = (0, *SECONDS_EDGES)
    ends: tuple[int | None, ...] = (*SECONDS_EDGES, None)
    return tuple(Bin(start, end, counts[n]) for n, (start, end) in enumerate(zip(starts, ends, strict=True)))


def _by_kept(kept: Iterable[float]) -> tuple[Bin, ...]:
    counts = Counter(min(int(share * KEPT_BINS), KEPT_BINS - 1) for share in kept)
    return tuple(Bin(n / KEPT_BINS, (n + 1) / KEPT_BINS, counts[n]) for n in range(KEPT_BINS))


@dataclass(frozen=True, slots=True)
class PreferenceCount:
    """Number of times people preferred the first file's response, the second's, or neither; models where known."""

    first_model: str
    second_model: str
    first: int
    second: int
    tie: int

    @property
    def names(self) -> tuple[str, str]:
        """Names of the two files."""
        models = (("the first file", self.first_model), ("the second file", self.second_model))
        first, second = (f"{file} ({model})" if model else file for file, model in models)
        return first, second


def preference_counts(connection: Connection) -> tuple[PreferenceCount, ...]:
    """Counts for each pair of models, by name. People who compare must not see them: they say which model is better."""
    columns = (item.c.model, item.c.second_model, item.c.swapped, submission.c.outcome)
    query = select(*columns, func.count()).join_from(item, submission, submission.c.item_id == item.c.id)
    counts: Counter[tuple[str, str, str]] = Counter()
    for model, second_model, swapped, outcome, count in connection.execute(
        query.where(item.c.kind == "compare", CURRENT).group_by(*columns)
    ):
        models = (model, second_model or "")
        if swapped:
            models = models[::-1]
            outcome = OTHER_SIDE[outcome]
        counts[*models, outcome] += count
    return tuple(
        PreferenceCount(*pair, *(counts[*pair, name] for name in ("first", "second", "tie")))
        for pair in sorted({key[:2] for key in counts})
    )
