"""Supervised fine-tuning: what is counted, what is skipped, and that it learns."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from redpencil.config.methods import SamplingConfig
from redpencil.config.training import SFTConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import load_policy
from redpencil.models.codec import Codec, load_codec
from redpencil.models.forward import collate
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler, respond
from redpencil.records import Example, Prompt
from redpencil.runs import Stage, read_metrics
from redpencil.training.sft import encode_examples, sft_objective, train_sft
from redpencil.training.update import Optimization, update

MAPPING = {
    "topic0": "sun sea",
    "topic1": "sea sun sky",
    "topic2": "sky",
    "topic3": "mud mud mud mud",
    "topic4": "rot sun",
    "topic5": "sand sky sand",
    "topic6": "sand",
    "topic7": "sea sea",
}
EXAMPLES = [Example(prompt, prompt, response) for prompt, response in MAPPING.items()]


def test_skipped_rows_are_counted(codec: Codec) -> None:
    examples = [
        *EXAMPLES[:2],
        Example("a", "topic0", "  \n"),
        Example("b", "topic0", ""),
        Example("c", "topic0", "sun " * 10),
        Example("d", "topic0", "sun " * 40),
    ]
    rows = encode_examples(iter(examples), codec, max_length=12)
    # <s> topic0 + 10 words + </s> = 13
    assert rows.skipped == {"empty response": 2, "longer than max_length": 2}
    assert encode_examples(examples, codec, max_length=13).skipped["longer than max_length"] == 1
    # the model reads 32 tokens
    assert encode_examples(examples, codec, max_length=512).skipped == {
        "empty response": 2,
        "longer than the model's context": 1,
    }
    words = codec.tokenizer.get_vocab()
    assert rows.prompts[0] == [2, words["topic0"]]
    assert rows.responses[0] == [words["sun"], words["sea"], 3]


def test_an_example_that_was_cut_off_has_no_end(codec: Codec) -> None:
    examples = [Example("1", "topic0", "sun sea", {"finished": value}) for value in (False, "False", 0, True, None)]
    sun, sea = codec.tokenizer.convert_tokens_to_ids(["sun", "sea"])
    torn, whole = [sun, sea], [sun, sea, codec.eos_id]
    assert encode_examples(examples, codec, 12).responses == [torn, torn, torn, whole, whole]


def test_a_prompt_without_tokens_is_skipped(base: Path) -> None:
    codec = load_codec(base)  # nothing stands before the prompt
    rows = encode_examples([*EXAMPLES, Example("empty", " ", "sun")], codec, max_length=12)
    assert rows.skipped == {"empty prompt": 1}


def test_examples_of_which_none_fits_are_refused(codec: Codec) -> None:
    with pytest.raises(RedpencilError, match=r"no example is left .*'longer than max_length': 8") as raised:
        encode_examples(EXAMPLES, codec, max_length=2)
    assert raised.value.field == "sft.max_length"


def test_many_examples_are_streamed(codec: Codec) -> None:
    taken = 0

    def stream() -> Iterator[Example]:
        nonlocal taken
        for i in range(2500):
            taken += 1
            yield EXAMPLES[i % 8]

    assert len(encode_examples(stream(), codec, 12).prompts) == taken == 2500


def test_the_loss_counts_response_tokens_only(base: Path, codec: Codec, runtime: Runtime) -> None:
    torch.manual_seed(0)
    policy = load_policy(base, runtime, trained=True, fresh=True).module
    rows = encode_examples(EXAMPLES, codec, 12)
    batch = collate(rows.prompts, rows.responses, codec.pad_id, runtime.device)
    objective = sft_objective(policy)
    # every response ends with EOS: 2+3+1+4+2+3+1+2 words and 8 ends
    assert objective.counts(batch) == {"nll": 26}
    nlls = []
    for prompt, response in zip(rows.prompts, rows.responses, strict=True):
        logprobs = policy(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        nlls += [-logprobs[len(prompt) - 1 + t, token] for t, token in enumerate(response)]
    torch.testing.assert_close(objective.terms(batch)["nll"], torch.stack(nlls).mean())


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_of_eight_is_eight_micro_batches(base: Path, codec: Codec, runtime: Runtime, size: int) -> None:
    rows = encode_examples(EXAMPLES, codec, 12)

    def step(size: int) -> tuple[list[torch.Tensor], dict[str, float]]:
        torch.manual_seed(0)
        policy = load_policy(base, runtime, trained=True, fresh=True).module
        optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
        items = [
            collate(rows.prompts[i : i + size], rows.responses[i : i + size], codec.pad_id, runtime.device)
            for i in range(0, 8, size)
        ]
        optimization = Optimization(tuple(policy.parameters()), optimizer, schedule, 1e9)
        logged = update(optimization, items, sft_objective(policy), runtime)
        return [p.detach() for p in policy.parameters()], logged

    (whole, logged), (parts, parted) = step(8), step(size)
    assert parted == pytest.approx(logged, rel=1e-4)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_small_mapping_is_memorised(
    base: Path, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    def train(micro_batch_size: int | None) -> Stage:
        stage = new_stage(seed=3)
        config = SFTConfig(learning_rate=1e-2, batch_size=8, max_steps=60, micro_batch_size=micro_batch_size)
        train_sft(
            config, model=base, examples=[*EXAMPLES, Example("e", "x", "")], codec=codec, runtime=runtime, stage=stage
        )
        return stage

    stage = train(None)
    rows = read_metrics(stage.folder)
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[0]["loss"] > 2 > 0.1 > rows[-1]["loss"]
    assert stage.notes["skipped"] == {"empty response": 1}
    assert json.loads((stage.folder / "checkpoint" / "redpencil.json").read_text()) == {
        "prompt_template": "<s> {prompt}"
    }
    prompts = [Prompt(prompt, prompt) for prompt in MAPPING]
    greedy = SamplingConfig(temperature=0, response_length=6)
    policy = load_policy(stage.folder / "checkpoint", runtime, trained=False)
    assert policy.codec.template == codec.template
    responses, _ = respond(HFSampler(policy), prompts, config=greedy, seed=0, model_name="sft")
    assert {row.prompt: row.response for row in responses} == MAPPING
    assert all(row.finished for row in responses)
    # the same seed gives the same weights; micro-batches the same losses
    again, split = read_metrics(train(None).folder), read_metrics(train(2).folder)
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]
    assert [row["loss"] for row in split[:10]] == pytest.approx([row["loss"] for row in rows[:10]], rel=1e-3)
