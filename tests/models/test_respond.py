"""Prompts in, responses out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.config import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.respond import encode_prompts, respond
from redpencil.models.runtime import Runtime
from redpencil.models.text import load_codec
from redpencil.records import Prompt

Folder = Callable[..., Path]
PROMPTS = [
    Prompt("long", "the cat sat on the mat ."),
    Prompt("b", "France", meta={"topic": "countries"}),
    Prompt("empty", ""),
    Prompt("c", "a red dog"),
]
CONFIG = SamplingConfig(response_length=6, max_prompt_length=6, batch_size=1)


def test_prompts_that_do_not_fit_are_counted(folder: Folder) -> None:
    encoded = encode_prompts(PROMPTS, load_codec(folder("llama")), 6)
    assert [prompt.id for prompt in encoded.records] == ["b", "c"]
    assert [len(ids) for ids in encoded.ids] == [1, 3]
    assert encoded.skipped == 2  # one of 7 tokens, one of none


def test_no_prompt_is_left(folder: Folder) -> None:
    with pytest.raises(RedpencilError, match="none of 1 prompts has between 1 and 6 tokens") as raised:
        encode_prompts(PROMPTS[:1], load_codec(folder("llama")), 6)
    assert raised.value.field == "max_prompt_length"


def test_responses_keep_order_id_and_meta(folder: Folder, runtime: Runtime) -> None:
    codec = load_codec(folder("llama"))

    def answer(seed: int) -> tuple[list[object], int]:
        return respond(
            folder("llama"), PROMPTS, config=CONFIG, codec=codec, runtime=runtime, seed=seed, model_name="tiny"
        )

    responses, skipped = answer(5)
    assert skipped == 2
    assert [(row.id, row.prompt, row.model, row.meta) for row in responses] == [
        ("b", "France", "tiny", {"topic": "countries"}),
        ("c", "a red dog", "tiny", {}),
    ]
    for row in responses:
        assert "<" not in row.response  # no special token
        assert row.finished or len(row.response.split()) <= 6
    assert answer(5)[0] == responses
    assert any(answer(seed)[0] != responses for seed in (6, 7))
