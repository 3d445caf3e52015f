"""Krippendorff's alpha: do people who edit the same response, blind to each other, change the same words?

Alpha is 1 - D_o / D_e for nominal values: the disagreement observed within units over the one that is expected if the
same values were dealt out by chance. It takes any number of editors and missing values. For one unit with m >= 2
values, n_c of them equal to c, the observed disagreement is the sum over c of n_c (m - n_c) / (m - 1).

What is a value: the outcome that an editor chose; for each word of the original whether the editor changed it; for two
responses which one is better. A skipped item is no value, and one that cannot be fixed says nothing of its words. Items
with a known answer are left out: how people do on these is `redpencil.web.gold`'s.
"""

import hashlib
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
from redpencil.web.schema import item, person, submission

MOST_BYTES = 64 * 1024 * 1024
"""Of what is remembered for a database; beyond it texts are compared anew each time."""
_EACH: Final = 160
"""Bytes that an entry takes beside its bits."""
_BATCH: Final = 500


def changed_places(original: str, edited: str) -> frozenset[int]:
    """Numbers of the words of `original` that an edit touches.

    An insertion touches the word that it stands before, since that is where the texts part; one at the end touches the
    place after the last word, whose number is the number of words.
    """
    words = split_words(original)
    ends = [end for _, end in words]
    places: set[int] = set()
    for block in diff_words(original, edited):
        if block.kind != "equal":
            start, end = block.original
            first = bisect_right(ends, start)
            last = first
            # A block may end with the white space of a word that stays as it is.
            while last < len(words) and _ink(original, words[last]) < end:
                last += 1
            places.update(range(first, max(last, first + 1)))
    return frozenset(places)


def places_of(original: str) -> int:
    """How many numbers `changed_places` can give: one for each word and one for the end."""
    return len(split_words(original)) + 1


def bits_of(places: Iterable[int]) -> int:
    """A set of places as a number with these bits."""
    bits = bytearray()
    for place in places:
        if place >> 3 >= len(bits):
            bits.extend(bytes((place >> 3) + 1 - len(bits)))
        bits[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(bits, "little")


class _Memory:
    """The changes of submissions, and the places of items, that were worked out for one database."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changes: dict[int, int] = {}
        self.places: dict[int, int] = {}
        self.size = 0

    def keep(self, known: dict[int, int], key: int, value: int) -> None:
        """Remember a number while there is room."""
        size = _EACH + value.bit_length() // 8
        if self.size + size <= MOST_BYTES:
            known[key] = value
            self.size += size


_TEXTS = _Memory()
_MEMORIES: WeakKeyDictionary[Engine, _Memory] = WeakKeyDictionary()
_NEW = threading.Lock()


def bits_changed(connection: Connection, submission_ids: Sequence[int]) -> Mapping[int, int]:
    """The bits of the words that each of these edits changed."""
    query = select(submission.c.id, submission.c.edited, item.c.response).join_from(submission, item)
    memory = _memory(connection)
    # Two people who open the dashboard at once do not both compare all texts.
    with memory.lock:
        return _looked_up(connection, memory, memory.changes, submission_ids, query, submission.c.id, _change)


def place_counts(connection: Connection, item_ids: Sequence[int]) -> Mapping[int, int]:
    """How many places each of these originals has."""
    memory = _memory(connection)
    query = select(item.c.id, item.c.response)
    with memory.lock:
        return _looked_up(connection, memory, memory.places, item_ids, query, item.c.id, _place_count)


def remembered_places(original: str, edited: str) -> frozenset[int]:
    """`changed_places`, worked out once for two texts."""
    digest = hashlib.blake2b(f"{len(original)} {original}{edited}".encode("utf-8", "surrogatepass"), digest_size=16)
    key = int.from_bytes(digest.digest(), "big")
    bits = _TEXTS.changes.get(key)
    if bits is None:
        bits = bits_of(changed_places(original, edited))
        with _TEXTS.lock:
            _TEXTS.keep(_TEXTS.changes, key, bits)
    return frozenset(place for place in range(bits.bit_length()) if bits >> place & 1)


def _change(row: Row[Any]) -> int:
    return bits_of(changed_places(row.response, row.edited or ""))


def _place_count(row: Row[Any]) -> int:
    return places_of(row.response)


def _looked_up(
    connection: Connection,
    memory: _Memory,
    known: dict[int, int],
    ids: Sequence[int],
    query: Select[Any],
    column: Any,
    work_out: Callable[[Row[Any]], int],
) -> dict[int, int]:
    found = {each: known[each] for each in ids if each in known}
    for batch in _batches([each for each in ids if each not in found]):
        for row in connection.execute(query.where(column.in_(batch))):
            found[row.id] = work_out(row)
            memory.keep(known, row.id, found[row.id])
    return found


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]


def _memory(connection: Connection) -> _Memory:
    with _NEW:
        return _MEMORIES.setdefault(connection.engine, _Memory())


def _ink(text: str, word: tuple[int, int]) -> int:
    """Where a word begins after its white space; a word that is all white space begins at once."""
    start, end = word
    ink = end - len(text[start:end].lstrip())
    return start if ink == end else ink


FEWEST_FOR_INTERVAL = 10
"""Items without which an interval would promise too much."""
_WORDLESS = {"no_edit_needed": 0}
"""What outcomes without a text say of the words; others say nothing of them."""
LONGEST_IN_DAYS = 21
"""Days that are still shown one by one; longer projects are shown by week."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What one item adds to alpha: how often each value was given, the disagreement within its units, their number."""

    counts: Mapping[Hashable, int] = field(default_factory=dict)
    disagreement: float = 0.0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Alpha:
    """Krippendorff's alpha over some items.

    Args:
        value: alpha; None where it is undefined, as nobody gave two values or all values are the same.
        low: lower end of the 95 % interval over items (jackknife), where there are enough of them.
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
    """Alpha on the outcome, on the words changed, and on which of two responses is better."""

    outcome: Alpha
    words: Alpha
    preference: Alpha


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two editors on the items that both have done."""

    first: str
    second: str
    measures: Measures


@dataclass(frozen=True, slots=True)
class Period:
    """The items whose last editor finished on this day, or in the week that begins on it (UTC)."""

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
    """What one editor made of an item."""

    person: str
    outcome: str
    edited: str | None
    submitted: float


@dataclass(frozen=True, slots=True)
class Tallies:
    """What one item adds to each alpha of `Measures`."""

    outcome: Tally
    words: Tally
    preference: Tally


def tally(values: Sequence[Hashable]) -> Tally:
    """One unit with the values that its judges gave it; fewer than two say nothing of agreement."""
    judges = len(values)
    if judges < 2:
        return Tally()
    counts = Counter(values)
    return Tally(counts, sum(n * (judges - n) for n in counts.values()) / (judges - 1), 1)


def tally_places(changed: Sequence[int], places: int) -> Tally:
    """The `places` units of a text, each changed or not by each editor; `changed` has a number for each editor, whose
    bits are the places that they changed.
    """
    editors = len(changed)
    if editors < 2:
        return Tally()
    marked = sum(bits.bit_count() for bits in changed)
    # A place that n editors changed has n (editors - n) pairs of editors who differ there.
    differing = sum((one ^ other).bit_count() for one, other in combinations(changed, 2))
    return Tally({True: marked, False: editors * places - marked}, 2 * differing / (editors - 1), places)


def alpha(tallies: Iterable[Tally]) -> Alpha:
    """Alpha over items, with an interval that leaves out each item in turn."""
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


def changes_of(original: str, judgement: Judgement) -> frozenset[int] | None:
    """The words that an editor changed; None where the outcome says nothing of words."""
    if judgement.outcome == "no_edit_needed":
        return frozenset()
    if judgement.outcome == "edited" and judgement.edited is not None:
        return remembered_places(original, judgement.edited)
    return None


def agreement(connection: Connection) -> Agreement:
    """Agreement of all current submissions, whoever has decided on the items since; known answers are left out."""
    overall: list[Tallies] = []
    pairs: defaultdict[tuple[str, str], list[Tallies]] = defaultdict(list)
    days: defaultdict[datetime, list[Tallies]] = defaultdict(list)
    for kind, judgements, changed, places in _judged_items(connection):
        whole = _tallies(kind, judgements, changed, places)
        overall.append(whole)
        last = datetime.fromtimestamp(max(judgement.submitted for judgement in judgements), UTC)
        days[last.replace(hour=0, minute=0, second=0, microsecond=0)].append(whole)
        by_person = sorted(zip(judgements, changed, strict=True), key=lambda each: each[0].person)
        for two in combinations(by_person, 2):
            names = two[0][0].person, two[1][0].person
            pairs[names].append(_tallies(kind, [each[0] for each in two], [each[1] for each in two], places))
    span, periods = _periods(days)
    return Agreement(
        overall=_measures(overall),
        pairs=tuple(PairAgreement(*names, _measures(pairs[names])) for names in sorted(pairs)),
        span=span,
        periods=periods,
    )


def _judged_items(connection: Connection) -> Iterator[tuple[str, list[Judgement], list[int | None], int]]:
    """Kind, judgements, the words that each changed, and places of each item without a known answer that at least two
    editors have judged. The texts themselves stay in the database.
    """
    counts = (submission.c.undone.is_(None)) & (submission.c.outcome != "skipped")
    several = select(submission.c.item_id).where(counts).group_by(submission.c.item_id).having(func.count() >= 2)
    rows = connection.execute(
        select(
            item.c.id, item.c.kind, submission.c.id.label("given"), person.c.name, submission.c.outcome,
            submission.c.submitted,
        )
        .join_from(submission, item, submission.c.item_id == item.c.id)
        .join(person, submission.c.person_id == person.c.id)
        .where(counts, submission.c.item_id.in_(several), item.c.known_answer.is_(None))
        .order_by(item.c.id, submission.c.id)
    ).all()  # fmt: skip
    edits = bits_changed(connection, [row.given for row in rows if row.outcome == "edited"])
    lengths = place_counts(connection, list({row.id: None for row in rows if row.kind == "edit"}))
    for _, group in groupby(rows, key=lambda row: row.id):
        of_item = list(group)
        first = of_item[0]
        changed = [edits[row.given] if row.outcome == "edited" else _WORDLESS.get(row.outcome) for row in of_item]
        judgements = [Judgement(row.name, row.outcome, None, row.submitted) for row in of_item]
        yield first.kind, judgements, changed, lengths.get(first.id, 0)


def _tallies(kind: str, judgements: Sequence[Judgement], changed: Sequence[int | None], places: int) -> Tallies:
    chosen = tally([judgement.outcome for judgement in judgements])
    if kind == "compare":
        return Tallies(Tally(), Tally(), chosen)
    return Tallies(chosen, tally_places([bits for bits in changed if bits is not None], places), Tally())


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
