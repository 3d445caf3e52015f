"""From an editor's answer to the edited response, and what became of the request.

Only what surely is not part of the response is taken off:

- what a model thinks before it answers, up to `</think>`, where a server leaves it in the text;
- labels and announcements before it, which the prompt of Figure 2 invites ("Revised response:");
- paragraphs after it that talk about the edit ("Changes made: ..."), unless much of them comes from the original;
- `<response>` tags, a fence of plain text or Markdown, quotation marks and blank space around the whole.

Whatever the original has too stays. So an answer that is the original, or the original with some words changed, is
never shortened.
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
"""Any opening of the form "Here is ...:"; an announcement, or the way in which the response itself begins."""

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
"""The heading of a list of edits; what follows it belongs to it."""
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
"""A farewell; commentary only where commentary stands before it."""
_FOREIGN = 0.25
"""Commentary is what has at most this share of its words from the original."""

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
"""A text that opens like a refusal and keeps less than this share of the original's words is one."""


def strip_preamble(text: str, original: str = "") -> str:
    """The response in an editor's answer, see the top of this file; empty if there is none.

    The blank space around becomes that of the original.
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
    """What became of a request and the edited response, which is `original` itself unless the outcome is EDITED.

    An answer that equals the original or says that no change is needed is UNCHANGED, which is legal. A provider's
    stop reason decides TRUNCATED and REFUSED; a text that opens like a refusal and keeps almost nothing of the
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
    """Take off thinking. Some models' chat templates open it, and then the answer holds only its end."""
    thought, end, answer = text.partition(_THOUGHT_ENDS)
    if not end or _THOUGHT_ENDS in original:
        return text
    return answer.lstrip() if thought.lstrip().startswith("<think>") or "<think>" not in thought else text


def _headings(text: str) -> list[re.Match[str]]:
    """The announcements and headings with which a text begins, one after the other."""
    found = []
    start = 0
    while match := _ANNOUNCEMENT.match(text, start) or _HEADING.match(text, start):
        found.append(match)
        start = match.end()
    return found


def _without_announcements(text: str, original: str) -> str:
    """Take off what stands before the response, and a rule that sets it apart from there; as many headings as the
    original has stay.
    """
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
    """Take what is between `<response>` tags; outside of them nothing is response."""
    tagged = _TAGS.match(text.strip())
    return text if tagged is None or _TAGS.search(original) else tagged[2]


def _without_fence(text: str, original: str) -> str:
    fenced = _FENCE.fullmatch(text)
    if fenced is None or fenced[1] in fenced[2] or fenced[1] in original:
        return text
    return fenced[2].strip()


def _without_commentary(text: str, original: str) -> str:
    """Take off the paragraphs at the end that talk about the edit, and a rule that sets them apart."""
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
    """Whether hardly any word of a comment comes from the original, so that nothing of that is lost without it."""
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
    opens_so = _REFUSAL.match(edited.strip()) and not _REFUSAL.match(original.strip())
    return bool(opens_so) and kept_share(original, edited) < _REFUSAL_KEEPS
