"""What stages will take: beside the peak of real stages, by torch's own account of its allocations."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from redpencil.config.methods import PPOConfig
from redpencil.config.recipe import Recipe
from redpencil.models.codec import load_codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import EncodedPrompts, encode_prompts
from redpencil.pipeline.forecast import Machine, StageNeeds, forecast
from redpencil.records import Example, Pair, Prompt
from redpencil.runs import Stage
from redpencil.training.ppo import run_ppo
from redpencil.training.reward import train_reward
from redpencil.training.rollout import load_actors, sampling_of
from redpencil.training.sft import train_sft
from redpencil.training.validation import Validation

CPU = Machine(gpu=False, memory=2.0**34, speed=1e11, bandwidth=1e10)
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
TEMPLATE = "<s> {prompt}"


def peak_of(run: Callable[[], object]) -> int:
    """The most bytes that torch had allocated at one time on the CPU, of those allocated in `run`."""
    gc.collect()  # What is freed in `run` must have been allocated there.
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


def recipe(model: Path, lora: Any = None, **changes: Any) -> Recipe:
    """A recipe of one reward model, of rows of 120 tokens."""
    texts = ("sft", "edits", "prompts", "validation_prompts", "evaluation_prompts", "judge")
    lengths = {"max_prompt_length": 100, "response_length": 20}
    values: dict[str, Any] = {
        "dtype": "float32",
        "files": {"model": model, **{name: f"{name}.jsonl" for name in texts}},
        "reward_models": {"words": {"pairs": "edits"}},
        "arms": {},
        "align": {"max_length": 120},
        "sampling": lengths,
        "sft": {"max_length": 120, "batch_size": 8, "max_steps": 2},
        "reward": {"batch_size": 8, "max_steps": 2},
        "ppo": {**lengths, "batch_size": 8, "rollout_batch_size": 16, "ppo_epochs": 1, "total_steps": 1},
    }
    for section, keys in changes.items():
        values[section] = {**values.get(section, {}), **keys}
    return Recipe.model_validate({**values, **({} if lora is None else {"lora": lora})})


def planned(chosen: Recipe, name: str) -> StageNeeds:
    [stage] = [stage for stage in forecast(chosen, CONFIG, CPU).stages if stage.stage == name]
    return stage


ADAPTERS = {"r": 4, "alpha": 8}
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("lora", "checkpointing"),
    [
        pytest.param(None, False, id="full-kept"),
        pytest.param(None, True, id="full-computed-again", marks=LONG),
        pytest.param(ADAPTERS, False, id="lora-kept", marks=LONG),
        pytest.param(ADAPTERS, True, id="lora-computed-again"),
    ],
)
def test_sft_takes_what_was_planned(
    model: Path, runtime: Runtime, new_stage: Callable[[], Stage], lora: Any, checkpointing: bool
) -> None:
    chosen = recipe(model, lora, compute={"micro_batch_size": 4, "gradient_checkpointing": checkpointing})
    options = {"codec": load_codec(model, TEMPLATE), "runtime": replace(runtime, checkpointing=checkpointing)}
    # <s>, a prompt of a word, and a response with its end: 120 tokens
    examples = [Example(str(i), "sun", f"{words(i)} moon {words(116 - i)}".strip()) for i in range(8)]
    config, stage = chosen.computed(chosen.sft), new_stage()
    measured = peak_of(lambda: train_sft(config, model=model, examples=examples, stage=stage, **options))
    plan = planned(chosen, "sft")
    assert plan.total == pytest.approx(measured, rel=0.15), (plan, measured)


# What the sides of a pair begin with is read once, so that they take less than the plan says: these share the prompt.
SIDES = [(token,) * 117 + (3,) for token in (4, 5)]
PAIRS = [Pair(str(i), (2, 4), *SIDES, (True,) * 118, (True,) * 118) for i in range(8)]


@dataclass
class Reward:
    """Trains a reward model; the samples that centre and scale are measured on are `rows` of 120 tokens."""

    chosen: Recipe
    model: Path
    runtime: Runtime
    stage: Stage
    rows: int = 2

    def __call__(self) -> None:
        train_reward(
            self.chosen.computed(self.chosen.reward_config("words")),
            backbone=self.model,
            pairs=PAIRS,
            samples=[((5,) * i + (4,) * (100 - i), (4,) * 20) for i in range(self.rows)],
            codec=load_codec(self.model, TEMPLATE),
            trained_on="edits",
            runtime=self.runtime,
            stage=self.stage,
        )


@pytest.mark.parametrize(
    ("level", "lora", "checkpointing"),
    [
        pytest.param("token", None, False, marks=LONG),
        ("token", None, True),
        ("token", ADAPTERS, False),
        pytest.param("token", ADAPTERS, True, marks=LONG),
        ("sequence", None, False),
    ],
)
def test_reward_models_take_what_was_planned(
    model: Path, runtime: Runtime, new_stage: Callable[[], Stage], level: str, lora: Any, checkpointing: bool
) -> None:
    compute = {"micro_batch_size": 4, "gradient_checkpointing": checkpointing}
    chosen = recipe(model, lora, compute=compute, reward={"level": level, "reference_samples": 2})
    measured = peak_of(Reward(chosen, model, replace(runtime, checkpointing=checkpointing), new_stage()))
    plan = planned(chosen, "reward-words")
    assert plan.total == pytest.approx(measured, rel=0.15), (plan, measured)


@pytest.mark.parametrize("lora", [None, pytest.param(ADAPTERS, marks=LONG)], ids=["full", "lora"])
def test_measuring_a_small_model_on_its_samples_can_be_the_most(
    model: Path, runtime: Runtime, new_stage: Callable[[], Stage], lora: Any
) -> None:
    compute = {"micro_batch_size": 1, "gradient_checkpointing": True}
    changes = {"reward": {"reference_samples": 64, "max_steps": 1, "batch_size": 2}}
    chosen = recipe(model, lora, compute=compute, **changes)
    measured = peak_of(Reward(chosen, model, replace(runtime, checkpointing=True), new_stage(), rows=64))
    plan = planned(chosen, "reward-words")
    assert plan.total == pytest.approx(measured, rel=0.15), (plan, measured)
    assert (
        plan.total
        > 1.1 * planned(recipe(model, lora, compute=compute, reward={"reference_samples": 2}), plan.stage).total
    )


@pytest.mark.parametrize(
    ("at_once", "lora"),
    [
        pytest.param(None, None, id="full", marks=LONG),
        pytest.param(4, None, id="full-4-at-once"),
        pytest.param(None, ADAPTERS, id="lora"),
        pytest.param(4, ADAPTERS, id="lora-4-at-once", marks=LONG),
    ],
)
def test_ppo_takes_what_was_planned(
    model: Path, runtime: Runtime, new_stage: Callable[[], Stage], lora: Any, at_once: int | None
) -> None:
    arms, compute = {"words": {"reward_model": "words"}}, {"micro_batch_size": 4, "generation_batch_size": at_once}
    chosen = recipe(model, lora, arms=arms, compute=compute, reward={"reference_samples": 2})
    trained = new_stage()
    Reward(chosen, model, runtime, trained)()
    config = chosen.computed(chosen.options("words"))
    assert isinstance(config, PPOConfig)
    codec = load_codec(model, TEMPLATE)
    prompts = encode_prompts(
        [Prompt(str(i), f"{words(i)} moon {words(98 - i)}".strip()) for i in range(16)], codec, 100
    )
    asked = EncodedPrompts(prompts.records[:4], prompts.ids[:4], 0)
    validation = Validation(asked, sampling_of(config), lambda _: {"win_rate": 0.5}, eval_steps=9)

    def run() -> None:
        actors = load_actors(config, model, trained.folder / "checkpoint", None, runtime, codec)
        run_ppo(config, actors=actors, prompts=prompts, validation=validation, stage=new_stage())

    measured, plan = peak_of(run), planned(chosen, "ppo-words")
    assert plan.total == pytest.approx(measured, rel=0.15), (plan, measured)


def jsonl(path: Path, rows: int) -> str:
    path.write_text("{}\n" * rows)
    return str(path)


def test_later_rounds_have_their_answers_and_their_share_of_the_edits(model: Path, tmp_path: Path) -> None:
    rounds = {"figa": {"method": "figa"}, "token": {"reward_model": "words"}}
    chosen = recipe(model, arms=rounds, reward={"max_steps": None}, files={"edits": jsonl(tmp_path / "e.jsonl", 1200)})
    figa = chosen.figa.model_copy(update={"batch_size": 16, "num_train_epochs": 1.0})
    reward = chosen.reward.model_copy(update={"num_train_epochs": 2.0})
    chosen = chosen.model_copy(update={"figa": figa, "reward": reward, "rounds": 3})
    steps = {stage.stage: stage.steps for stage in forecast(chosen, CONFIG, CPU).stages}
    assert [name for name in steps if name.startswith("samples")] == [
        *("samples-figa", "samples-figa_2", "samples-token", "samples-token_2"),
    ]
    # A tenth of 1,200 edits is held out, and a third of the others is for each round: 360, or 23 batches of 16.
    assert [steps[f"figa-{arm}"] for arm in ("figa", "figa_2", "figa_3")] == [23] * 3
    assert steps["samples-figa"] == 360 // chosen.answers_at_once + 1
    # A reward model learns once more from the pairs before: two passes over 360, 720 and 1,080, 8 at a time.
    models = ("words", "words_token_2", "words_token_3")
    assert [steps[f"reward-{name}"] for name in models] == [90, 180, 270]


def test_how_many_pairs_single_changes_make_is_not_known_before(model: Path, tmp_path: Path) -> None:
    arms = {"dpo": {"method": "dpo", "pairs": "hunks"}, "again": {"method": "dpo", "start": "dpo", "on": "few"}}
    arms |= {"few": {"method": "figa", "edits": 640}}
    edits = {"edits": jsonl(tmp_path / "e.jsonl", 100), "test_edits": jsonl(tmp_path / "t.jsonl", 9)}
    chosen = recipe(model, arms=arms, files=edits, dpo={"batch_size": 32})
    steps = {stage.stage: stage.steps for stage in forecast(chosen, CONFIG, CPU).stages}
    assert (steps["dpo-dpo"], steps["dpo-again"]) == (None, 20)


def test_a_reward_model_made_of_a_policy_counts_two(model: Path) -> None:
    arms = {"dpo": {"method": "dpo"}, "token": {"reward_model": "words"}, "rto": {"reward_model": "implicit"}}
    chosen = recipe(model, arms=arms, reward_models={"words": {"pairs": "edits"}, "implicit": {"policy": "dpo"}})
    one, two = planned(chosen, "ppo-token"), planned(chosen, "ppo-rto")
    policy = planned(chosen, "responses").weights
    head = (
        CONFIG.hidden_size * (CONFIG.vocab_size - 1) * 4
    )  # a reward model has one number where a policy has its words
    assert two.weights - one.weights == pytest.approx(policy + head)
    assert two.total > one.total
    made = planned(chosen, "reward-implicit")
    assert (made.weights, made.gradients, made.steps) == (2 * policy, 0, 1)
