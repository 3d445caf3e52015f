"""What a model and its passes take, counted by hand or held to how it must grow."""

from dataclasses import replace

import pytest
from transformers import LlamaConfig

from redpencil.pipeline.memory import Form, Pass, bytes_of, cache_bytes, sizes_of

SHAPE = {
    "vocab_size": 2000,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
}
CONFIG = LlamaConfig(**SHAPE)
TEXT = CONFIG.to_json_string(use_diff=False)
TRAINED = Form("policy", trained=True, half=False, stored_half=False)


def test_weights_are_counted() -> None:
    # embeddings and head 2 x 2000 x 192; a layer 4 x 192^2 + 3 x 192 x 512 + 2 x 192; the last norm 192
    weights = 2 * 2000 * 192 + 6 * (4 * 192**2 + 3 * 192 * 512 + 2 * 192) + 192
    assert sizes_of(TEXT, TRAINED) == (weights, weights)
    assert sizes_of(TEXT, replace(TRAINED, trained=False)) == (weights, 0)
    assert sizes_of(TEXT, replace(TRAINED, role="token"))[0] == weights - 2000 * 192 + 192 + 1
    adapters = 6 * 8 * (4 * 2 * 192 + 3 * (192 + 512))
    assert sizes_of(TEXT, replace(TRAINED, lora=(8, "all-linear"))) == (weights + adapters, adapters)
    assert sizes_of(TEXT, replace(TRAINED, lora=(8, ("q_proj",))))[1] == 6 * 8 * 2 * 192


def test_the_cache_by_hand() -> None:
    # two of [rows, heads, width, size] in each layer
    assert cache_bytes(CONFIG, rows=5, width=70, number=2) == 6 * 2 * 5 * 4 * 70 * 48 * 2


def test_depth_is_extrapolated() -> None:
    for form in (TRAINED, replace(TRAINED, checkpointing=True), replace(TRAINED, role="token")):
        sizes = []
        for layers in (4, 6, 8):
            config = LlamaConfig(**{**SHAPE, "num_hidden_layers": layers})
            sizes.append(bytes_of(config, Pass(form, 4, 100, 60)))
        assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0])


def test_a_pass_takes_less_where_activations_are_computed_again_and_more_with_longer_rows() -> None:
    plain = bytes_of(CONFIG, Pass(TRAINED, 4, 100, 60))
    assert bytes_of(CONFIG, Pass(replace(TRAINED, checkpointing=True), 4, 100, 60)) < plain / 2
    assert bytes_of(CONFIG, Pass(replace(TRAINED, trained=False), 4, 100, 60)) < plain / 2
    assert bytes_of(CONFIG, Pass(TRAINED, 8, 100, 60)) == pytest.approx(2 * plain, rel=0.1)
    eager = replace(TRAINED, attention="eager")
    assert bytes_of(CONFIG, Pass(eager, 4, 100, 60)) > plain
