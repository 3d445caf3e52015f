"""Whole prompts are held out, once for edits and comparisons; folds are a partition for each repetition."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.config.data import FilesConfig
from redpencil.errors import RedpencilError
from redpencil.pipeline.splits import learned_rows, split_prompts


def files(**options: object) -> FilesConfig:
    return FilesConfig(model=Path("m"), edits=Path("e.jsonl"), comparisons=Path("c.jsonl"), **options)


def test_one_draw_for_both_kinds() -> None:
    edits = [f"p{n}" for n in range(50)]
    comparisons = [f"p{n}" for n in range(50) for _ in range(6)]
    held = split_prompts(files(test_share=0.2), {"edits": edits, "comparisons": comparisons}, seed=3)
    assert len(held) == 10
    assert held == split_prompts(
        files(test_share=0.2), {"comparisons": comparisons[::-1], "edits": edits[::-1]}, seed=3
    )
    assert held != split_prompts(files(test_share=0.2), {"edits": edits, "comparisons": comparisons}, seed=4)


def test_a_share_of_the_training_rows_is_learned_from() -> None:
    counts = [learned_rows(files(train_share=share), "edits", 7) for share in (1, 0.99, 0.5, 1 / 3, 1 / 7)]
    assert counts == [7, 6, 3, 2, 1]
    assert learned_rows(files(train_share=1 / 3), "edits", 21) == 7
    with pytest.raises(RedpencilError, match=r"no edits are left to learn from: 0\.1 of 7") as caught:
        learned_rows(files(train_share=0.1), "edits", 7)
    assert (caught.value.file, caught.value.field) == ("e.jsonl", "files.train_share")


def test_a_share_that_leaves_none_of_what_nothing_learns_from_leaves_all() -> None:
    counts = [learned_rows(files(train_share=share), "comparisons", 7, needed=False) for share in (0.1, 1 / 7, 0.5, 1)]
    assert counts == [7, 1, 3, 7]


PROMPTS = st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=60).filter(lambda keys: len(set(keys)) > 1)


@given(PROMPTS, st.floats(0.01, 0.99), st.integers(-5, 5))
def test_something_is_held_out_and_something_left(keys: list[str], share: float, seed: int) -> None:
    held = split_prompts(files(test_share=share), {"edits": keys}, seed)
    rows = sum(key in held for key in keys)
    assert 0 < rows < len(keys)
    # With the prompt that was drawn last the share is reached, or one prompt is left.
    largest = max(map(keys.count, keys))
    assert rows < max(1, round(share * len(keys))) + largest
    assert rows >= max(1, round(share * len(keys))) or len(set(keys) - held) == 1


def test_kinds_that_share_no_prompt_are_both_held_out() -> None:
    prompts = {"edits": [f"e{n}" for n in range(40)], "comparisons": [f"c{n}" for n in range(20)]}
    held = split_prompts(files(test_share=0.1), prompts, seed=0)
    assert sum(key.startswith("e") for key in held) == 4
    assert sum(key.startswith("c") for key in held) == 2


@pytest.mark.parametrize("keys", [["a"], ["a"] * 9])
def test_one_prompt_cannot_be_split(keys: list[str]) -> None:
    with pytest.raises(RedpencilError, match="comparisons of 1 prompt cannot be split") as error:
        split_prompts(files(), {"edits": ["a", "b", "c"], "comparisons": keys}, seed=0)
    assert (str(error.value.file), error.value.field) == ("c.jsonl", "files.comparisons")
    assert "files.test_comparisons" in (error.value.hint or "")


def test_folds_of_a_repetition_are_a_partition() -> None:
    prompts = {"edits": [f"p{n}" for n in range(23)], "comparisons": [f"p{n}" for n in range(15, 33)]}
    repetitions = []
    for repetition in range(-1, 3):
        folds = [split_prompts(files(folds=5), prompts, 5 * repetition + fold) for fold in range(5)]
        assert sum(map(len, folds)) == len(frozenset().union(*folds)) == 33
        for keys in prompts.values():
            sizes = [len(fold & set(keys)) for fold in folds]
            assert max(sizes) - min(sizes) <= 2
            assert min(sizes) > 0
        repetitions.append(folds)
    assert len({frozenset(map(frozenset, folds)) for folds in repetitions}) == 4


def test_more_folds_than_prompts() -> None:
    with pytest.raises(RedpencilError, match="too few prompts for 4 folds: 3") as error:
        split_prompts(files(folds=4), {"edits": list("abcd"), "comparisons": list("abc")}, seed=0)
    assert (str(error.value.file), error.value.field) == ("c.jsonl", "files.folds")


def test_nothing_to_split() -> None:
    assert split_prompts(files(), {}, seed=0) == frozenset()
