"""Sampling 64 responses by redpencil and by transformers' `generate`, on one thread in float32.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --pairs 9 --only 16

Prompts and responses have 8 to 64 tokens, evenly. The model is a Llama of width 512 with 8 layers whose head is made so
that each token is followed by the one before it in the vocabulary, and number 0 ends: the last token of a prompt is the
length of its response. So both give the same tokens, at temperature 1, and compute what any model of that size does.
`generate` gets prompts of similar length together, as redpencil gives them to it. Results go into
`benchmarks/results/sampling.json`.
"""

import argparse
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interleaved import ratios, write
from redpencil.config.methods import SamplingConfig
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler, _generate, _plain_generation

VOCABULARY: Final = 8192
END: Final = 0
PAD: Final = VOCABULARY - 1
SHORTEST, LONGEST = 8, 64
PROMPTS: Final = 64


def config_of(**changes: Any) -> LlamaConfig:
    """The configuration of every model: 34 million weights."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=PAD,
        **changes,
    )


def make_policy(folder: Path) -> None:
    """Write the model that counts down, and its tokenizer."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(config_of())
    with torch.no_grad():
        embeddings = model.model.embed_tokens.weight.normal_(0, 1)
        model.lm_head.weight[:-1] = embeddings[1:] * 0.1
    model.save_pretrained(folder)
    save_tokenizer(folder)


def save_tokenizer(folder: Path) -> None:
    """Write a tokenizer of numbers."""
    words = Tokenizer(models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token=str(PAD)))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token=str(PAD), eos_token=str(END)).save_pretrained(folder)


def make_prompts(count: int, seed: int = 0) -> list[list[int]]:
    """Draw prompts, of which the last token says how long the response is."""
    rng = random.Random(seed)
    return [
        [*(rng.randrange(100, PAD) for _ in range(rng.randint(SHORTEST, LONGEST) - 1)), rng.randint(SHORTEST, LONGEST)]
        for _ in range(count)
    ]


def check(prompts: list[list[int]], answers: list[list[int]]) -> None:
    """Refuse answers that do not count down."""
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = list(range(prompt[-1] - 1, -1, -1))
        if answer[: len(expected)] != expected:
            raise SystemExit(f"not counted down from {prompt[-1]}: {answer}")


def ours(policy: LanguageModel, prompts: list[list[int]], size: int) -> float:
    """Sample by the decode loop; returns processor seconds."""
    config = SamplingConfig(response_length=LONGEST, batch_size=size)
    start = time.process_time()
    samples = HFSampler(policy).sample(prompts, config, seed=1)
    seconds = time.process_time() - start
    check(prompts, [list(sample.ids) for sample in samples])
    return seconds


def theirs(policy: LanguageModel, prompts: list[list[int]], size: int) -> float:
    """Sample by `generate`; returns processor seconds."""
    config = SamplingConfig(response_length=LONGEST, batch_size=size)
    ordered = sorted(prompts, key=len)
    answers: list[list[int]] = []
    start = time.process_time()
    with _plain_generation(policy.module):
        for first in range(0, len(ordered), size):
            answers += _generate(policy, ordered[first : first + size], config, [END])
    seconds = time.process_time() - start
    check(ordered, answers)
    return seconds


def main() -> None:
    """Compare at both batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", type=int, choices=(16, 64))
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_policy(Path(folder))
        policy = load_policy(Path(folder), Runtime(torch.device("cpu"), torch.float32), trained=False)
    prompts, results = make_prompts(PROMPTS), {}
    for size in (16, 64) if args.only is None else (args.only,):
        print(f"batches of {size}", flush=True)
        results[str(size)] = ratios(
            lambda _, size=size: ours(policy, prompts, size),
            lambda _, size=size: theirs(policy, prompts, size),
            args.pairs,
        )
        print(results[str(size)], flush=True)
    if args.only is None:
        print(write("sampling", results, "torch", "transformers"))


if __name__ == "__main__":
    main()
