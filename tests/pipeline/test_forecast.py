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
from redpencil.pipeline.memory import Form
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
