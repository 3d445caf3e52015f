"""The reward stage on the human edits of QA-Feedback, with tokenizers trained on their texts."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from redpencil.config.methods import PPOConfig
from redpencil.config.training import AlignConfig, RewardConfig
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.codec import load_codec
from redpencil.models.runtime import Runtime
from redpencil.records import Edit
from redpencil.runs import Stage, read_metrics
from redpencil.training.pairs import pairs_of_edits
from redpencil.training.reward import train_reward
from redpencil.training.scoring import doubts, pair_margins

QA_FEEDBACK = Path(__file__).parents[2] / ".." / "shared" / "data" / "qa_feedback" / "feedback.json"


@pytest.fixture(scope="module")
def human_edits() -> list[Edit]:
    if not QA_FEEDBACK.is_file():
        pytest.skip("the human edits of shared/data/qa_feedback are not here")
    items = json.loads(QA_FEEDBACK.read_text(encoding="utf-8"))
    return [
        Edit(str(i), item["question"], item["prediction 1"], item["feedback"]["corrected-prediction"], editor="human")
        for i, item in enumerate(items)
    ]


def human_folder(kind: str, edits: list[Edit], folder: Path) -> Path:
    """A tokenizer trained on the edits' texts, and a tiny model: BERT with weights, or Llama without."""
    encoder = kind == "bert"
    roles = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if not encoder:
        roles = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]") if encoder else models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer() if encoder else None
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer() if encoder else pre_tokenizers.ByteLevel()
    trainer = trainers.WordPieceTrainer if encoder else trainers.BpeTrainer
    texts = [text for edit in edits for text in (edit.prompt, edit.original, edit.edited)]
    tokenizer.train_from_iterator(
        texts, trainer(vocab_size=1000, special_tokens=list(roles.values()), show_progress=False)
    )
    if encoder:
        ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    size = {"vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32, "intermediate_size": 64}
    size |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 320}
    torch.manual_seed(0)
    if encoder:
        BertForMaskedLM(BertConfig(**size, initializer_range=0.1)).save_pretrained(folder)
    else:
        config = LlamaConfig(**size, initializer_range=0.1, pad_token_id=1, bos_token_id=2, eos_token_id=3)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "level"), [("bert", "token"), ("llama", "token"), ("bert", "sequence")])
def test_the_reward_stage_runs_on_human_edits(
    human_edits: list[Edit],
    runtime: Runtime,
    tmp_path: Path,
    new_stage: Callable[..., Stage],
    kind: str,
    level: str,
) -> None:
    codec = load_codec(human_folder(kind, human_edits, tmp_path), "{prompt}")
    assert codec.context == 320
    pairs, skipped = pairs_of_edits(human_edits, codec, AlignConfig(max_length=384))
    assert len(pairs) + sum(skipped.values()) == len(human_edits) == 250
    assert len(pairs) > 200
    assert skipped["longer than the model's context"] > 0
    for pair in pairs:
        assert len(pair.rejected_changed) == len(pair.rejected_ids)
        assert len(pair.chosen_changed) == len(pair.chosen_ids)
        assert any(pair.rejected_changed) or any(pair.chosen_changed)
        assert pair.rejected_ids[-1] == pair.chosen_ids[-1] == codec.eos_id
        assert len(pair.prompt_ids) + max(len(pair.rejected_ids), len(pair.chosen_ids)) <= 320
        for i, j in pair.unchanged:
            assert pair.rejected_ids[i] == pair.chosen_ids[j]
            assert not pair.rejected_changed[i]
            assert not pair.chosen_changed[j]
    first, original = next(pair for pair in pairs if pair.id == "0"), human_edits[0].original
    spans = codec.encode_responses([original])[0].offsets

    def flags(phrase: str) -> set[bool]:
        start = original.index(phrase)
        inside = [a >= start and b <= start + len(phrase) for a, b in spans]
        return {flag for flag, counts in zip(first.rejected_changed, inside, strict=True) if counts}

    # the person deleted the sentence about the guests and kept the one about the title track
    assert flags("features guest appearances from Gordi") == {True}
    assert flags("a song about queer desire") == {False}
    stage = new_stage()
    shortest = sorted(pairs, key=lambda p: len(p.rejected_ids) + len(p.chosen_ids))[:24]
    train_reward(
        RewardConfig(
            level=level, loss="eq4", scale=10, batch_size=12, max_steps=12, learning_rate=5e-3, warmup_ratio=0
        ),
        backbone=tmp_path,
        pairs=shortest,
        samples=[(pair.prompt_ids, pair.rejected_ids) for pair in pairs[:6]],
        codec=codec,
        trained_on="edits",
        runtime=runtime,
        stage=stage,
    )
    losses = [row["preference"] for row in read_metrics(stage.folder)]
    assert losses[0] == pytest.approx(0.6931, abs=1e-4)
    assert sum(losses[-2:]) / 2 < 0.6
    reward = load_reward_model(stage.folder / "checkpoint", runtime, level=level)
    margins = pair_margins(reward, shortest)
    assert sum(margin > 0 for margin in margins) > 14


@pytest.mark.parametrize(("level", "loss"), [("token", "eq3"), ("token", "eq4"), ("sequence", "eq4")])
def test_defaults_learn_on_a_hundred_human_edits(
    human_edits: list[Edit],
    runtime: Runtime,
    tmp_path: Path,
    new_stage: Callable[..., Stage],
    level: str,
    loss: str,
) -> None:
    codec = load_codec(human_folder("llama", human_edits, tmp_path), "{prompt}")
    pairs, _ = pairs_of_edits(human_edits, codec, AlignConfig(max_length=160))
    stage = new_stage()
    train_reward(
        RewardConfig.model_validate({"level": level, "loss": loss}),
        backbone=tmp_path,
        pairs=pairs,
        samples=[(pair.prompt_ids, pair.rejected_ids) for pair in pairs[:6]],
        codec=codec,
        trained_on="edits",
        runtime=runtime,
        stage=stage,
    )
    assert 50 < len(pairs) < 120
    losses = [row["preference"] for row in read_metrics(stage.folder)]
    assert sum(losses[-5:]) / 5 < 0.67
    reward = load_reward_model(stage.folder / "checkpoint", runtime)
    assert sum(margin > 0 for margin in pair_margins(reward, pairs)) > 0.65 * len(pairs)
    assert reward.card.learned
    assert doubts(reward, PPOConfig(reward="sequence" if level == "sequence" else "token")) == []
    assert "remarks" not in stage.notes


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_what_alpacafarm_takes_for_7b_does_not_learn_here_and_says_so(
    human_edits: list[Edit],
    runtime: Runtime,
    tmp_path: Path,
    new_stage: Callable[..., Stage],
    level: str,
) -> None:
    codec = load_codec(human_folder("llama", human_edits, tmp_path), "{prompt}")
    pairs, _ = pairs_of_edits(human_edits, codec, AlignConfig(max_length=160))
    stage, warned = new_stage(), []
    stage.warn = warned.append
    train_reward(
        RewardConfig.model_validate({"level": level, "learning_rate": 3e-6, "scale": 1, "num_train_epochs": 1}),
        backbone=tmp_path,
        pairs=pairs,
        samples=[(pair.prompt_ids, pair.rejected_ids) for pair in pairs[:6]],
        codec=codec,
        trained_on="edits",
        runtime=runtime,
        stage=stage,
    )
    (warning,) = warned
    assert warning.startswith("it has not learned: its loss at the end is 0.693")
    assert stage.notes["remarks"] == [warning]
    assert "chosen" not in stage.notes
    reward = load_reward_model(stage.folder / "checkpoint", runtime)
    assert reward.card.learned is False
    assert reward.card.training_loss == pytest.approx(0.6931, abs=1e-3)
    assert reward.card.constant_loss == pytest.approx(math.log(2))
    # a policy would be paid hundreds of times what the model says
    (not_learned, amplified) = doubts(reward, PPOConfig())
    assert "has not learned: its training ended at a loss of 0.693" in not_learned
    assert f"{1 / reward.card.scale:,.2g} times its output" in amplified
    assert doubts(reward, PPOConfig(scale_rewards=False)) == doubts(reward) == [not_learned]
