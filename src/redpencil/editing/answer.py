"""From an editor's answer to the edited response, and what became of the request.

Only what surely is not part of the response is taken off: labels and announcements that the prompt of Figure 2
invites, blank space around, and quotation marks around the whole. Whatever the original has too stays.
"""

import re

from redpencil.alignment.words import kept_share
from redpencil.providers.base import Completion, StopReason
from redpencil.records import EditOutcome

_POLITE = r"(?:(?:sure|certainly|of\s+course|ok|okay)[,.!]?\s+)?"
_HERE = r"here(?:['\u2019]s|\s+is|\s+are)"
_REVISED = r"(?:(?:minimally\s+)?(?:revised|edited|improved|corrected|updated)\s+)"
_ANNOUNCEMENT = re.compile(
    rf"""[*\#\s]*(?:
        {_POLITE}{_HERE}\s+my\s+attempt\b[^\n:]*
      | {_POLITE}{_HERE}\s+(?:my|the|a|an)\s+{_REVISED}(?:response|version\s+of\s+the\s+response)\b[^\n:]*
      | (?:my\s+|the\s+)?{_REVISED}?response(?:\s*\([^)\n]*\))?
    )\s*:(?:\*+)?(?=\s|$)\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADING = re.compile(rf"[*#\s]*{_POLITE}{_HERE}\b[^\n:]*:(?:\*+)?(?=\s|$)\s*", re.IGNORECASE)
"""Any opening of the form "Here is ...:"; an announcement, or the way in which the response itself begins."""

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
    """The response in an editor's answer.

    Announcements such as "Revised response:" go, unless the original begins with as many; so do quotation marks around
    the whole, unless the original begins or ends with one. The blank space around becomes that of the original.
    """
    text = _without_announcements(text, len(_headings(original)))
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


def _headings(text: str) -> list[re.Match[str]]:
    """The announcements and headings with which a text begins, one after the other."""
    found = []
    start = 0
    while match := _ANNOUNCEMENT.match(text, start) or _HEADING.match(text, start):
        found.append(match)
        start = match.end()
    return found


def _without_announcements(text: str, keep: int) -> str:
    start = 0
    headings = _headings(text)
    for heading in headings[: max(len(headings) - keep, 0)]:
        if heading.re is not _ANNOUNCEMENT:
            break
        start = heading.end()
    return text[start:]


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
