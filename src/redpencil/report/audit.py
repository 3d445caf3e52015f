"""The page of an edit audit: one HTML file, which loads nothing from anywhere."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup, escape

import redpencil
from redpencil.audit.audit import (
    BINS,
    KINDS,
    QUANTILES,
    Audit,
    Distribution,
    Editor,
    Example,
    GrowthBin,
    SpanAgreement,
)
from redpencil.audit.findings import Finding, counted, findings, rule_name, share_text
from redpencil.audit.rules import RULES, rule_text
from redpencil.files import whole_file
from redpencil.records import EditOutcome
from redpencil.report.run_page import TEMPLATES, template
from redpencil.report.tables import ABSENT, Cell, Table
from redpencil.report.text import DASH, plain, redline_html, signed
from redpencil.svg import Chart, Column, Row, draw_columns, draw_rows

SHOWN_EDITORS = 50
DRAWN_EDITORS = 12
_CODE: Final = re.compile("`([^`]+)`")
KIND_NAMES: Final = {"insert": "Insertions", "delete": "Deletions", "replace": "Substitutions"}
EXAMPLE_TITLES: Final[Mapping[str, str]] = {
    "only_append": "Edits that only append",
    **{name: f"Not minimal: {rule_name(name)}" for name in RULES},
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
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "audit.css"))
    every = findings(audit)
    return template("audit.html.j2").render(
        style=Markup(style),
        sources=sources,
        summary=summary(audit),
        lead=lead(every),
        attention=[_shown(finding) for finding in every if finding.attention],
        notes_found=[_shown(finding) for finding in every if not finding.attention],
        charts=audit_charts(audit),
        tables=audit_tables(audit),
        examples=_examples(audit.examples),
        version=redpencil.__version__,
    )


def audit_charts(audit: Audit) -> dict[str, Chart | None]:
    """The charts by name; none without edits."""
    if not audit.edits:
        return {}
    return {
        "kept": kept_chart(audit),
        "length": length_chart(audit),
        "places": places_chart(audit),
        "editors": editors_chart(audit),
    }


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
    return f"{counted(count, 'finding')} {'needs' if count == 1 else 'need'} attention." if count else (
        "Nothing in these edits calls for attention."
    )  # fmt: skip


def summary(audit: Audit) -> str:
    """Rows, edits and how much these keep, in one sentence."""
    text = f"{counted(audit.rows, 'row')}, {counted(audit.edits, 'edit')} by {counted(len(audit.editors), 'editor')}."
    if audit.kept.mean is None or audit.kept.median is None:
        return text
    mean, median = (f"{100 * share:.0f} %" for share in (audit.kept.mean, audit.kept.median))
    return f"{text} The edits keep {mean} of the words on average; the median is {median}."


def audit_tables(audit: Audit) -> dict[str, Table | None]:
    """The tables by name; None where there is nothing to show."""
    return {
        "outcomes": _outcomes(audit),
        "numbers": _numbers(audit) if audit.edits else None,
        "kinds": _kinds(audit) if audit.edits else None,
        "length": _length(audit) if audit.edits else None,
        "ends": _ends(audit) if audit.edits else None,
        "rules": _rules(audit) if audit.edits else None,
        "repeats": _repeats(audit),
        "editors": _editors(audit.editors),
        "spans": None if audit.spans is None else _spans(audit.spans),
    }


def _share(part: int, whole: int) -> Cell:
    return Cell(share_text(part, whole), bar=part / whole if whole else 0.0)


def _outcomes(audit: Audit) -> Table:
    rows = tuple((Cell(name), Cell(f"{n:,}"), _share(n, audit.rows)) for name, n in audit.outcomes.items())
    notes = [f"{counted(audit.retried, 'row')} asked for twice."] if audit.retried else []
    notes += [f"Marked as edited, but {reason}: {n:,}." for reason, n in audit.unusable.items() if n]
    return Table("Outcome of each row", ("Outcome", "Rows", "Share"), rows, tuple(notes))


def _numbers(audit: Audit) -> Table:
    rows = (
        _distribution("Kept share, %", audit.kept, scale=100),
        _distribution("Growth, words", audit.length.words, sign=True),
        _distribution("Growth, characters", audit.length.characters, sign=True),
    )
    header = ("Of each edit", "Mean", "Least", *(f"{100 * share:.0f} %" for share in QUANTILES), "Most")
    return Table(
        "Kept share and growth",
        header,
        rows,
        ("5 %: five in a hundred edits have this value or a lower one, and so on.",),
    )


def _distribution(name: str, values: Distribution, *, scale: float = 1.0, sign: bool = False) -> tuple[Cell, ...]:
    quantiles = values.quantiles or (None,) * len(QUANTILES)
    figures = (values.mean, values.least, *quantiles, values.most)
    texts = (DASH if value is None else signed(value * scale) if sign else plain(value * scale) for value in figures)
    return (Cell(name), *map(Cell, texts))


def _kinds(audit: Audit) -> Table:
    rows = []
    for kind in KINDS:
        figures = audit.kinds[kind]
        rows.append(
            (
                Cell(KIND_NAMES[kind]),
                Cell(f"{figures.blocks:,}"),
                Cell(f"{figures.words_removed:,}"),
                Cell(f"{figures.words_added:,}"),
                Cell(share_text(figures.edits_with, audit.edits)),
                Cell(share_text(figures.edits_with_nothing_else, audit.edits)),
            )
        )
    header = ("Kind", "Changes", "Words removed", "Words added", "Edits with such", "Edits with nothing else")
    return Table("Insertions, deletions and substitutions", header, tuple(rows))


def _length(audit: Audit) -> Table:
    length, edits = audit.length, audit.edits
    counts = (
        ("Longer, in words", length.longer),
        ("As long", length.equal),
        ("Shorter", length.shorter),
    )
    growth = length.words_after - length.words_before
    notes = (
        f"Together {signed(growth, 0)} words ({signed(100 * growth / length.words_before)} %). "
        f"Of {length.words_added:,} words added, {share_text(length.added_at_the_end, length.words_added)} "
        "come after the last word of the original.",
    )
    rows = tuple((Cell(name), Cell(f"{n:,}"), _share(n, edits)) for name, n in counts)
    return Table("Length", ("Edits that are", "Edits", "Share"), rows, notes)


def _ends(audit: Audit) -> Table:
    length = audit.length
    counts = (("Only append", length.only_append), ("Only cut the end", length.only_cut_the_end))
    rows = tuple((Cell(name), Cell(f"{n:,}"), _share(n, audit.edits)) for name, n in counts)
    return Table("Edits of the end alone", ("Edits that", "Edits", "Share"), rows)


def _rules(audit: Audit) -> Table:
    rows = [(Cell(rule_name(name), rule_text(name, audit.min_kept)), Cell(f"{n:,}"), _share(n, audit.edits))
            for name, n in audit.broken_rules.items()]  # fmt: skip
    rows.append((Cell("any of them"), Cell(f"{audit.not_minimal:,}"), _share(audit.not_minimal, audit.edits)))
    note = "The rules look at words only: they are reasons to look closer, not verdicts."
    return Table("Edits that simple rules call not minimal", ("Rule", "Edits", "Share"), tuple(rows), (note,))


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
    cells = tuple((Cell(name, kind), Cell(f"{f.groups:,}"), Cell(f"{f.rows:,}")) for kind, name, f in rows)
    return Table("Rows that belong together", ("What", "How many", "Rows in them"), cells)


def _editors(editors: Sequence[Editor]) -> Table:
    rows = []
    for editor in editors[:SHOWN_EDITORS]:
        edits = editor.edits
        outcomes = (f"{n:,} {name}" for name, n in editor.outcomes.items() if n and name != EditOutcome.EDITED.value)
        figures = [ABSENT] * 4
        if editor.kept is not None and editor.growth is not None:
            figures = [
                Cell(f"{100 * editor.kept:.0f} %"),
                Cell(signed(editor.growth)),
                Cell(share_text(editor.only_append, edits)),
                Cell(share_text(editor.not_minimal, edits)),
            ]
        rows.append(
            (
                Cell(editor.name or "(no name)", ", ".join(outcomes)),
                Cell(f"{editor.rows:,}"),
                Cell(f"{edits:,}"),
                *figures,
            )
        )
    left = len(editors) - SHOWN_EDITORS
    header = ("Editor", "Rows", "Edits", "Kept", "Growth, words", "Only append", "Not minimal")
    return Table("Editors", header, tuple(rows), (f"{left:,} more in the JSON.",) if left > 0 else ())


def _spans(spans: SpanAgreement) -> Table:
    interval = "" if spans.f1_low is None else f"{spans.f1_low:.3f} to {spans.f1_high:.3f}"
    row = (
        Cell(counted(spans.edits, "response")),
        *(ABSENT if value is None else Cell(f"{value:.3f}") for value in (spans.precision, spans.recall)),
        ABSENT if spans.f1 is None else Cell(f"{spans.f1:.3f}", interval),
        *(Cell(f"{n:,}") for n in (spans.changed, spans.labelled, spans.hits)),
    )
    header = ("", "Precision", "Recall", "F1", "Words changed", "Words labelled", "Both")
    notes = (
        "Words of the original that the edit deletes or replaces, against words within a labelled span, counted over "
        "all responses. The interval is 95 %, by bootstrap over responses.",
    )
    return Table("Changed words against labelled error spans", header, (row,), notes)


def _examples(examples: Mapping[str, Sequence[Sequence[Example]]]) -> list[dict[str, Any]]:
    groups = ((name, title, examples.get(name, ())) for name, title in EXAMPLE_TITLES.items())
    return [
        {"name": name, "title": title, "cases": [[_card(edit) for edit in case] for case in cases]}
        for name, title, cases in groups
        if cases
    ]


def _card(edit: Example) -> dict[str, Any]:
    return {
        "prompt": edit.prompt,
        "html": Markup(redline_html(edit.original, edit.edited)),
        "id": edit.id,
        "editor": edit.editor,
        "outcome": edit.outcome,
    }
