"""The browser's preview of an edit against what the server computes, and line ends through a textarea."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Response
from redpencil.web.browser_text import measure

pytestmark = pytest.mark.external

WORDS = (
    *("the", "a", "cat", "is", "likes", ",", ".", "it's", "é", "中文", "👍🏽", "good"),
    *("(", ")", "\u2019s", "e\u0301t", "_x", "5", "Paris"),
)
SPACES = (" ", " ", " ", "", "\n", "\t", "  ")


def texts(seed: int, count: int) -> list[tuple[str, str]]:
    """Originals, each with an edit that changes a few stretches of it."""
    chance = random.Random(seed)

    def some(most: int) -> str:
        return "".join(chance.choice(SPACES) + chance.choice(WORDS) for _ in range(chance.randrange(most)))

    pairs = []
    for _ in range(count):
        original = edited = some(25)
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(edited) + 1)
            edited = edited[:at] + some(3) + edited[at + chance.randrange(8) :]
        pairs.append((original, edited))
    return pairs


@pytest.fixture
def page(make_service: Callable[..., Any], sign_in: Callable[..., Any]) -> Any:
    return sign_in(make_service([Response("1", "?", "x")])).page


def test_the_preview_measures_an_edit_as_the_server_does(page: Any) -> None:
    """Where several alignments keep as many words the page may choose another one, so a few distances may differ."""
    pairs = texts(1, 1500)
    measured = page.evaluate(
        """async (pairs) => {
            const { diffWords, distanceOf, joinLight, keptShare } = await import('/static/words.js');
            return pairs.map(([a, b]) => {
                const blocks = diffWords(a, b);
                let [i, j] = [0, 0];
                for (const { kind, original, edited } of blocks) {
                    if (original[0] !== i || edited[0] !== j) throw new Error(`a gap: ${JSON.stringify([a, b])}`);
                    [i, j] = [original[1], edited[1]];
                    if (kind === 'equal' && a.slice(...original) !== b.slice(...edited)) throw new Error('not equal');
                }
                if (i !== a.length || j !== b.length) throw new Error('too short');
                return [keptShare(a, blocks), distanceOf(a, b, joinLight(a, b, blocks))];
            });
        }""",
        pairs,
    )
    kept = [abs(measure(*pair).kept - share) < 1e-9 for pair, (share, _) in zip(pairs, measured, strict=True)]
    distances = [measure(*pair).distance == shown for pair, (_, shown) in zip(pairs, measured, strict=True)]
    assert all(kept)
    assert sum(distances) >= 0.97 * len(pairs), sum(distances) / len(pairs)


def test_a_textarea_loses_no_line_end(page: Any) -> None:
    """Whatever the line ends: an untouched text comes back exact, a touched one is stable and reads the same."""
    chance = random.Random(2)
    pieces = ("\r\n", "\r\n", "\n", "\r", "a", " b", "\t", "")
    pairs = [
        tuple("".join(chance.choice(pieces) for _ in range(chance.randrange(20))) for _ in range(2))
        for _ in range(3000)
    ]
    wrong = page.evaluate(
        """async (pairs) => {
            const { exactPlaces, fromTextarea, toTextarea } = await import('/static/text.js');
            const area = document.createElement('textarea');
            const wrong = [];
            for (const [original, other] of pairs) {
                area.value = original;
                if (area.value !== toTextarea(original)) wrong.push(['textarea', original]);
                if (fromTextarea(original, area.value) !== original) wrong.push(['untouched', original]);
                const exact = fromTextarea(original, toTextarea(other));
                if (toTextarea(exact) !== toTextarea(other)) wrong.push(['touched', original, other]);
                if (fromTextarea(original, toTextarea(exact)) !== exact) wrong.push(['unstable', original, other]);
                const place = exactPlaces(original);
                for (let i = 0; i <= area.value.length; i += 1)
                    if (toTextarea(original.slice(0, place(i))).length !== i && original[place(i) - 1] !== '\\r')
                        wrong.push(['place', original, i]);
            }
            return wrong.slice(0, 3);
        }""",
        pairs,
    )
    assert wrong == []


def test_one_touched_line_changes_the_end_of_no_other(page: Any) -> None:
    original = "one\r\ntwo\nthree\r\nfour\rfive\r\n"
    edited = page.evaluate(
        """async ([original, value]) => (await import('/static/text.js')).fromTextarea(original, value)""",
        [original, "one\nTWO\nadded\nthree\nfour\nfive\n"],
    )
    assert edited == "one\r\nTWO\nadded\r\nthree\r\nfour\rfive\r\n"


def test_hunks_of_a_suggestion_can_be_taken_in_any_order(page: Any) -> None:
    """Taken all, they give the suggestion; one that cannot be placed any longer is not taken at a wrong place."""
    chance = random.Random(3)
    pairs = [pair for pair in texts(4, 400) if pair[0] != pair[1]]
    orders = [[chance.random() for _ in range(12)] for _ in pairs]
    taken, unplaced = page.evaluate(
        """async ([pairs, orders]) => {
            const { diffWords } = await import('/static/words.js');
            const { hunksOf, standing } = await import('/static/suggestions.js');
            let [taken, unplaced] = [0, 0];
            pairs.forEach(([original, suggestion], n) => {
                const hunks = hunksOf(original, suggestion);
                const order = hunks.map((_, i) => i).sort((i, j) => orders[n][i] - orders[n][j]);
                let text = original;
                let all = true;
                for (const i of order) {
                    const { state, from, to } = standing(hunks[i], diffWords(original, text), text);
                    if (state === 'open') {
                        text = text.slice(0, from) + hunks[i].added + text.slice(to);
                        taken += 1;
                    } else {
                        all = false;
                        unplaced += 1;
                    }
                }
                if (all && text !== suggestion) throw new Error(JSON.stringify([original, suggestion, text]));
            });
            return [taken, unplaced];
        }""",
        [pairs, orders],
    )
    assert taken > 300
    assert unplaced <= 0.03 * taken
