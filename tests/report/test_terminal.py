"""Redlines and mask tables as a person reads them."""

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from redpencil.alignment.tokens import TokenMasks
from redpencil.alignment.words import diff_words
from redpencil.report.terminal import masks_legend, redline, redline_plain, show_masks

ORIGINAL = "It is better to have had a flame and lost it, than never to have been burned at all."
EDITED = "It is better to have had a flame and been singed, than never to have felt its warmth at all."


def printed(renderable: RenderableType, width: int = 100) -> str:
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_plain_redline_of_figure_5() -> None:
    assert redline_plain(ORIGINAL, EDITED, diff_words(ORIGINAL, EDITED)) == (
        "It is better to have had a flame and [-lost it-]{+been singed+}, "
        "than never to have [-been burned-]{+felt its warmth+} at all."
    )


def test_plain_redline_of_pure_edits() -> None:
    assert redline_plain("a c", "a b c", diff_words("a c", "a b c")) == "a{+ b+} c"
    assert redline_plain("a b c", "a c", diff_words("a b c", "a c")) == "a[- b-] c"


@given(st.text("ab .\n", max_size=20), st.text("ab .\n", max_size=20))
def test_both_texts_can_be_read_off_a_redline(original: str, edited: str) -> None:
    blocks = diff_words(original, edited)
    pieces = [(original[slice(*b.original)], edited[slice(*b.edited)], b.kind == "equal") for b in blocks]
    text = redline(original, edited, blocks)
    assert text.plain == "".join(old if equal else old + new for old, new, equal in pieces)
    plain = redline_plain(original, edited, blocks)
    assert _keep(plain, drop=("{+", "+}"), unwrap=("[-", "-]")) == original
    assert _keep(plain, drop=("[-", "-]"), unwrap=("{+", "+}")) == edited


def _keep(text: str, drop: tuple[str, str], unwrap: tuple[str, str]) -> str:
    while drop[0] in text:
        before, _, rest = text.partition(drop[0])
        text = before + rest.partition(drop[1])[2]
    return text.replace(unwrap[0], "").replace(unwrap[1], "")


def test_redline_styles() -> None:
    text = redline("a old [b]", "a new [b]", diff_words("a old [b]", "a new [b]"))
    assert text.plain == "a old new [b]"  # text in brackets is no markup
    assert [(text.plain[span.start : span.end], span.style) for span in text.spans] == [
        (" old", "red strike"),
        (" new", "green underline"),
    ]


def test_mask_table() -> None:
    masks = TokenMasks((False, True, False, False), (False, True, False, False, False), ((0, 0), (3, 4)))
    shown = printed(show_masks(["one", " two", "\n", "</s>"], ["one", " six", " ", " [x]", "</s>"], masks))
    rows = [line.split() for line in shown.splitlines()]
    assert rows[0] == ["rejected", "1:one", "[-two-]", "(\\n)", "2:</s>"]
    assert rows[1] == ["chosen", "1:one", "{+six+}", "(_)", "([x])", "2:</s>"]
    assert " ".join(rows[2]) == "masks changed (U1): 1 rejected, 1 chosen; unchanged pairs (U0): 2"


def test_a_run_ends_where_either_side_leaves_it() -> None:
    masks = TokenMasks((False, False), (False, True, False), ((0, 0), (1, 2)))
    rows = [line.split() for line in printed(show_masks(["a", "b"], ["a", "x", "b"], masks)).splitlines()]
    assert rows[0] == ["rejected", "1:a", "2:b"]
    assert rows[1] == ["chosen", "1:a", "{+x+}", "2:b"]


def test_mask_table_wraps_within_the_width() -> None:
    words = [f" word{i}" for i in range(60)]
    masks = TokenMasks((False,) * 60, (False,) * 60, tuple((t, t) for t in range(60)))
    shown = printed(show_masks(words, words, masks), width=60)
    assert max(len(line) for line in shown.splitlines()) <= 60
    assert all(shown.count(word.strip()) >= 2 for word in words)


def test_mask_table_without_tokens() -> None:
    assert "unchanged pairs (U0): 0" in printed(show_masks([], [], TokenMasks((), (), ())))


def test_the_legend_has_each_mark_of_the_masks_and_says_why_there_are_no_anchors() -> None:
    masks = TokenMasks((False, True, False), (False, True, False), ((0, 0),))
    shown = printed(show_masks(["a", "b", "c"], ["a", "d", "c"], masks))
    for mark, explained in (("[-b-]", "[-token-]"), ("{+d+}", "{+token+}"), ("1:a", "3:token"), ("(c)", "(token)")):
        assert mark in shown
        assert explained in masks_legend("none")
    assert "--set align.anchor=divergence" in masks_legend("none")
    assert "Anchors are among the changed tokens" in masks_legend("divergence")
