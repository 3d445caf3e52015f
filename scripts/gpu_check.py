"""Makes what `gpu_check.sh` trains on, and writes down what the training took: `make FOLDER SIZE`, `table FOLDER SIZE`.

The model has random weights: what is measured does not depend on them.
"""

import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from redpencil.maths.masked import token_logprobs
from redpencil.models import logprobs
from redpencil.models.checkpoints import load_policy
from redpencil.models.forward import collate, response_logprobs
from redpencil.models.runtime import Runtime
from redpencil.records import Edit, Example, Prompt, write_jsonl
from redpencil.runs import PEAK_MEMORY, read_metrics

GIB = 2**30
MODELS: dict[str, dict[str, Any]] = {
    # The shape of Llama 3.2 1B: 1.24e9 weights.
    "1b": {
        **{"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 2048},
    },
    "tiny": {
        **{"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256},
    },
}
LENGTHS = {"1b": (192, 128, 32), "tiny": (12, 8, 8)}
"""Tokens of a prompt, of a response, and rows of a batch."""
WORDS = [f"w{i}" for i in range(400)]
KINDS = ("full", "lora")


def make(folder: Path, size: str) -> None:
    """Write a model, rows of data, and a recipe for each kind of training."""
    prompt, response, batch = LENGTHS[size]
    vocabulary = {word: i for i, word in enumerate(("<pad>", "<unk>", "<s>", "</s>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder / "model")
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "tie_word_embeddings": True}
    config = AutoConfig.for_model("llama", **MODELS[size], **tokens)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder / "model")

    draw = random.Random(0)

    def text(words: int) -> list[str]:
        return draw.choices(WORDS, k=words)

    asked = [" ".join(text(prompt - 1)) for _ in range(4 * batch)]
    answers = [text(response - 1) for _ in asked]
    edited = [[*answer[:-2], *text(2)] for answer in answers]
    named = [(str(i), question) for i, question in enumerate(asked)]
    rows = list(zip(named, answers, edited, strict=True))
    write_jsonl(folder / "sft.jsonl", (Example(*row, " ".join(answer)) for row, answer, _ in rows))
    write_jsonl(folder / "edits.jsonl", (Edit(*row, " ".join(old), " ".join(new)) for row, old, new in rows))
    for name, count in (("prompts", len(named)), ("validation_prompts", 4), ("evaluation_prompts", 4)):
        write_jsonl(folder / f"{name}.jsonl", (Prompt(*row) for row in named[:count]))
    for kind in KINDS:
        (folder / f"{kind}.yaml").write_text(yaml.safe_dump(recipe(size, kind), sort_keys=False))


def recipe(size: str, kind: str) -> dict[str, Any]:
    """The recipe of a kind of training: SFT, a token reward model, and PPO."""
    prompt, response, batch = LENGTHS[size]
    data = ("sft", "edits", "prompts", "validation_prompts", "evaluation_prompts")
    lengths = {"max_prompt_length": prompt, "response_length": response}
    steps = {"max_steps": 4, "batch_size": batch}
    return {
        "name": kind,
        "dtype": "bfloat16" if size != "tiny" else "float32",
        "checkpoint_dtype": "bfloat16",
        "prompt_template": "<s> {prompt}",
        "compute": {"micro_batch_size": batch // 4, "generation_batch_size": batch},
        "files": {"model": "model", **{name: f"{name}.jsonl" for name in data}},
        "judge": {"rule": "longer"},
        "reward_models": {"edits": {"pairs": "edits"}},
        "arms": {"edits": {"reward_model": "edits"}},
        "align": {"max_length": prompt + response},
        "sampling": lengths,
        "sft": {**steps, "max_length": prompt + response},
        "reward": {**steps, "batch_size": batch // 2, "learning_rate": 1e-5, "reference_samples": batch},
        "ppo": {**lengths, "batch_size": batch, "rollout_batch_size": batch, "total_steps": 2, "eval_steps": 2},
        **({"lora": {"r": 16, "alpha": 32}} if kind == "lora" else {}),
    }


def parity(folder: Path, size: str, device: torch.device) -> list[str]:
    """Compare log-probabilities of a batch: bfloat16 with float32, and chunks with the logits of a whole batch."""
    prompt, response, _ = LENGTHS[size]
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, len(WORDS), (4, prompt + response), generator=generator).tolist()
    batch = collate([row[:prompt] for row in tokens], [row[prompt:] for row in tokens], 0, device)
    found, whole = {}, {}
    for dtype in (torch.float32, torch.bfloat16):
        runtime = Runtime(device, dtype)
        policy = load_policy(folder / "model", runtime, trained=False)
        # Four chunks, as many tokens as a row each.
        logprobs.CHUNK = logprobs.CHUNK_ON_GPU = response * policy.module.config.vocab_size  # type: ignore[misc]
        with torch.no_grad(), runtime.autocast():
            found[dtype] = response_logprobs(policy.module, batch)
            logits = policy.module(input_ids=batch.input_ids, use_cache=False).logits[:, prompt - 1 : -1]
            whole[dtype] = token_logprobs(logits.float(), batch.response_ids)
    exact = whole[torch.float32]
    pairs = (
        ("float32 in chunks", found[torch.float32]),
        ("bfloat16 in chunks", found[torch.bfloat16]),
        ("bfloat16 at once", whole[torch.bfloat16]),
    )
    lines = [
        "| log-probabilities beside float32 at once | largest difference | mean | of a response |",
        "|---|---:|---:|---:|",
    ]
    for name, values in pairs:
        away = values - exact
        lines.append(f"| {name} | {away.abs().max():.2g} | {away.abs().mean():.2g} | {away.sum(1).abs().max():.2g} |")
    return lines


def table(folder: Path, size: str) -> None:
    """Write `table.md`: each stage's memory beside its plan, and its speed."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    lines = [
        f"{place}, torch {torch.__version__}, transformers {transformers.__version__}, size {size}.",
        "GiB of one process: on a GPU what torch allocated, and the plan without its 1 GiB for libraries and gaps;",
        "on a CPU the whole process, with libraries and earlier stages.",
        "",
        "| | stage | planned | measured | seconds a step | tokens/s |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for kind in KINDS:
        if not (folder / f"{kind}.plan.json").is_file():
            continue
        plan = json.loads((folder / f"{kind}.plan.json").read_text())
        for stage in plan["stages"]:
            rows = [row for row in read_metrics(folder / kind / stage["stage"]) if "step_time" in row]
            if not rows:
                continue
            later = rows[1:] or rows  # the first step is slower
            planned = stage["total"] / GIB - (device.type == "cuda")
            seconds, speed = (
                statistics.fmean(row[name] for row in later) for name in ("step_time", "tokens_per_second")
            )
            peak = max(row[PEAK_MEMORY] for row in rows)
            lines.append(f"| {kind} | {stage['stage']} | {planned:.2f} | {peak:.2f} | {seconds:.2f} | {speed:,.0f} |")
    text = "\n".join([*lines, "", *parity(folder, size, device)]) + "\n"
    (folder / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    {"make": make, "table": table}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
