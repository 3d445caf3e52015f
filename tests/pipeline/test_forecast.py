"""What stages will take: beside the peak of real stages, by torch's own account of its allocations."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from redpencil.config import Recipe
from redpencil.models.codec import load_codec
from redpencil.models.runtime import Runtime
from redpencil.pipeline.forecast import Machine, forecast
from redpencil.pipeline.memory import Form, Pass, bytes_of, cache_bytes, sizes_of
from redpencil.records import Example
from redpencil.runs import Stage
from redpencil.training.sft import train_sft

CPU = Machine(gpu=False, memory=2.0**34, speed=1e11, bandwidth=1e10)
GPU = replace(CPU, gpu=True, memory=80 * 2.0**30)
SHAPE = {
    "vocab_size": 2000,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
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


def peak_of(run: Callable[[], object]) -> int:
    """The most bytes that torch had allocated at one time on the CPU, of those allocated in `run`."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    kineto: Any = profile.profiler.kineto_results  # type: ignore[union-attr]
    changes = sorted((event.start_ns(), event.nbytes()) for event in kineto.events() if event.name() == "[memory]")
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    torch.set_num_threads(1)
    return Runtime(torch.device("cpu"), torch.float32)


@pytest.fixture
def new_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Stage]:
    return lambda: Stage("test", tmp_path_factory.mktemp("stage"), 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with random weights, and a tokenizer of five words."""
    folder = tmp_path_factory.mktemp("model")
    vocabulary = {word: i for i, word in enumerate(("<pad>", "<unk>", "<s>", "</s>", "sun"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    LlamaForCausalLM(CONFIG).save_pretrained(folder)
    return folder


def words(count: int) -> str:
    return " ".join(["sun"] * count)


def recipe(model: Path, **changes: Any) -> Recipe:
    lora = changes.pop("lora", None)
    files = {"model": model, "edits": "edits.jsonl", "sft": "sft.jsonl"}
    named = {"reward_models": {"words": {"pairs": "edits"}}, "arms": {}, "dtype": "float32"}
    values = {"files": files, **named, **changes, **({} if lora is None else {"lora": lora})}
    return Recipe.model_validate(values)


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}], ids=["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed-again"])
def test_sft_takes_what_was_planned(
    model: Path, runtime: Runtime, new_stage: Callable[[], Stage], lora: Any, checkpointing: bool
) -> None:
    compute = {"micro_batch_size": 4, "gradient_checkpointing": checkpointing}
    chosen = recipe(model, compute=compute, sft={"max_length": 120, "batch_size": 8, "max_steps": 2}, lora=lora)
    options = {"codec": load_codec(model, "<s> {prompt}"), "runtime": replace(runtime, checkpointing=checkpointing)}
    # <s>, a prompt of a word, and a response with its end: 120 tokens
    examples = [Example(str(i), "sun", words(117)) for i in range(8)]
    config, stage = chosen.computed(chosen.sft), new_stage()
    measured = peak_of(lambda: train_sft(config, model=model, examples=examples, stage=stage, **options))
    planned = forecast(chosen, CONFIG, CPU).stages[0]
    assert planned.stage == "sft"
    assert planned.total == pytest.approx(measured, rel=0.15), (planned, measured)
