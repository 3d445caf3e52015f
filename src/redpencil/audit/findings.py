"""The findings of an audit, in sentences with advice; those that need attention come first."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from redpencil.audit.audit import Audit, Editor
from redpencil.audit.rules import rule_text
from redpencil.audit.trivial_rules import RULES
from redpencil.records import EditOutcome

ATTENTION: Final = {
    "answers without an edit": 0.05,
    "rewritten": 0.2,
    "rule": 0.05,
    "only_append": 0.15,
    "growth": 0.1,
    "direction": 0.6,
    "repeated": 0.01,
    "spacing": 0.05,
    "kept": 0.45,
    "artefacts": 0.6,
}
"""Shares at which a finding needs attention; below, it is a note. For `kept` it is the opposite: human edits of
QA-Feedback keep 53 % of the words on average, independent answers to one prompt about a third."""
ENOUGH_EDITS: Final = 20
"""The smallest number of edits of an editor who is compared with the others."""
UNLIKE_OTHERS: Final = 0.2
"""The smallest difference of an editor's share from that of all other editors that is reported."""
SHOWN_EDITORS: Final = 3

_NO_EDIT: Final = {
    EditOutcome.FAILED: "Run the same `redpencil edit` again: only what failed is asked once more.",
    EditOutcome.TRUNCATED: "Raise the limit on the tokens of an answer.",
    EditOutcome.REFUSED: "Read the kept answers; another editor or another template may not refuse.",
    EditOutcome.UNCERTAIN: "Read the kept answers: they are no edits of the response, or say something beside it.",
    EditOutcome.EMPTY: "Read the responses: they or the answers to them were blank.",
}
_RULE_ADVICE: Final = {
    "rewritten": "Say in the guidelines, or in the request to a model, that most of the text should stay. Give these "
    "back to people; ask a model again with `redpencil edit --min-kept`.",
    "cosmetic": "They teach that such details are what a response is judged by. Leave them out unless that is meant.",
    "reordered": "Nothing was corrected, so words are blamed without a fault. Leave them out.",
    "put_back": "Words that come back are blamed although they were not at fault. Ask for the smallest change.",
    "rephrased": "The wording is blamed for what may be one wrong word. Ask for the smallest change.",
    "wrapped": "They are not part of the response, but a model learns to write them. Strip them, then import anew.",
}
_LENGTH_BIAS: Final = (
    "They teach a length bias: no word of the original is blamed, and longer is always better. Leave a part of them "
    "out, ask for corrections rather than additions, and watch the length in PPO."
)
_FEW: Final = "Few enough to leave in. Look at an example before you decide."
_CONTRADICTIONS: Final = {
    "edited_differently": (
        "response{s} {were} edited in more than one way by one editor",
        "Choose one edit of each: they contradict each other.",
    ),
    "edited_or_left": (
        "response{s} {were} edited in one row and found good in another by one editor",
        "Look at them: either the edit was not needed, or the fault was overlooked.",
    ),
    "reversed": (
        "pair{s} of texts {were} edited in both directions, each into the other",
        "At least one of the two edits makes the response worse. Decide, and leave the other one out.",
    ),
    "swapped": (
        "pair{s} of words {were} replaced in both directions, in edits of one prompt",
        "Both words are blamed and both are praised. Look for taste without a fault, or for a wrong correction.",
    ),
}
"""The rest of the sentence behind the number, and the advice, by the field of `Repeats`."""
_DISAGREEMENTS: Final = {
    "others_edited_differently": "response{s} edited in different ways by different editors",
    "edited_or_left_by_others": "response{s} edited by one editor and found good by another",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement about the edits. `share` is that of the rows or edits concerned; None where there is none."""

    name: str
    attention: bool
    sentence: str
    advice: str
    share: float | None = None


def findings(audit: Audit) -> tuple[Finding, ...]:
    """List the findings, those that need attention first."""
    listed = [*_outcomes(audit), *_contradictions(audit), *_duplicates(audit), *_labelled(audit)]
    if audit.edits:
        listed += [
            *_kept(audit),
            *_artefacts(audit),
            *_spacing(audit),
            *_length(audit),
            *_not_minimal(audit),
            *_places(audit),
            *_editors(audit),
        ]
    capital = (replace(finding, sentence=finding.sentence[0].upper() + finding.sentence[1:]) for finding in listed)
    return tuple(sorted(capital, key=lambda finding: not finding.attention))


def share_text(part: int, whole: int) -> str:
    """Write a share in percent; only none is 0 %, and only all is 100 %."""
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    if part and percent < 0.5:
        return "under 1 %"
    return "over 99 %" if part < whole and percent >= 99.5 else f"{percent:.0f} %"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 edit`, `1,200 edits`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rule_name(name: str) -> str:
    """Write the name of a rule in words."""
    return name.replace("_", " ")


def _shared(
    name: str, part: int, whole: int, sentence: str, advice: str, limit: float = 0.0, mild: str | None = None
) -> Iterator[Finding]:
    """Yield a finding about `part` of `whole` unless it is 0; below `limit` it is a note with the `mild` advice."""
    if part:
        attention = part / whole >= limit
        yield Finding(name, attention, sentence, advice if attention or mild is None else mild, part / whole)


def _outcomes(audit: Audit) -> Iterator[Finding]:
    rows = audit.rows
    if not audit.edits:
        yield Finding(
            "no edits",
            True,
            f"None of {counted(rows, 'row')} holds an edit.",
            "Rows with the outcome `edited`, an original and another text are edits; see the outcomes below.",
        )
    for outcome, advice in _NO_EDIT.items():
        count = audit.outcomes[outcome.value]
        text = f"{share_text(count, rows)} of the rows ({count:,}) have no edit: {outcome.value}."
        yield from _shared(outcome.value, count, rows, text, advice, ATTENTION["answers without an edit"])
    unusable = sum(audit.unusable.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in audit.unusable.items() if count)
    text = f"{counted(unusable, 'row')} said to be edited cannot be learned from ({reasons})."
    yield from _shared("unusable", unusable, rows, text, "They are skipped. Check what wrote them.")
    text = f"{counted(audit.blank_edits, 'edit')} left nothing of the response and put nothing in its place."
    advice = "An empty text would count as the better response. Training skips them; see whether that is meant."
    yield from _shared("blank", audit.blank_edits, audit.edits, text, advice)
    text = f"{share_text(audit.retried, rows)} of the rows ({audit.retried:,}) were asked for twice."
    advice = "The first answer kept too little. If these are many, the request does not say well what is wanted."
    yield from _shared("retried", audit.retried, rows, text, advice, math.inf)


def _kept(audit: Audit) -> Iterator[Finding]:
    kept = audit.kept.mean
    if kept is not None and audit.edits >= ENOUGH_EDITS and kept < ATTENTION["kept"]:
        share = f"{100 * kept:.0f} %"
        text = f"The edits keep {share} of the words on average: these look like independent answers, not edits."
        advice = (
            "Edits that people make keep half and more. Pairs of answers written independently are "
            "comparisons: `redpencil import --as comparisons`."
        )
        yield Finding("kept", True, text, advice, kept)


def _artefacts(audit: Audit) -> Iterator[Finding]:
    """Yield how far artefacts separate edits from originals, if that is more than chance; limits are on low ends."""
    found = audit.artefacts
    if found is None:
        return
    limit = 100 * ATTENTION["artefacts"]
    share = found.accuracy
    if share is not None and share.low > 50:
        strongest = ", ".join(feature.name for feature in found.features[:SHOWN_EDITORS])
        text = (
            f"artefacts alone tell {share.value:.0f} % of the edits from their originals (95 % interval "
            f"{share.low:.0f} to {share.high:.0f}, by a classifier that reads nothing but {strongest} and the like)."
        )
        advice = "A reward model may learn no more than that: read its accuracy beside this one."
        yield Finding("artefacts", share.low >= limit, text, advice, share.value / 100)
    white = {name: rule for name, rule in found.rules.items() if name.startswith("white_space")}
    best = max(white, key=lambda name: white[name].value, default=None)
    if best is not None and white[best].low > 50:
        edited, original = (share_text(n, found.pairs) for n in (found.stray_edited, found.stray_original))
        rule = RULES[best][0]
        text = (
            f"stray white space, at the end of a text or line or doubled between words, is in {edited} of the edits "
            f"and in {original} of the originals: the rule that {rule[0].lower()}{rule[1:]} is right for "
            f"{white[best].value:.0f} %."
        )
        advice = "`redpencil import --normalise-spacing` takes it out of both sides."
        yield Finding("stray", white[best].low >= limit, text, advice)


def _contradictions(audit: Audit) -> Iterator[Finding]:
    for name, (rest, advice) in _CONTRADICTIONS.items():
        yield from _repeated(audit, name, rest, advice, ATTENTION["repeated"], "Few enough to look at each. " + advice)
    for name, rest in _DISAGREEMENTS.items():
        advice = "Expected where editors share responses; it says how far they agree."
        yield from _repeated(audit, name, rest, advice, math.inf)


def _duplicates(audit: Audit) -> Iterator[Finding]:
    rest = "id{s} on more than one row of one editor"
    yield from _repeated(audit, "ids", rest, "Give each row an id of its own.")
    rest = "edit{s} on more than one row of one editor"
    advice = "Keep one of each: copies weigh more, and may stand in training and validation data at once."
    mild = "Few; where it matters keep one of each."
    yield from _repeated(audit, "edits", rest, advice, ATTENTION["repeated"], mild)
    advice = "Keep the rows of one response together when data are split."
    yield from _repeated(audit, "responses", "response{s} on more than one row", advice, math.inf)


def _repeated(
    audit: Audit, name: str, rest: str, advice: str, limit: float = 0.0, mild: str | None = None
) -> Iterator[Finding]:
    """Yield the finding about the groups of rows of that name, whose number `rest` continues to a sentence."""
    repeated = getattr(audit.repeats, name)
    one = repeated.groups == 1
    rest = rest.format(s="" if one else "s", were="was" if one else "were")
    text = f"{repeated.groups:,} {rest} ({counted(repeated.rows, 'row')})."
    yield from _shared(name, repeated.rows, audit.rows, text, advice, limit, mild)


def _length(audit: Audit) -> Iterator[Finding]:
    length, edits = audit.length, audit.edits
    text = f"{share_text(length.only_append, edits)} of the edits only append: they add at the end, no more."
    yield from _shared("only_append", length.only_append, edits, text, _LENGTH_BIAS, ATTENTION["only_append"], _FEW)
    cut = length.only_cut_the_end
    text = f"{share_text(cut, edits)} of the edits only cut the end off."
    advice = "What is learned may be to stop early. See whether the end was at fault."
    yield from _shared("only_cut_the_end", cut, edits, text, advice, ATTENTION["only_append"], _FEW)
    growth = (length.words_after - length.words_before) / length.words_before
    for more, count, way in ((growth, length.longer, "longer"), (-growth, length.shorter, "shorter")):
        if more >= ATTENTION["growth"] and count / edits >= ATTENTION["direction"]:
            text = f"{share_text(count, edits)} of the edits are {way}; together they are {100 * more:.0f} % {way}."
            advice = f"A reward model may learn that {way} is better. Compare rewards with lengths before PPO."
            yield Finding("growth", True, text, advice, count / edits)


def _spacing(audit: Audit) -> Iterator[Finding]:
    only, also, edits = audit.only_spacing, audit.also_spacing, audit.edits
    text = f"{share_text(only, edits)} of the edits ({only:,}) change white space or line ends alone."
    advice = "They are skipped, as no word of theirs is better or worse. `redpencil import` makes them unchanged rows."
    yield from _shared("only_spacing", only, edits, text, advice, ATTENTION["spacing"])
    text = f"{share_text(also, edits)} of the edits ({also:,}) also change white space or line ends beside kept words."
    advice = (
        "`redpencil import` and `redpencil align` restore it. Leave that on, unless white space has a meaning here."
    )
    yield from _shared("also_spacing", also, edits, text, advice, ATTENTION["spacing"])


def _not_minimal(audit: Audit) -> Iterator[Finding]:
    limits = {"rewritten": ATTENTION["rewritten"], "wrapped": 0.0}
    for name, count in audit.broken_rules.items():
        does = rule_text(name, audit.min_kept)
        text = f"{share_text(count, audit.edits)} of the edits ({count:,}) are {rule_name(name)}: each {does}."
        limit = limits.get(name, ATTENTION["rule"])
        yield from _shared(name, count, audit.edits, text, _RULE_ADVICE[name], limit, _FEW)


def _places(audit: Audit) -> Iterator[Finding]:
    added = audit.length.words_added
    at_the_end = audit.length.added_at_the_end
    if added and at_the_end / added >= 0.5:
        text = f"{share_text(at_the_end, added)} of all added words are added behind the last word of the response."
        advice = "What is missing was added rather than what is wrong corrected. See `docs/paper.md` on insertions."
        yield Finding("added_at_the_end", False, text, advice, at_the_end / added)


def _editors(audit: Audit) -> Iterator[Finding]:
    compared = [editor for editor in audit.editors if editor.edits >= ENOUGH_EDITS and editor.edits < audit.edits]
    for name, noun in (("only_append", "only append"), ("not_minimal", "are not minimal by the rules")):
        unlike = [(editor, rest) for editor in compared for rest in [_rest(audit, editor, name)] if rest is not None]
        rows = [(getattr(editor, name), editor, rest) for editor, rest in unlike]
        yield from _unlike(name, noun, [row for row in rows if row[0] / row[1].edits - row[2] >= UNLIKE_OTHERS])


def _rest(audit: Audit, editor: Editor, name: str) -> float | None:
    """The share of all other editors together; None if they have no edits."""
    edits = audit.edits - editor.edits
    return sum(getattr(other, name) for other in audit.editors if other is not editor) / edits if edits else None


def _unlike(name: str, noun: str, editors: Sequence[tuple[int, Editor, float]]) -> Iterator[Finding]:
    if editors:
        few = [
            f"{editor.name or 'no name'} ({share_text(count, editor.edits)}, others {100 * rest:.0f} %)"
            for count, editor, rest in editors[:SHOWN_EDITORS]
        ]
        more = f" and {len(editors) - SHOWN_EDITORS} more" if len(editors) > SHOWN_EDITORS else ""
        text = f"Editors whose edits {noun} far more often than those of others: {', '.join(few)}{more}."
        whose = "this editor's" if len(editors) == 1 else "each one's"
        advice = f"Look at {whose} edits, or at its template, before you use them."
        yield Finding(f"editor {name}", True, text, advice)


def _labelled(audit: Audit) -> Iterator[Finding]:
    spans = audit.spans
    if spans is None:
        return
    if spans.unreadable:
        text = f"{counted(spans.unreadable, 'row')} have `spans` that cannot be read."
        advice = "Write spans as objects with `start` and `end`, character offsets within the original."
        yield Finding("unreadable spans", True, text, advice)
    if spans.f1 is not None and spans.precision is not None and spans.recall is not None:
        interval = "" if spans.f1_low is None else f" (95 % interval {spans.f1_low:.3f} to {spans.f1_high:.3f})"
        text = (
            f"Changed words against words labelled as errors: F1 {spans.f1:.3f}{interval}, "
            f"precision {spans.precision:.3f}, recall {spans.recall:.3f}, {counted(spans.edits, 'response')}."
        )
        advice = "The higher, the more an edit's changes are the faults that people see."
        yield Finding("spans", spans.f1 < 0.5, text, advice)
