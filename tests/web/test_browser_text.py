"""What the server does to texts."""

import random
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.web.browser_text import measure, restore_line_ends

TEXTS = st.lists(st.sampled_from(["a", "b ", " cat", "🖍️", ".", "\n", "\r\n", "\r", "\t"]), max_size=12).map("".join)


def through_a_page(text: str) -> str:
    return re.sub("\r\n?", "\n", text)


def test_an_edit_is_measured_by_words_and_characters() -> None:
    measured = measure("The sky is green.", "The sky is blue.")
    # Words: The, sky, is, green and the full stop; ` green` is six characters, ` blue` five.
    assert (measured.kept, measured.distance) == (4 / 5, 6 + 5)
    assert [block.kind for block in measured.blocks] == ["equal", "replace", "equal"]


@pytest.mark.slow
def test_a_huge_odd_text_is_measured_in_seconds_and_others_go_on() -> None:
    """A million characters that are a word each, put into another order."""
    chance = random.Random(1)
    original = chance.choices(".,;:!\u4e2d\u6587", k=1_000_000)
    edited = chance.sample(original, len(original))
    pauses = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            before = time.perf_counter()
            done.wait(0.01)
            pauses.append(time.perf_counter() - before)

    onlooker = threading.Thread(target=look)
    onlooker.start()
    before = time.process_time()
    measured = measure("".join(original), "".join(edited))
    taken = time.process_time() - before
    done.set()
    onlooker.join()
    assert 0 < measured.kept < 1
    assert taken < 15, "seconds, with much room for a slow machine"
    assert max(pauses) < 5


def test_a_text_that_stays_has_no_distance() -> None:
    assert (measure("Same", "Same").kept, measure("Same", "Same").distance) == (1.0, 0)


@given(TEXTS)
def test_a_text_that_only_went_through_a_page_is_the_original(text: str) -> None:
    assert restore_line_ends(text, through_a_page(text)) == text


@given(TEXTS, TEXTS)
def test_only_line_ends_are_restored(original: str, edited: str) -> None:
    restored = restore_line_ends(original, through_a_page(edited))
    assert through_a_page(restored) == through_a_page(edited)


def test_lines_that_stay_keep_their_own_ends_and_new_ones_get_the_first() -> None:
    assert restore_line_ends("a\r\nb\nc\rd", "a\nb\nc\nd and\ne") == "a\r\nb\nc\rd and\r\ne"


def test_a_text_of_newlines_is_left_alone() -> None:
    assert restore_line_ends("a\nb", "a\nb\nc") == "a\nb\nc"
    assert restore_line_ends("a\r\nb", "a\r\nc\n") == "a\r\nc\n"
