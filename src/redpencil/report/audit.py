"""The page of an edit audit: one HTML file, which loads nothing from anywhere."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup, escape

from redpencil.audit.artefacts import FEWEST, Artefacts
from redpencil.audit.audit import BINS, KINDS, QUANTILES, Audit, Distribution, Editor, Example, GrowthBin, SpanAgreement
from redpencil.audit.findings import Finding, counted, findings, rule_name, share_text
from redpencil.audit.rules import RULES as MINIMAL_RULES
from redpencil.audit.rules import rule_text
from redpencil.audit.trivial_rules import RULES, STRAY
from redpencil.files import whole_file
from redpencil.records import EditOutcome
from redpencil.report.markup import DASH, plain, redline_html, signed
from redpencil.report.run_page import render_page
from redpencil.report.tables import Cell, Table
from redpencil.svg import Chart, Column, Row, draw_columns, draw_rows

SHOWN_EDITORS = 50
DRAWN_EDITORS = 12
_CODE: Final = re.compile("`([^`]+)`")
KIND_NAMES: Final = {"insert": "Insertions", "delete": "Deletions", "replace": "Substitutions"}
EXAMPLE_TITLES: Final[Mapping[str, str]] = {
    "only_append": "Edits that only append",
    "only_spacing": "Edits that change white space alone",
    "also_spacing": "Edits that also change white space beside kept words",
    **{name: f"Not minimal: {rule_name(name)}" for name in MINIMAL_RULES},
    "edited_differently": "One response, edited in different ways by one editor",
    "edited_or_left": "Edited in one row, found good in another by one editor",
    "reversed": "Each text edited into the other",
    "swapped": "Words replaced in both directions",
    "others_edited_differently": "One response, edited in different ways by different editors",
    "edited_or_left_by_others": "Edited by one editor, found good by another",
    "edits": "Any edits",
}
"""Groups of examples, in the order of the page."""


def write_audit(audit: Audit, path: Path, sources: Sequence[str]) -> None:
    """Write the page of an audit; `sources` are the names of the audited files."""
    with whole_file(path) as out:
        out.write(render_audit(audit, sources).encode("utf-8", "replace"))


def render_audit(audit: Audit, sources: Sequence[str]) -> str:
    """Write the page as text."""
    every = findings(audit)
    return render_page(
        "audit.html.j2",
        ("report.css", "audit.css"),
        sources=sources,
        summary=summary(audit),
        lead=lead(every),
        attention=[_shown(finding) for finding in every if finding.attention],
        notes_found=[_shown(finding) for finding in every if not finding.attention],
        charts=audit_charts(audit),
        tables=audit_tables(audit),
        examples=_examples(audit.examples),
    )


def audit_charts(audit: Audit) -> dict[str, Chart | None]:
    """The charts by name; none without edits."""
    if not audit.edits:
        return {}
    charts = {"kept": kept_chart, "length": length_chart, "places": places_chart, "editors": editors_chart}
    return {name: draw(audit) for name, draw in charts.items()}


def kept_chart(audit: Audit) -> Chart:
    """Share of the edits by the share of words that they keep."""
    wide = 100 // BINS
    shares = [100 * n / audit.edits for n in audit.kept_histogram]
    story = ", ".join(f"{wide * i} to {wide * (i + 1)} percent kept: {share:.1f}" for i, share in enumerate(shares))
    bars = [Column(f"{wide * i}{DASH}{wide * (i + 1)}", ((share, 0),)) for i, share in enumerate(shares)]
    return Chart(
        draw_columns(bars, x="share of the words that is kept, %", y="% of the edits"),
        "Share of the words that is kept",
        f"Percent of the edits by kept share. {story}.",
    )


def length_chart(audit: Audit) -> Chart:
    """Share of the edits by change of length; losses and growth have colours of their own."""
    bins = [(growth_label(row), 100 * row.edits / audit.edits, row) for row in audit.length.bins]
    story = ", ".join(f"{label} words: {share:.1f}" for label, share, _ in bins)
    bars = [
        Column(label, ((share, 1 if (row.high or 0) < 0 else 2 if (row.low or 0) > 0 else 0),))
        for label, share, row in bins
    ]
    return Chart(
        draw_columns(bars, x="words more or fewer", y="% of the edits"),
        "How much longer edits are",
        f"Percent of the edits by change of length. {story}.",
    )


def places_chart(audit: Audit) -> Chart:
    """Words removed and added, by tenths of the original."""
    places = audit.places
    removed = [100 * n / max(words, 1) for n, words in zip(places.removed, places.words, strict=True)]
    added = [100 * n / max(words, 1) for n, words in zip(places.added, places.words, strict=True)]
    tenths = list(enumerate(zip(removed, added, strict=True), start=1))
    story = "; ".join(f"tenth {i}: {old:.0f} removed, {new:.0f} added" for i, (old, new) in tenths)
    bars = [Column(str(i), ((old, 1), (new, 2))) for i, (old, new) in tenths]
    return Chart(
        draw_columns(bars, x="tenth of the original", y="words changed per 100 words of that tenth"),
        "Where in the response edits fall",
        f"Words removed and added for each 100 words of the original, by its tenths. {story}.",
    )


def editors_chart(audit: Audit) -> Chart | None:
    """The kept share of each editor, with the share of edits that only append; None for fewer than two editors."""
    figures = [
        (editor.name, editor.kept, editor.only_append / editor.edits)
        for editor in audit.editors
        if editor.kept is not None
    ][:DRAWN_EDITORS]
    if len(figures) < 2:
        return None
    story = "; ".join(
        f"{name or 'no name'}: {100 * kept:.0f} percent kept, {100 * append:.0f} percent only append"
        for name, kept, append in figures
    )
    named = [
        Row(name or "(no name)", tuple((share, f"{100 * share:.0f} %", n) for n, share in enumerate(shares)))
        for name, *shares in figures
    ]
    return Chart(draw_rows(named), "Editors side by side", f"{story}.")


def growth_label(growth: GrowthBin) -> str:
    """Write a bin of changes of length in few signs, such as +1 to +9."""
    if growth.low is None or growth.high is None:
        open_end = growth.high if growth.low is None else growth.low
        sign = "\N{LESS-THAN OR EQUAL TO}" if growth.low is None else "\N{GREATER-THAN OR EQUAL TO}"
        return f"{sign}{signed(open_end or 0, 0)}"
    low, high = signed(growth.low, 0), signed(growth.high, 0)
    return low if low == high else f"{low} to {high}"


def _shown(finding: Finding) -> dict[str, Markup]:
    """Escape a finding for the page, keep numbers on the line of their percent sign, and mark commands as code."""
    sentence = escape(finding.sentence.replace(" %", "\u00a0%"))
    return {"sentence": sentence, "advice": Markup(_CODE.sub(r"<code>\1</code>", escape(finding.advice)))}


def lead(every: Sequence[Finding]) -> str:
    """The first sentence of the report."""
    count = sum(finding.attention for finding in every)
    if not count:
        return "Nothing in these edits calls for attention."
    return f"{counted(count, 'finding')} {'needs' if count == 1 else 'need'} attention."


def summary(audit: Audit) -> str:
    """Rows, edits and how much these keep, in one sentence."""
    text = f"{counted(audit.rows, 'row')}, {counted(audit.edits, 'edit')} by {counted(len(audit.editors), 'editor')}."
    if audit.kept.mean is None or audit.kept.median is None:
        return text
    mean, median = (f"{100 * share:.0f} %" for share in (audit.kept.mean, audit.kept.median))
    return f"{text} The edits keep {mean} of the words on average; the median is {median}."


def audit_tables(audit: Audit) -> dict[str, Table | None]:
    """The tables by name; None where there is nothing to show."""
    of_edits = {"numbers": _numbers, "kinds": _kinds, "length": _length, "ends": _ends, "rules": _rules}
    return {
        "outcomes": _outcomes(audit),
        **{name: make(audit) if audit.edits else None for name, make in of_edits.items()},
        "repeats": _repeats(audit),
        "editors": _editors(audit.editors),
        "spans": None if audit.spans is None else _spans(audit.spans),
        "artefacts": None if audit.artefacts is None else _artefacts(audit.artefacts),
        "features": None if audit.artefacts is None else _features(audit.artefacts),
    }


def _share(part: int, whole: int) -> Cell:
    return Cell(share_text(part, whole), bar=part / whole if whole else 0.0)


def _outcomes(audit: Audit) -> Table:
    notes = [f"{counted(audit.retried, 'row')} asked for twice."] if audit.retried else []
    notes += [f"Marked as edited, but {reason}: {n:,}." for reason, n in audit.unusable.items() if n]
    header = ("Outcome", "Rows", "Share")
    return Table.of("Outcome of each row", header, _counts(audit.outcomes, audit.rows), notes)


def _counts(counts: Mapping[str, int], whole: int) -> list[tuple[str | Cell, ...]]:
    """Rows with a name, a count and its share of `whole`."""
    return [(name, f"{n:,}", _share(n, whole)) for name, n in counts.items()]


def _numbers(audit: Audit) -> Table:
    rows = (
        _distribution("Kept share, %", audit.kept, scale=100),
        _distribution("Growth, words", audit.length.words, sign=True),
        _distribution("Growth, characters", audit.length.characters, sign=True),
    )
    header = ("Of each edit", "Mean", "Least", *(f"{100 * share:.0f} %" for share in QUANTILES), "Most")
    note = "5 %: five in a hundred edits have this value or a lower one, and so on."
    return Table.of("Kept share and growth", header, rows, [note])


def _distribution(name: str, values: Distribution, *, scale: float = 1.0, sign: bool = False) -> tuple[str, ...]:
    quantiles = values.quantiles or (None,) * len(QUANTILES)
    figures = (values.mean, values.least, *quantiles, values.most)
    texts = (DASH if value is None else signed(value * scale) if sign else plain(value * scale) for value in figures)
    return (name, *texts)


def _kinds(audit: Audit) -> Table:
    rows = []
    for kind in KINDS:
        figures = audit.kinds[kind]
        counts = (figures.blocks, figures.words_removed, figures.words_added)
        edits = (figures.edits_with, figures.edits_with_nothing_else)
        rows.append((KIND_NAMES[kind], *(f"{n:,}" for n in counts), *(share_text(n, audit.edits) for n in edits)))
    header = ("Kind", "Changes", "Words removed", "Words added", "Edits with such", "Edits with nothing else")
    return Table.of("Insertions, deletions and substitutions", header, rows)


def _length(audit: Audit) -> Table:
    length = audit.length
    growth = length.words_after - length.words_before
    note = (
        f"Together {signed(growth, 0)} words ({signed(100 * growth / length.words_before)} %). "
        f"Of {length.words_added:,} words added, {share_text(length.added_at_the_end, length.words_added)} "
        "come after the last word of the original."
    )
    counts = {"Longer, in words": length.longer, "As long": length.equal, "Shorter": length.shorter}
    return Table.of("Length", ("Edits that are", "Edits", "Share"), _counts(counts, audit.edits), [note])


def _ends(audit: Audit) -> Table:
    counts = {"Only append": audit.length.only_append, "Only cut the end": audit.length.only_cut_the_end}
    return Table.of("Edits of the end alone", ("Edits that", "Edits", "Share"), _counts(counts, audit.edits))


def _rules(audit: Audit) -> Table:
    rows: list[tuple[str | Cell, ...]] = [
        (Cell(rule_name(name), rule_text(name, audit.min_kept)), f"{n:,}", _share(n, audit.edits))
        for name, n in audit.broken_rules.items()
    ]
    rows += _counts({"any of them": audit.not_minimal}, audit.edits)
    note = "The rules look at words only: they are reasons to look closer, not verdicts."
    return Table.of("Edits that simple rules call not minimal", ("Rule", "Edits", "Share"), rows, [note])


def _repeats(audit: Audit) -> Table:
    repeats = audit.repeats
    rows = [
        ("Duplicate", "ids on several rows of one editor", repeats.ids),
        ("Duplicate", "responses (prompt and original) on several rows", repeats.responses),
        ("Duplicate", "edits of one editor that are the same", repeats.edits),
        ("Contradiction", "responses edited in different ways by one editor", repeats.edited_differently),
        ("Contradiction", "responses edited in one row, found good in another by one editor", repeats.edited_or_left),
        ("Contradiction", "texts each edited into the other", repeats.reversed),
        ("Contradiction", "words replaced in both directions", repeats.swapped),
        ("Disagreement", "responses edited in different ways by different editors", repeats.others_edited_differently),
        ("Disagreement", "responses edited by one editor, found good by another", repeats.edited_or_left_by_others),
    ]
    cells = [(Cell(name, kind), f"{group.groups:,}", f"{group.rows:,}") for kind, name, group in rows]
    return Table.of("Rows that belong together", ("What", "How many", "Rows in them"), cells)


def _editors(editors: Sequence[Editor]) -> Table:
    rows = []
    for editor in editors[:SHOWN_EDITORS]:
        outcomes = (f"{n:,} {name}" for name, n in editor.outcomes.items() if n and name != EditOutcome.EDITED.value)
        figures: list[str | None] = [None] * 4
        if editor.kept is not None and editor.growth is not None:
            shares = (share_text(n, editor.edits) for n in (editor.only_append, editor.not_minimal))
            figures = [f"{100 * editor.kept:.0f} %", signed(editor.growth), *shares]
        name = Cell(editor.name or "(no name)", ", ".join(outcomes))
        rows.append((name, f"{editor.rows:,}", f"{editor.edits:,}", *figures))
    left = len(editors) - SHOWN_EDITORS
    header = ("Editor", "Rows", "Edits", "Kept", "Growth, words", "Only append", "Not minimal")
    return Table.of("Editors", header, rows, [f"{left:,} more in the JSON."] if left > 0 else [])


def _spans(spans: SpanAgreement) -> Table:
    interval = "" if spans.f1_low is None else f"{spans.f1_low:.3f} to {spans.f1_high:.3f}"
    row = (
        counted(spans.edits, "response"),
        *(None if value is None else f"{value:.3f}" for value in (spans.precision, spans.recall)),
        None if spans.f1 is None else Cell(f"{spans.f1:.3f}", interval),
        *(f"{n:,}" for n in (spans.changed, spans.labelled, spans.hits)),
    )
    header = ("", "Precision", "Recall", "F1", "Words changed", "Words labelled", "Both")
    note = (
        "Words of the original that the edit deletes or replaces, against words within a labelled span, counted over "
        "all responses. The interval is 95 %, by bootstrap over responses."
    )
    return Table.of("Changed words against labelled error spans", header, [row], [note])


def _artefacts(found: Artefacts) -> Table:
    shares = {
        "A classifier of artefacts": found.accuracy,
        **{RULES[name][0]: share for name, share in found.rules.items()},
    }
    rows = [
        (name, Cell(f"{share.value:.1f}", f"{share.low:.1f} to {share.high:.1f}"))
        for name, share in shares.items()
        if share is not None
    ]
    notes = [
        f"{counted(found.pairs, 'edit')} of {counted(found.prompts, 'prompt')}; intervals are 95 %, over prompts. "
        "Lengths in characters. A coin is right for 50 %.",
        "The classifier is a logistic regression on white space, length, punctuation, casing, first and last words, "
        f"cross-validated by prompt; it needs {FEWEST} edits of two prompts.",
        STRAY,
    ]
    return Table.of("Edits told from their originals without reading, %", ("By", "Right, %"), rows, notes)


def _features(found: Artefacts) -> Table | None:
    rows = [
        (
            feature.name,
            "more" if feature.weight > 0 else "less",
            f"{feature.pairs:,}",
            _share(feature.pairs, found.pairs),
        )
        for feature in found.features
    ]
    header = ("Artefact", "In edits", "Pairs that differ", "Share")
    return Table.of("The strongest artefacts", header, rows) if rows else None


def _examples(examples: Mapping[str, Sequence[Sequence[Example]]]) -> list[dict[str, Any]]:
    groups = ((name, title, examples.get(name, ())) for name, title in EXAMPLE_TITLES.items())
    return [
        {"name": name, "title": title, "cases": [[_card(edit) for edit in case] for case in cases]}
        for name, title, cases in groups
        if cases
    ]


def _card(edit: Example) -> dict[str, Any]:
    html = Markup(redline_html(edit.original, edit.edited))
    return {"prompt": edit.prompt, "html": html, "id": edit.id, "editor": edit.editor, "outcome": edit.outcome}
