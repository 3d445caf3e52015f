"""Numbers, redlines and heat-maps of token rewards as text and HTML."""

import html
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from redpencil.alignment.words import diff_words
from redpencil.errors import RedpencilError
from redpencil.records import Edit
from redpencil.results import Figure

MINUS: Final = "\N{MINUS SIGN}"
DASH: Final = "\N{EN DASH}"


def signed(value: float, digits: int = 1) -> str:
    """Write a number with a plus or a true minus, and commas between thousands. Zero, also by rounding, has no sign."""
    text = f"{value:+,.{digits}f}"
    return text[1:] if not text.strip("+-0.") else text.replace("-", MINUS)


def plain(value: float | None, digits: int = 1) -> str:
    """Write a number with a true minus, and commas between thousands; a dash for None."""
    return DASH if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def bounds(figure: Figure, whole: float | None = 100.0) -> tuple[float, float] | None:
    """Return the interval of a share, kept within 0 and `whole`; None for `whole` is for what is not a share."""
    if figure.interval is None or whole is None:
        return figure.interval
    return max(0.0, figure.interval[0]), min(whole, figure.interval[1])


def interval_text(figure: Figure, digits: int = 1, whole: float | None = 100.0) -> str:
    """Write the interval of a share, such as `48.5 to 56.5`; empty where there is none."""
    ends = bounds(figure, whole)
    return "" if ends is None else f"{plain(ends[0], digits)} to {plain(ends[1], digits)}"


def in_brackets(figure: Figure, digits: int = 1, whole: float | None = 100.0) -> str:
    """Write the interval of a share behind its value in a sentence, such as ` (48.5 to 56.5)`; empty without one."""
    text = interval_text(figure, digits, whole)
    return f" ({text})" if text else ""


def points_interval(figure: Figure) -> str:
    """Write the interval of a difference, such as `+2.1 to +11.3`; empty where there is none."""
    if figure.interval is None:
        return ""
    return f"{signed(figure.interval[0])} to {signed(figure.interval[1])}"


def duration(seconds: float | None) -> str:
    """Write a time such as `4.1 s`, `3 min 20 s` or `2 h 05 min`; a dash for None."""
    if seconds is None:
        return DASH
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


_SELECTORS: Final = "[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"  # controls, and halves of surrogate pairs
    "\u202a-\u202e\u2066-\u2069"  # the direction of writing
    # What has no width, or looks like a space.
    "\u00ad\u115f\u1160\u180e\u200b\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
    # Joiners beside Latin letters or nothing: other scripts and emoji need them.
    "|(?<![^\0-\u024f])[\u200c\u200d]|[\u200c\u200d](?![^\0-\u024f])"
    f"|(?<={_SELECTORS}){_SELECTORS}"  # one selects a variant of a character, more of them select nothing
    # Letters of other scripts that look like the Latin ones beside them.
    "|(?:(?<=[A-Za-z])|(?=.[A-Za-z]))"
    "[\u0391\u0392\u0395-\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf"
    "\u0405\u0406\u0408\u0410\u0412\u0415\u041a\u041c-\u041e\u0420-\u0423\u0425"
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d]"
)
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
"""All of it that ASCII has."""
_PICTURES: Final = 0x2400
"""First of Unicode's pictures of the control characters of ASCII."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def visible(text: str) -> str:
    """Replace characters that are not seen as what they are, so that none from data reaches a terminal or a page.

    Control characters other than line ends and tabs become the pictures that Unicode has for those of ASCII, or the
    replacement character. Others become their number, such as `[U+202E]`: those that set the direction of writing, as
    RIGHT-TO-LEFT OVERRIDE does, those without width, as ZERO WIDTH SPACE, and letters of another script within a Latin
    word, as the Cyrillic ones that look like a, e and o. `static/controls.js` of the service has the same ones.
    """
    return (_CONTROLS if text.isascii() else _HIDDEN).sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(_PICTURES + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    return _REPLACEMENT if code < 0xA0 or 0xD800 <= code <= 0xDFFF else f"[U+{code:04X}]"


LONGEST: Final = 700
"""Characters of the longest original that is chosen as an example."""
CANDIDATES: Final = 500
"""Edits among which examples are chosen."""


def redline_html(original: str, edited: str) -> str:
    """Write an edit as a paragraph of HTML with `<del>` and `<ins>`; leading spaces stay outside of them."""
    parts = []
    for block in diff_words(original, edited):
        before = original[slice(*block.original)]
        after = edited[slice(*block.edited)]
        if block.kind == "equal":
            parts.append(html.escape(after))
        else:
            parts.append(_marked("del", before) + _marked("ins", after))
    return f'<p class="redline">{"".join(parts)}</p>'


def _marked(tag: str, text: str) -> str:
    if not text:
        return ""
    space, inside, rest = text.partition(text.strip() or text)
    return f"{space}<{tag}>{html.escape(inside)}</{tag}>{rest}"


def choose_edits(edits: Sequence[Edit], count: int = 5) -> list[Edit]:
    """Choose a few edits that differ in kind: a replacement, a deletion and an insertion alone, then mixed ones.

    They are the first of each kind in the file, and so not the prettiest.
    """
    chosen: dict[tuple[str, ...], Edit] = {}
    for edit in edits[:CANDIDATES]:
        kinds = [block.kind for block in diff_words(edit.original, edit.edited) if block.kind != "equal"]
        if kinds and len(edit.original) <= LONGEST:
            chosen.setdefault(tuple(sorted(kinds)), edit)
    alone = [("replace",), ("delete",), ("insert",)]
    mixed = sorted((kinds for kinds in chosen if kinds not in alone), key=lambda kinds: (-len(set(kinds)), len(kinds)))
    order = [kinds for kinds in alone if kinds in chosen] + mixed
    return [chosen[kinds] for kinds in order[:count]]


REWARD_RGB = (0, 114, 178)
BLAME_RGB = (213, 94, 0)
"""From the palette of Okabe and Ito, which colour-blind people can tell apart."""
DEEPEST = 0.62
"""Opacity of the strongest colour; text on it stays legible in light and dark."""
FAINTEST = 0.04
NOTABLE = 0.05
"""Share of the largest magnitude below which a reward gets no colour."""


def heatmap_html(
    tokens: Sequence[str], rewards: Sequence[float], *, limit: float | None = None, flaws: Sequence[str | None] = ()
) -> str:
    """Write a paragraph of HTML in which the colour behind each token is its reward.

    Args:
        tokens: T texts, as words or as a tokenizer gives them (with their spaces or the marks for them).
        rewards: T rewards.
        limit: the magnitude of the strongest colour; default: the largest among `rewards`.
        flaws: the kind of flaw of each token, where it is known; neighbours of one kind share a dashed box.

    Raises:
        RedpencilError: if the lengths differ.
    """
    if len(tokens) != len(rewards) or (flaws and len(flaws) != len(tokens)):
        raise RedpencilError(
            f"{len(tokens)} tokens and {len(rewards)} rewards", hint="give one reward, and one flaw, for each token"
        )
    if limit is None:
        limit = max((abs(reward) for reward in rewards), default=0.0)
    parts = []
    words = list(zip(_spaced(tokens), rewards, flaws or [None] * len(tokens), strict=True))
    for kind, group in groupby(words, key=lambda word: word[2]):
        members = list(group)
        inside = "".join(
            (space if index or kind is None else "") + _token(text, reward, limit)
            for index, ((space, text), reward, _) in enumerate(members)
        )
        if kind is not None:
            inside = f'{members[0][0][0]}<span class="flaw">{inside}<sup>{html.escape(kind)}</sup></span>'
        parts.append(inside)
    return f'<p class="heatmap">{"".join(parts)}</p>'


def terminal_style(reward: float, limit: float) -> str:
    """Style of a token for rich; empty for a reward close to 0."""
    depth = depth_of(reward, limit)
    if depth == 0:
        return ""
    colour = REWARD_RGB if reward > 0 else BLAME_RGB
    red, green, blue = (round(255 + depth * (channel - 255)) for channel in colour)
    return f"{'underline ' if reward < 0 else ''}black on rgb({red},{green},{blue})"


def depth_of(reward: float, limit: float) -> float:
    """Opacity of the colour of a reward, from 0 to `DEEPEST`; 0 for a reward close to 0."""
    share = min(1.0, abs(reward) / limit) if limit > 0 else 0.0
    return 0.0 if share < NOTABLE else FAINTEST + (DEEPEST - FAINTEST) * share


def _token(text: str, reward: float, limit: float) -> str:
    depth = depth_of(reward, limit)
    red, green, blue = REWARD_RGB if reward > 0 else BLAME_RGB
    colour = f' style="background:rgb({red} {green} {blue}/{depth:.2f})"' if depth else ""
    kind = "token blame" if depth and reward < 0 else "token"
    return f'<span class="{kind}"{colour} title="{signed(reward, 2)}">{html.escape(text)}</span>'


def _spaced(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Split each token into the space before it and its text.

    Tokens that carry their spaces (as spaces, or as the marks of byte-level BPE and SentencePiece) keep them. Without
    such marks, tokens are words with a space between them, and WordPiece's continuations follow without one.
    """
    carried = any(token[:1].isspace() or token[:1] in ("\u0120", "\u010a", "\u2581") for token in tokens)
    for index, token in enumerate(tokens):
        spaced = token.replace("\u0120", " ").replace("\u2581", " ").replace("\u010a", "\n") if carried else token
        text = spaced.lstrip()
        space = spaced[: len(spaced) - len(text)] if carried else ""
        if not carried and index and not token.startswith("##"):
            space = " "
        if not carried and index:
            text = text.removeprefix("##")
        yield (space if index else ""), (text or "\u00b7")
