"""Krippendorff's alpha: do people who edit the same response, blind to each other, change the same words?

Alpha is 1 - D_o / D_e for nominal values: the disagreement observed within units over the one that is expected if the
same values were dealt out by chance. It takes any number of editors and missing values. For one unit with m >= 2
values, n_c of them equal to c, the observed disagreement is the sum over c of n_c (m - n_c) / (m - 1).

Values are: the outcome that an editor chose; for each word of the original whether the editor changed it; for two
responses which one is better. A skipped item has no value, and a response that cannot be fixed has none for its words.
Gold items are left out; `redpencil.web.gold` scores them.
"""

import math
import threading
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations, groupby
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Row, Select, func, select

from redpencil.alignment.words import diff_words, split_words
from redpencil.results import NORMAL_95
from redpencil.web.project import CURRENT, IS_GOLD
from redpencil.web.schema import item, person, submission

MOST_BYTES = 64 * 1024 * 1024
"""Size of the cache of a database; beyond it texts are compared again each time."""
_ENTRY_BYTES: Final = 160
"""Size of a cache entry without its bits."""
_BATCH: Final = 500


def changed_places(original: str, edited: str) -> frozenset[int]:
    """Numbers of the words of `original` that an edit touches.

    An insertion touches the word after it, where the texts diverge; an insertion at the end touches the place after the
    last word, whose number is the number of words.
    """
    words = split_words(original)
    ends = [end for _, end in words]
    places: set[int] = set()
    for block in diff_words(original, edited):
        if block.kind != "equal":
            start, end = block.original
            first = bisect_right(ends, start)
            last = first
            # A block may end with the white space of an unchanged word.
            while last < len(words) and _word_start(original, words[last]) < end:
                last += 1
            places.update(range(first, max(last, first + 1)))
    return frozenset(places)


def places_of(original: str) -> int:
    """Count the numbers that `changed_places` can return: one for each word and one for the end."""
    return len(split_words(original)) + 1


def bits_of(places: Iterable[int]) -> int:
    """Encode a set of places as the bits of a number."""
    bits = bytearray()
    for place in places:
        if place >> 3 >= len(bits):
            bits.extend(bytes((place >> 3) + 1 - len(bits)))
        bits[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(bits, "little")


class _Cache:
    """Computed numbers of one database, by what they say and the id of the row that they are about."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[tuple[str, int], int] = {}
        self.size = 0

    def store(self, key: tuple[str, int], value: int) -> None:
        """Store a number while there is room."""
        size = _ENTRY_BYTES + value.bit_length() // 8
        if self.size + size <= MOST_BYTES:
            self.entries[key] = value
            self.size += size


_CACHES: WeakKeyDictionary[Engine, _Cache] = WeakKeyDictionary()
_CACHES_LOCK = threading.Lock()


def bits_changed(connection: Connection, submission_ids: Iterable[int]) -> dict[int, int]:
    """The changed words of each edit, encoded as bits."""
    query = select(submission.c.id, submission.c.edited, item.c.response).join_from(submission, item)
    return _look_up(connection, "changed", submission_ids, query, lambda row: _bits(row.response, row.edited))


def bits_expected(connection: Connection, item_ids: Iterable[int]) -> dict[int, int]:
    """The words that the known answer of each gold item changes, encoded as bits."""
    query = select(item.c.id, item.c.known_answer, item.c.response)
    return _look_up(
        connection, "expected", item_ids, query, lambda row: _bits(row.response, row.known_answer.get("edited"))
    )


def place_counts(connection: Connection, item_ids: Iterable[int]) -> dict[int, int]:
    """The number of places of each original."""
    query = select(item.c.id, item.c.response)
    return _look_up(connection, "places", item_ids, query, lambda row: places_of(row.response))


def _bits(original: str, edited: str | None) -> int:
    return bits_of(changed_places(original, edited or ""))


def _look_up(
    connection: Connection, name: str, ids: Iterable[int], query: Select[Any], compute: Callable[[Row[Any]], int]
) -> dict[int, int]:
    """Compute a number from the row of each id, unless it is in the cache."""
    cache = _cache(connection)
    unique = list(dict.fromkeys(ids))
    # Under the lock, two people who open the dashboard at once do not both compare all texts.
    with cache.lock:
        values = {id: cache.entries[name, id] for id in unique if (name, id) in cache.entries}
        missing = [id for id in unique if id not in values]
        for start in range(0, len(missing), _BATCH):
            batch = query.selected_columns["id"].in_(missing[start : start + _BATCH])
            for row in connection.execute(query.where(batch)):
                values[row.id] = compute(row)
                cache.store((name, row.id), values[row.id])
    return values


def _cache(connection: Connection) -> _Cache:
    with _CACHES_LOCK:
        return _CACHES.setdefault(connection.engine, _Cache())


def _word_start(text: str, word: tuple[int, int]) -> int:
    """The offset of a word after its leading white space; a word of only white space begins with it."""
    start, end = word
    first = end - len(text[start:end].lstrip())
    return start if first == end else first


FEWEST_FOR_INTERVAL = 10
"""The fewest items for which an interval is reported."""
_WORDLESS = {"no_edit_needed": 0}
"""Changed words, as bits, of outcomes without a text; outcomes that are not here say nothing about words."""
LONGEST_IN_DAYS = 21
"""The longest span in days that is shown by day; longer projects are shown by week."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The part of one item in alpha: the counts of its values, the disagreement within its units, and their number."""

    counts: Mapping[Hashable, int] = field(default_factory=dict)
    disagreement: float = 0.0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Alpha:
    """Krippendorff's alpha over some items.

    Args:
        value: alpha; None if it is undefined, because no unit has two values or all values are the same.
        low: lower end of the 95 % interval over items (jackknife); None if there are too few items.
        high: its upper end.
        same: share of the pairs of values within units that are equal, without correction for chance.
        units: units with at least two values.
        items: items with such units.
    """

    value: float | None
    low: float | None
    high: float | None
    same: float | None
    units: int
    items: int


@dataclass(frozen=True, slots=True)
class Measures:
    """Alpha on the outcome, on the changed words, and on the preference between two responses."""

    outcome: Alpha
    words: Alpha
    preference: Alpha


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """The agreement of two editors on the items that both have done."""

    first: str
    second: str
    measures: Measures


@dataclass(frozen=True, slots=True)
class Period:
    """The agreement on items whose last editor finished on this day, or in the week that begins on it (UTC)."""

    start: str
    measures: Measures


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement overall, per pair of editors and over time, by `span`: `day` or `week`; ready for JSON by `asdict`."""

    overall: Measures
    pairs: tuple[PairAgreement, ...]
    span: str
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One editor's judgement of an item, with the changed words as bits; None if it says nothing about words."""

    person: str
    outcome: str
    changed: int | None
    submitted: float


@dataclass(frozen=True, slots=True)
class Tallies:
    """The part of one item in each alpha of `Measures`."""

    outcome: Tally
    words: Tally
    preference: Tally


def tally(values: Sequence[Hashable]) -> Tally:
    """Tally one unit with the values of its judges; fewer than two values do not count."""
    judges = len(values)
    if judges < 2:
        return Tally()
    counts = Counter(values)
    return Tally(counts, sum(n * (judges - n) for n in counts.values()) / (judges - 1), 1)


def tally_places(changed: Sequence[int], places: int) -> Tally:
    """Tally the `places` units of a text, each changed or not by each editor; the bits of the numbers in `changed` are
    the places that each editor changed.
    """
    editors = len(changed)
    if editors < 2:
        return Tally()
    marked = sum(bits.bit_count() for bits in changed)
    # A place that n editors changed has n (editors - n) pairs of editors who differ there.
    differing = sum((one ^ other).bit_count() for one, other in combinations(changed, 2))
    return Tally({True: marked, False: editors * places - marked}, 2 * differing / (editors - 1), places)


def alpha(tallies: Iterable[Tally]) -> Alpha:
    """Compute alpha over items, with an interval by leaving out each item in turn."""
    used = [each for each in tallies if each.units]
    counts: Counter[Hashable] = Counter()
    for each in used:
        counts.update(each.counts)
    disagreement = math.fsum(each.disagreement for each in used)
    total = counts.total()
    value = _alpha(counts, disagreement)
    low, high = (None, None) if value is None else _interval(value, used, counts, disagreement)
    return Alpha(
        value=value,
        low=low,
        high=high,
        same=1 - disagreement / total if total else None,
        units=sum(each.units for each in used),
        items=len(used),
    )


def _alpha(counts: Mapping[Hashable, int], disagreement: float) -> float | None:
    total = sum(counts.values())
    expected = total**2 - sum(n**2 for n in counts.values())
    return 1 - (total - 1) * disagreement / expected if expected else None


def _interval(
    value: float, tallies: Sequence[Tally], counts: Mapping[Hashable, int], disagreement: float
) -> tuple[float | None, float | None]:
    if len(tallies) < FEWEST_FOR_INTERVAL:
        return None, None
    left_out = []
    for each in tallies:
        rest = {key: n - each.counts.get(key, 0) for key, n in counts.items()}
        without = _alpha(rest, disagreement - each.disagreement)
        if without is None:
            return None, None
        left_out.append(without)
    mean = math.fsum(left_out) / len(left_out)
    variance = math.fsum((without - mean) ** 2 for without in left_out) * (len(left_out) - 1) / len(left_out)
    error = NORMAL_95 * math.sqrt(variance)
    return max(value - error, -1.0), min(value + error, 1.0)


def changes_of(outcome: str, edit: int | None) -> int | None:
    """The words that a judgement changes, as bits; None if the outcome says nothing about words.

    Args:
        outcome: the chosen outcome.
        edit: the words that the edit changes, if the outcome is `edited`.
    """
    return edit if outcome == "edited" else _WORDLESS.get(outcome)


def agreement(connection: Connection) -> Agreement:
    """Compute the agreement of all current submissions, decided items included; gold items are left out."""
    overall: list[Tallies] = []
    pairs: defaultdict[tuple[str, str], list[Tallies]] = defaultdict(list)
    days: defaultdict[datetime, list[Tallies]] = defaultdict(list)
    for kind, judgements, places in _judged_items(connection):
        tallies = _tallies(kind, judgements, places)
        overall.append(tallies)
        last = datetime.fromtimestamp(max(judgement.submitted for judgement in judgements), UTC)
        days[last.replace(hour=0, minute=0, second=0, microsecond=0)].append(tallies)
        for one, other in combinations(sorted(judgements, key=lambda judgement: judgement.person), 2):
            pairs[one.person, other.person].append(_tallies(kind, (one, other), places))
    span, periods = _periods(days)
    return Agreement(
        overall=_measures(overall),
        pairs=tuple(PairAgreement(*names, _measures(pairs[names])) for names in sorted(pairs)),
        span=span,
        periods=periods,
    )


def _judged_items(connection: Connection) -> Iterator[tuple[str, list[Judgement], int]]:
    """Yield the kind, the judgements and the number of places of each item that at least two editors have judged, gold
    items excluded. The texts themselves are not loaded.
    """
    several = select(submission.c.item_id).where(CURRENT).group_by(submission.c.item_id).having(func.count() >= 2)
    columns = (submission.c.id.label("submission_id"), submission.c.outcome, submission.c.submitted)
    rows = connection.execute(
        select(item.c.id, item.c.kind, person.c.name, *columns)
        .join_from(submission, item, submission.c.item_id == item.c.id)
        .join(person, submission.c.person_id == person.c.id)
        .where(CURRENT, submission.c.item_id.in_(several), ~IS_GOLD)
        .order_by(item.c.id, submission.c.id)
    ).all()
    edits = bits_changed(connection, (row.submission_id for row in rows if row.outcome == "edited"))
    lengths = place_counts(connection, (row.id for row in rows if row.kind == "edit"))
    for (item_id, kind), group in groupby(rows, key=lambda row: (row.id, row.kind)):
        judgements = [
            Judgement(row.name, row.outcome, changes_of(row.outcome, edits.get(row.submission_id)), row.submitted)
            for row in group
        ]
        yield kind, judgements, lengths.get(item_id, 0)


def _tallies(kind: str, judgements: Sequence[Judgement], places: int) -> Tallies:
    chosen = tally([judgement.outcome for judgement in judgements])
    if kind == "compare":
        return Tallies(Tally(), Tally(), chosen)
    changed = [judgement.changed for judgement in judgements if judgement.changed is not None]
    return Tallies(chosen, tally_places(changed, places), Tally())


def _measures(tallies: Sequence[Tallies]) -> Measures:
    return Measures(
        outcome=alpha(each.outcome for each in tallies),
        words=alpha(each.words for each in tallies),
        preference=alpha(each.preference for each in tallies),
    )


def _periods(days: Mapping[datetime, list[Tallies]]) -> tuple[str, tuple[Period, ...]]:
    if not days:
        return "day", ()
    span = "day" if max(days) - min(days) < timedelta(days=LONGEST_IN_DAYS) else "week"
    periods: defaultdict[datetime, list[Tallies]] = defaultdict(list)
    for day, tallies in days.items():
        periods[day if span == "day" else day - timedelta(days=day.weekday())].extend(tallies)
    return span, tuple(Period(start.date().isoformat(), _measures(periods[start])) for start in sorted(periods))
