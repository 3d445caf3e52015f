"""Edits as redlines: what was deleted struck through, what was inserted underlined."""

import html
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from redpencil.alignment.words import diff_words
from redpencil.errors import RedpencilError
from redpencil.records import Edit
from redpencil.report.run_data import signed

if TYPE_CHECKING:
    from rich.text import Text


_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PICTURES: Final = 0x2400
"""Where Unicode has a picture for each control character of ASCII."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_TURNING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """A text without control characters but line ends and tabs, so that none from data reaches a terminal or a page.

    In their place stand the pictures that Unicode has for those of ASCII, else the replacement character.
    """
    return _CONTROL.sub(_picture, text)


def _picture(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x20:
        return chr(_PICTURES + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else _REPLACEMENT


def turns(text: str) -> bool:
    """Whether a text has a character that sets the direction of writing, such as RIGHT-TO-LEFT OVERRIDE.

    On a page, such a text is to be isolated, or it turns what stands behind it. Other texts are not: words of one
    language that reads from right to left stand in their order only where nothing comes between them.
    """
    return _TURNING.search(text) is not None


LONGEST = 700
"""Characters of an original that still makes a readable example."""
LOOKED_AT = 500
"""Edits among which examples are chosen."""


def redline_html(original: str, edited: str) -> str:
    """A paragraph of HTML with `<del>` and `<ins>`; a block's leading space stays outside of its mark."""
    parts = []
    for block in diff_words(original, edited):
        before = original[slice(*block.original)]
        after = edited[slice(*block.edited)]
        if block.kind == "equal":
            parts.append(_isolated(after))
        else:
            parts.append(_marked("del", before) + _marked("ins", after))
    return f'<p class="redline">{"".join(parts)}</p>'


def _marked(tag: str, text: str) -> str:
    if not text:
        return ""
    inside = text.strip()
    if not inside:
        return f"<{tag}>{_isolated(text)}</{tag}>"
    start = text.index(inside)
    space, rest = text[:start], text[start + len(inside) :]
    return f"{space}<{tag}>{_isolated(inside)}</{tag}>{rest}"


def _isolated(text: str) -> str:
    """A text as HTML that does not turn what stands behind it."""
    return f"<bdi>{html.escape(text)}</bdi>" if turns(text) else html.escape(text)


def choose_edits(edits: Sequence[Edit], count: int = 5) -> list[Edit]:
    """A few edits that differ in kind: a replacement, a deletion and an insertion alone, then mixed ones.

    The first of each kind in the order of the file, so that nobody has picked the pretty ones.
    """
    chosen: dict[tuple[str, ...], Edit] = {}
    for edit in edits[:LOOKED_AT]:
        kinds = [block.kind for block in diff_words(edit.original, edit.edited) if block.kind != "equal"]
        if kinds and len(edit.original) <= LONGEST:
            chosen.setdefault(tuple(sorted(kinds)), edit)
    alone = [("replace",), ("delete",), ("insert",)]
    mixed = sorted((kinds for kinds in chosen if kinds not in alone), key=lambda kinds: (-len(set(kinds)), len(kinds)))
    order = [kinds for kinds in alone if kinds in chosen] + mixed
    return [chosen[kinds] for kinds in order[:count]]


REWARD_RGB = (0, 114, 178)
BLAME_RGB = (213, 94, 0)
"""Of the palette of Okabe and Ito, which colour-blind people can tell apart."""
DEEPEST = 0.62
"""Opacity of the strongest colour: text stays legible over it in light and dark."""
FAINTEST = 0.04
NOTABLE = 0.05
"""Share of the largest magnitude under which a reward counts as nothing and gets no colour."""

HEATMAP_CSS = """
.heatmap{line-height:2.05;overflow-wrap:anywhere;white-space:pre-wrap;margin:0}
.heatmap .token{padding:.14em .16em;border-radius:.2em;color:inherit}
.heatmap .blame{text-decoration:underline;text-decoration-thickness:1.5px;text-underline-offset:.22em}
.heatmap .flaw{border:1px dashed currentColor;border-radius:.35em;padding:.16em .1em;
-webkit-box-decoration-break:clone;box-decoration-break:clone}
.heatmap .flaw sup{font-size:.68em;font-style:italic;opacity:.8;padding:0 .25em;line-height:0}
"""
"""Style that `heatmap_html` needs on the page around it."""


def heatmap_html(
    tokens: Sequence[str],
    rewards: Sequence[float],
    *,
    limit: float | None = None,
    flaws: Sequence[str | None] = (),
) -> str:
    """A paragraph of HTML in which the colour behind each token is its reward.

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
    limit = _limit(rewards) if limit is None else limit
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


def heatmap_text(tokens: Sequence[str], rewards: Sequence[float]) -> "Text":
    """The same for a terminal, as `rich.text.Text`.

    Raises:
        RedpencilError: if the lengths differ.
    """
    from rich.text import Text

    if len(tokens) != len(rewards):
        raise RedpencilError(f"{len(tokens)} tokens and {len(rewards)} rewards", hint="give one reward for each token")
    limit = _limit(rewards)
    text = Text()
    for (space, word), reward in zip(_spaced(tokens), rewards, strict=True):
        text.append(space)
        text.append(word, style=terminal_style(reward, limit))
    return text


def terminal_style(reward: float, limit: float) -> str:
    """How rich paints a token; an empty style for what is next to nothing."""
    depth = depth_of(reward, limit)
    if depth == 0:
        return ""
    colour = REWARD_RGB if reward > 0 else BLAME_RGB
    red, green, blue = (round(255 + depth * (channel - 255)) for channel in colour)
    return f"{'underline ' if reward < 0 else ''}black on rgb({red},{green},{blue})"


def _limit(rewards: Sequence[float]) -> float:
    return max((abs(reward) for reward in rewards), default=0.0)


def depth_of(reward: float, limit: float) -> float:
    """Opacity of the colour, 0 for what is next to nothing."""
    share = min(1.0, abs(reward) / limit) if limit > 0 else 0.0
    return 0.0 if share < NOTABLE else FAINTEST + (DEEPEST - FAINTEST) * share


def _token(text: str, reward: float, limit: float) -> str:
    depth = depth_of(reward, limit)
    colour = "" if depth == 0 else _background(REWARD_RGB if reward > 0 else BLAME_RGB, depth)
    kind = "token blame" if depth and reward < 0 else "token"
    return f'<span class="{kind}"{colour} title="{signed(reward, 2)}">{html.escape(text)}</span>'


def _background(rgb: tuple[int, int, int], depth: float) -> str:
    return f' style="background:rgb({rgb[0]} {rgb[1]} {rgb[2]}/{depth:.2f})"'


def _spaced(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each token as (what stands before it, its text).

    Tokens that carry their spaces (as spaces, or as the marks of byte-level BPE and SentencePiece) keep them;
    WordPiece's continuations join on; other tokens are words with a space between them.
    """
    carried = any(token[:1].isspace() or token[:1] in ("\u0120", "\u010a", "\u2581") for token in tokens)
    for index, token in enumerate(tokens):
        shown = token.replace("\u0120", " ").replace("\u2581", " ").replace("\u010a", "\n") if carried else token
        text = shown.lstrip()
        space = shown[: len(shown) - len(text)] if carried else ""
        if not carried and index and not token.startswith("##"):
            space = " "
        if not carried and index:
            text = text.removeprefix("##")
        yield (space if index else ""), (text or "\u00b7")
