"""A toy language and the models trained on it: prompts name a topic, responses are four words, some of them bad."""

import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from redpencil.config.training import AlignConfig, LoraConfig, RewardConfig, SFTConfig
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.codec import Codec, load_codec
from redpencil.models.runtime import Runtime
from redpencil.models.sidecar import RewardCard
from redpencil.records import Edit, Example, Pair
from redpencil.runs import Stage, write_json
from redpencil.training.pairs import pairs_of_edits
from redpencil.training.reward import train_reward
from redpencil.training.sft import train_sft

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
TOPICS = tuple(f"topic{i}" for i in range(8))
GOOD = ("sun", "sea", "sky", "sand")
BAD = ("mud", "rot")
CONTEXT = 32
LORA = LoraConfig(r=4, alpha=8)
logging.disable_progress_bar()


def write_folder(folder: Path, **changes: object) -> Path:
    """A Llama configuration without weights, and its tokenizer."""
    words = (*SPECIALS, *TOPICS, *GOOD, *BAD)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIALS, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    options = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.1,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        **changes,
    }
    LlamaConfig(architectures=["LlamaForCausalLM"], **options).save_pretrained(folder)
    write_json(folder / "redpencil.json", {"fresh": True})
    return folder


def sentence(rng: random.Random, bad: float) -> list[str]:
    return [rng.choice(BAD) if rng.random() < bad else rng.choice(GOOD) for _ in range(4)]


def toy_edits(count: int, seed: int) -> list[Edit]:
    """Originals with at least one bad word; the edit puts a good word in its place."""
    rng = random.Random(seed)
    edits = []
    while len(edits) < count:
        words = sentence(rng, bad=0.3)
        edited = [rng.choice(GOOD) if word in BAD else word for word in words]
        if edited != words:
            edits.append(Edit(str(len(edits)), rng.choice(TOPICS), " ".join(words), " ".join(edited)))
    return edits


@dataclass(frozen=True)
class Trained:
    """Checkpoint folders of the toy."""

    sft: Path
    token: Path
    sequence: Path


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """One CPU thread in float32."""
    torch.set_num_threads(1)
    return Runtime(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`new_folder(**changes)`: a Llama configuration without weights, with a tokenizer."""
    return lambda **changes: write_folder(tmp_path_factory.mktemp("model"), **changes)


@pytest.fixture(scope="session")
def base(new_folder: Callable[..., Path]) -> Path:
    """A folder with a tokenizer and a configuration, and no weights."""
    return new_folder()


@pytest.fixture(scope="session")
def codec(base: Path) -> Codec:
    """The toy's tokenizer, with a start token before each prompt."""
    return load_codec(base, "<s> {prompt}")


@pytest.fixture(scope="session")
def new_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Stage]:
    """`new_stage(seed=0)`: a stage with an empty folder."""
    return lambda seed=0: Stage("test", tmp_path_factory.mktemp("stage"), seed)


@pytest.fixture(scope="session")
def edits() -> list[Edit]:
    """400 edits to train on and 100 to test on."""
    return toy_edits(500, seed=0)


@pytest.fixture(scope="session")
def pairs(edits: list[Edit], codec: Codec) -> list[Pair]:
    """The edits, aligned."""
    return pairs_of_edits(edits, codec, AlignConfig())[0]


@pytest.fixture(scope="session")
def samples(codec: Codec) -> list[tuple[list[int], tuple[int, ...]]]:
    """Token ids of what the SFT policy writes: three words in ten are bad."""
    rng = random.Random(2)
    prompts = codec.encode_prompts([rng.choice(TOPICS) for _ in range(100)])
    responses = codec.encode_responses([" ".join(sentence(rng, bad=0.3)) for _ in range(100)])
    return [(prompt, tokens.ids) for prompt, tokens in zip(prompts, responses, strict=True)]


@pytest.fixture(scope="session")
def trained(
    base: Path,
    codec: Codec,
    runtime: Runtime,
    pairs: list[Pair],
    samples: list[tuple[list[int], tuple[int, ...]]],
    new_stage: Callable[..., Stage],
) -> Trained:
    """A policy that writes a bad word three times in ten, and reward models that learnt from edits."""
    rng = random.Random(1)
    examples = [Example(str(i), rng.choice(TOPICS), " ".join(sentence(rng, bad=0.3))) for i in range(400)]
    stages = {name: new_stage() for name in ("sft", "token", "sequence")}
    sft = SFTConfig(learning_rate=1e-2, batch_size=32, max_steps=60, warmup_ratio=0)
    train_sft(sft, model=base, examples=examples, codec=codec, runtime=runtime, stage=stages["sft"])
    options = {"learning_rate": 1e-2, "batch_size": 32, "max_steps": 40, "warmup_ratio": 0, "reference_samples": 100}
    configs = {
        "token": RewardConfig(level="token", loss="eq4", scale=5, zero_penalty=0.1, **options),
        "sequence": RewardConfig(level="sequence", **options),
    }
    folders = {name: stage.folder / "checkpoint" for name, stage in stages.items()}
    for name, config in configs.items():
        train_reward(
            config,
            backbone=folders["sft"],
            pairs=pairs[:400],
            samples=samples,
            codec=codec,
            trained_on="edits",
            runtime=runtime,
            stage=stages[name],
        )
    return Trained(**folders)


@pytest.fixture(scope="session")
def adapted(
    trained: Trained,
    codec: Codec,
    runtime: Runtime,
    pairs: list[Pair],
    samples: list[tuple[list[int], tuple[int, ...]]],
    new_stage: Callable[..., Stage],
) -> Trained:
    """Adapters on `trained.sft`: of a policy that learnt good words, and of reward models that start from it."""
    rng = random.Random(4)
    examples = [Example(str(i), rng.choice(TOPICS), " ".join(sentence(rng, bad=0.1))) for i in range(64)]
    stages = {name: new_stage() for name in ("sft", "token", "sequence")}
    folders = {name: stage.folder / "checkpoint" for name, stage in stages.items()}
    options = {"learning_rate": 1e-2, "batch_size": 32, "max_steps": 6, "warmup_ratio": 0, "lora": LORA}
    train_sft(
        SFTConfig(**options), model=trained.sft, examples=examples, codec=codec, runtime=runtime, stage=stages["sft"]
    )
    for level in ("token", "sequence"):
        train_reward(
            RewardConfig(level=level, scale=5, reference_samples=100, **options),
            backbone=folders["sft"],
            pairs=pairs[:64],
            samples=samples,
            codec=codec,
            trained_on="edits",
            runtime=runtime,
            stage=stages[level],
        )
    return Trained(**folders)


BLAME = {"m": -0.9, "r": -0.9}
"""Letters that only bad words have, and what they earn."""
CHARACTERS = "".join(sorted({*"".join((*TOPICS, *GOOD, *BAD)), " ", "[", "]"}))


@pytest.fixture(scope="session")
def reshuffled(trained: Trained, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token reward model with its vocabulary in another order: other ids for the same words, the same rewards."""
    folder = tmp_path_factory.mktemp("reshuffled")
    model = load_reward_model(trained.token, runtime).model.module
    words = (*SPECIALS, *TOPICS, *GOOD, *BAD)
    order = [*range(len(words) - 1, 3, -1), 3, 2, 1, 0]  # new id -> old id
    embeddings = model.get_input_embeddings()
    embeddings.weight.data = embeddings.weight.data[order].clone()
    tokenizer = Tokenizer(models.WordLevel({words[old]: new for new, old in enumerate(order)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIALS, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    model.save_pretrained(folder)
    shutil.copy(trained.token / "redpencil.json", folder)
    return folder


@pytest.fixture(scope="session")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`characters(level="token", context=999)`: a reward model that reads single characters, in a chat template.

    A token's reward is that of its character in BLAME, else 0; of a sequence model it is the last token's. Without
    layers the hidden state of a token is its embedding, of norm sqrt(2) so that the last normalisation leaves it be.
    The card has centre -0.1 and scale 2, and for R of Eq. 1 centre -0.05 and scale 0.5.
    """

    def build(level: str = "token", context: int = 999) -> Path:
        folder = tmp_path_factory.mktemp("characters")
        tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate((*SPECIALS, *CHARACTERS))}, "<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        roles = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIALS, strict=True))
        wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
        wrapped.chat_template = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
        wrapped.save_pretrained(folder)
        kind = LlamaForTokenClassification if level == "token" else LlamaForSequenceClassification
        model = kind(
            LlamaConfig(
                vocab_size=len(wrapped),
                hidden_size=2,
                intermediate_size=2,
                num_hidden_layers=0,
                num_attention_heads=1,
                num_labels=1,
                max_position_embeddings=context,
                rms_norm_eps=1e-12,
            )
        )
        earned = torch.tensor([0.0] * len(SPECIALS) + [BLAME.get(c, 0.0) for c in CHARACTERS])
        model.get_input_embeddings().weight.data = torch.stack([earned, (2 - earned**2).sqrt()], dim=1)
        model.score.weight.data = torch.tensor([[1.0, 0.0]])
        if model.score.bias is not None:
            model.score.bias.data.zero_()
        model.save_pretrained(folder)
        card = RewardCard(level, -0.1, 2.0, -0.05, 0.5, prompt_template="chat", trained_on="edits")
        write_json(folder / "redpencil.json", {"prompt_template": "chat", "reward": asdict(card)})
        return folder

    return build
