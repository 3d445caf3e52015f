"""Extract the edited response from an editor's answer, and classify the outcome.

Text is removed only if it is certainly not part of the response:

- a model's thinking before the answer, up to `</think>`, if a server leaves it in the text;
- labels and announcements before the response, which the prompt of Figure 2 invites ("Revised response:");
- paragraphs after it that talk about the edit ("Changes made: ..."), unless much of them comes from the original;
- `<response>` tags, a fence of plain text or Markdown, quotation marks and blank space around the whole.

Anything that the original has as well is kept. So an answer that is the original, or the original with some words
changed, is never shortened.
"""

import re
from collections.abc import Sequence

from redpencil.alignment.words import kept_share, split_words
from redpencil.providers.base import Completion, StopReason
from redpencil.records import EditOutcome

_POLITE = r"(?:(?:sure|certainly|absolutely|of\s+course|ok|okay)(?:\s+thing)?[,.!]?\s+)?"
_HERE = r"(?:here(?:['\u2019]s|\s+is|\s+are)|below\s+is)"
_REVISED = (
    r"(?:(?:(?:minimally|slightly|lightly)[\s-]+)?"
    r"(?:revised|edited|improved|corrected|updated|modified)(?:\s*,\s+|\s+and\s+|\s+))+"
)
_TEXT = r"(?:response|answer|version|text)"
_EDITS = r"(?:changes?|edits?|modifications?|corrections?|revisions?|adjustments?)"
_MINIMAL = r"(?:minimal|minor|small|slight)"
_ANNOUNCEMENT = re.compile(
    rf"""[*\#\s]*(?:
        (?:
            {_POLITE}{_HERE}\s+my\s+attempt\b[^\n:]*
          | {_POLITE}{_HERE}\s+(?:my|the|a|an)\s+{_REVISED}{_TEXT}\b[^\n:]*
          | {_POLITE}{_HERE}\s+(?:my|the|a|an)\s+(?:{_TEXT}\s+with\s+(?:only\s+)?)?{_MINIMAL}\s+{_EDITS}\b[^\n:]*
          | {_POLITE}i(?:['\u2019]ve|\s+have)?\s+made\s+(?:only\s+)?{_MINIMAL}\s+{_EDITS}\b[^\n:]*
          | (?:my\s+|the\s+)?(?:{_REVISED}{_TEXT}|response)(?:\s*\([^)\n]*\))?
        )\s*:(?:\*+)?(?=\s|$)
      | (?<=[*\#\s])(?:my\s+|the\s+)?{_REVISED}{_TEXT}\**[^\S\n]*\n
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADING = re.compile(rf"[*#\s]*{_POLITE}{_HERE}\b[^\n:]*:(?:\*+)?(?=\s|$)\s*", re.IGNORECASE)
"""Any opening of the form "Here is ...:": an announcement, or the beginning of the response itself."""

_RULE = re.compile(r"\s*(?:-{3,}|\*{3,}|_{3,})[^\S\n]*(?:\n\s*|$)")
_FENCE = re.compile(r"(`{3,}|~{3,})(?:text|txt|plaintext|markdown|md)?[^\S\n]*\n(.*)\n\1", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<((?:\w+_)?(?:response|answer))>(.*?)</\1>", re.IGNORECASE | re.DOTALL)

_THOUGHT_ENDS = "</think>"

_PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n\s*")
_OPENING = r"(?:[-*_]{3,}[^\S\n]*\n\s*)?[*\#_\s(\[]*"
_I_CHANGED = (
    r"i(?:['\u2019]ve|\s+have)?\s+(?:(?:only|just|also|simply|mainly)\s+)*"
    r"(?:made|changed|edited|modified|corrected|revised|adjusted|added|removed|replaced|fixed|rephrased|reworded"
    r"|clarified|updated|kept|tried|aimed)\b"
)
_EDITED_TEXT = rf"(?:(?:{_REVISED}|original\s+){_TEXT}|{_MINIMAL}\s+{_EDITS})"
_LIST_OF_EDITS = re.compile(
    rf"""{_OPENING}(?:{_HERE}\s+)?(?:(?:a|an|the|my|key|main|brief|short|{_MINIMAL})\s+)*
    (?:(?:summary|list|explanation|overview)\s+of\s+(?:the\s+|my\s+|these\s+)?)?
    (?:(?:key|main|{_MINIMAL})\s+)*(?:changes|edits|modifications|corrections)
    (?:\s+(?:that\s+)?(?:i\s+|i['\u2019]ve\s+|i\s+have\s+|were\s+)?made\b[^\n:.]*)?
    \s*(?::|\*+:?\s*(?:\n|$))""",
    re.IGNORECASE | re.VERBOSE,
)
"""The heading of a list of edits, which extends to the end of the answer."""
_REMARK = re.compile(
    rf"""{_OPENING}(?:
        (?:note|notes|explanation|rationale|reasoning)\b[:*\s]+(?:that\s+)?(?=.*(?:\b{_I_CHANGED}|\b{_EDITED_TEXT}))
      | {_I_CHANGED}(?=.*\b(?:response|{_EDITED_TEXT}|{_EDITS}))
      | (?:the|this|these|my)\s+(?:{_EDITED_TEXT}|{_EDITS}\b(?=.*\b(?:response|i\s+made|{_EDITED_TEXT})))
      | (?:please\s+)?let\s+me\s+know\s+if\b(?=.*\b(?:further|more|other|additional|different)\s+{_EDITS})
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""A paragraph that talks about the edit."""
_CLOSING = re.compile(rf"{_OPENING}(?:(?:please\s+)?let\s+me\s+know\b|i\s+hope\s+(?:this|that)\b)", re.IGNORECASE)
"""A closing phrase; commentary only if commentary precedes it."""
_FOREIGN = 0.25
"""Largest share of its words that commentary has from the original."""

_QUOTES = (('"', '"'), ("\u201c", "\u201d"), ("\u00ab", "\u00bb"))
_NO_CHANGE = re.compile(
    r"\W*no\s+(?:further\s+|minimal\s+)?changes?(?:\s+(?:is|are|were))?(?:\s+(?:made|needed|necessary|required))?\W*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"(?:i\s+am\s+|i['\u2019]m\s+)?(?:very\s+|so\s+)?sorry\b|i\s+apologi[sz]e\b|as\s+an\s+ai\b"
    r"|i\s+(?:can\s?not|can['\u2019]t|will\s+not|won['\u2019]t|am\s+(?:unable|not\s+able)\s+to)\b",
    re.IGNORECASE,
)
_REFUSAL_KEEPS = 0.25
"""A text that begins like a refusal and keeps a smaller share of the original's words is one."""


def strip_preamble(text: str, original: str = "") -> str:
    """Return the response in an editor's answer as the module says; empty if there is none.

    The blank space around it becomes that of the original.
    """
    text = _without_thought(text, original)
    text = _without_announcements(text, original)
    text = _without_tags(text, original)
    text = _without_commentary(text, original)
    text = _without_fence(text.strip(), original)
    text = _without_quotes(text.strip(), original.strip())
    before = original[: len(original) - len(original.lstrip())]
    after = original[len(original.rstrip()) :]
    return before + text + after if text else ""


def classify(completion: Completion, original: str) -> tuple[EditOutcome, str]:
    """Return the outcome of an answer and the edited response, which is `original` unless the outcome is EDITED.

    An answer that equals the original or says that no change is needed is UNCHANGED, which is valid. A provider's
    stop reason decides TRUNCATED and REFUSED; a text that begins like a refusal and keeps almost nothing of the
    original is REFUSED too.
    """
    if completion.stop_reason is StopReason.REFUSAL:
        return EditOutcome.REFUSED, original
    if completion.stop_reason is StopReason.LENGTH:
        return EditOutcome.TRUNCATED, original
    edited = strip_preamble(completion.text, original)
    if not edited:
        return EditOutcome.EMPTY, original
    if edited == original or _NO_CHANGE.fullmatch(edited):
        return EditOutcome.UNCHANGED, original
    if _is_refusal(edited, original):
        return EditOutcome.REFUSED, original
    return EditOutcome.EDITED, edited


def _without_thought(text: str, original: str) -> str:
    """Remove thinking. Some models' chat templates open it, and then the answer holds only its end."""
    thought, end, answer = text.partition(_THOUGHT_ENDS)
    if not end or _THOUGHT_ENDS in original:
        return text
    return answer.lstrip() if thought.lstrip().startswith("<think>") or "<think>" not in thought else text


def _headings(text: str) -> list[re.Match[str]]:
    """Return the announcements and headings with which a text begins, in order."""
    headings = []
    start = 0
    while match := _ANNOUNCEMENT.match(text, start) or _HEADING.match(text, start):
        headings.append(match)
        start = match.end()
    return headings


def _without_announcements(text: str, original: str) -> str:
    """Remove announcements and a rule after them, but keep as many headings as the original has."""
    start = 0
    headings = _headings(text)
    for heading in headings[: max(len(headings) - len(_headings(original)), 0)]:
        if heading.re is not _ANNOUNCEMENT:
            break
        start = heading.end()
    rule = _RULE.match(text, start)
    if start and rule and not _RULE.match(original):
        start = rule.end()
    return text[start:]


def _without_tags(text: str, original: str) -> str:
    """Return the text between `<response>` tags, if there are any."""
    tagged = _TAGS.match(text.strip())
    return text if tagged is None or _TAGS.search(original) else tagged[2]


def _without_fence(text: str, original: str) -> str:
    fenced = _FENCE.fullmatch(text)
    if fenced is None or fenced[1] in fenced[2] or fenced[1] in original:
        return text
    return fenced[2].strip()


def _without_commentary(text: str, original: str) -> str:
    """Remove the paragraphs at the end that talk about the edit, and a rule before them."""
    breaks = list(_PARAGRAPH_BREAK.finditer(text.rstrip()))
    if not breaks or any(map(_is_commentary, _PARAGRAPH_BREAK.split(original))):
        return text
    paragraphs = _PARAGRAPH_BREAK.split(text.rstrip())
    for number, gap in enumerate(breaks, start=1):
        if _is_commentary(paragraphs[number]) and _is_all_commentary(paragraphs[number:]):
            response = text[: gap.start()]
            if not _RULE.fullmatch(_last_line(original)) and _RULE.fullmatch(_last_line(response)):
                response = response.rstrip()[: -len(_last_line(response))]
            return response if _is_foreign(text[gap.end() :], response, text, original) else text
    return text


def _is_commentary(paragraph: str) -> bool:
    return bool(_REMARK.match(paragraph) or _LIST_OF_EDITS.match(paragraph))


def _is_all_commentary(paragraphs: Sequence[str]) -> bool:
    for paragraph in paragraphs:
        if _LIST_OF_EDITS.match(paragraph):
            return True
        if not (_REMARK.match(paragraph) or _CLOSING.match(paragraph) or _RULE.fullmatch(paragraph)):
            return False
    return True


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def _is_foreign(comment: str, response: str, text: str, original: str) -> bool:
    """Return True if hardly any word of a comment comes from the original, so that removing it loses nothing."""
    from_original = (kept_share(original, text) - kept_share(original, response)) * len(split_words(original))
    return from_original <= _FOREIGN * len(split_words(comment))


def _without_quotes(text: str, original: str) -> str:
    for opening, closing in _QUOTES:
        inside = text[1:-1]
        quoted = len(text) >= 2 and text[0] == opening and text[-1] == closing
        if quoted and opening not in inside and closing not in inside:
            kept = original.startswith(opening) or original.endswith(closing)
            return text if kept else inside.strip()
    return text


def _is_refusal(edited: str, original: str) -> bool:
    looks_so = _REFUSAL.match(edited.strip()) and not _REFUSAL.match(original.strip())
    return bool(looks_so) and kept_share(original, edited) < _REFUSAL_KEEPS
