"""Hidden states that are computed once, and heads that are trained on them."""

import io
import json
import resource
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from redpencil.config.training import RewardConfig
from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.models.checkpoints import LanguageModel, load_head, load_reward_model
from redpencil.models.codec import Codec
from redpencil.models.forward import READ_TWICE, collate, sequence_rewards, token_rewards
from redpencil.models.heads import head_of, standardise_head
from redpencil.models.runtime import Runtime
from redpencil.models.saving import export
from redpencil.records import Pair
from redpencil.runs import Stage, no_progress
from redpencil.training import features
from redpencil.training.features import backbone_of, hidden_rows, keeps_backbone
from redpencil.training.reward import train_reward
from redpencil.training.scoring import pair_margins, score_sequences, score_tokens

Samples = list[tuple[list[int], tuple[int, ...]]]


class Trained(Protocol):
    sft: Path


def model_of(trained: Trained, runtime: Runtime, level: str = "token", heads: int = 1) -> LanguageModel:
    model = load_head(trained.sft, level, runtime, trained=True, zero_head=True, heads=heads)
    torch.manual_seed(0)
    torch.nn.init.normal_(head_of(model.module).weight)
    return model


def rows_of(pairs: list[Pair]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(pair.prompt_ids, pair.rejected_ids[: 1 + number % 5]) for number, pair in enumerate(pairs)]


def test_texts_to_one_prompt_are_read_together_again_if_one_of_them_is_lost(
    trained: Trained, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[features.Row]] = []
    compute = features._compute
    monkeypatch.setattr(
        features, "_compute", lambda model, level, rows: read.append(rows) or compute(model, level, rows)
    )
    model, rows = model_of(trained, runtime), [((2, 5), (13, 14, 3)), ((2, 5), (13, 15, 3)), ((2, 6), (13, 3))]
    first = hidden_rows(model, "token", rows, tmp_path, no_progress)
    kept = features._files(model, "token", rows, tmp_path)
    lost, other = kept[rows[0]], kept[rows[1]]
    assert lost is not None
    assert other is not None
    content, other_file = lost.read_bytes(), other.stat().st_ino
    lost.unlink()
    read.clear()
    again = hidden_rows(model, "token", rows, tmp_path, no_progress)
    assert [sorted(part) for part in read] == [rows[:2]]
    assert all(map(torch.equal, first, again))
    assert (lost.read_bytes(), other.stat().st_ino) == (content, other_file)


@pytest.mark.parametrize("twice", [False, True])
def test_the_head_on_hidden_states_gives_the_models_rewards(
    trained: Trained, runtime: Runtime, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch, twice: bool
) -> None:
    monkeypatch.setattr(features, "BATCH_TOKENS", 40)
    model = model_of(trained, runtime)
    setattr(model.module.config, READ_TWICE, twice)
    rows = [*rows_of(pairs[:12]), rows_of(pairs[:1])[0]]
    states = hidden_rows(model, "token", rows, None, no_progress)
    for (prompt, response), found in zip(rows, states, strict=True):
        batch = collate([prompt], [response], 0, torch.device("cpu"))
        with torch.no_grad():
            expected, got = token_rewards(model.module, batch)[0], head_of(model.module)(found)[:, 0]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(states[0], states[-1])


def test_a_sequence_model_reads_its_last_token(trained: Trained, runtime: Runtime, pairs: list[Pair]) -> None:
    model = model_of(trained, runtime, "sequence")
    rows = rows_of(pairs[:8])
    states = hidden_rows(model, "sequence", rows, None, no_progress)
    batch = collate([row[0] for row in rows], [row[1] for row in rows], 0, torch.device("cpu"))
    with torch.no_grad():
        expected = sequence_rewards(model.module, batch)
        got = head_of(model.module)(torch.cat(states))[:, 0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_states_are_kept_by_model_and_text(
    trained: Trained, runtime: Runtime, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    compute = features._compute

    def counted(model: LanguageModel, level: str, rows: list[features.Row]) -> list[torch.Tensor]:
        computed.append(len(rows))
        return compute(model, "token" if level == "token" else "sequence", rows)

    monkeypatch.setattr(features, "_compute", counted)
    model, rows = model_of(trained, runtime), rows_of(pairs[:6])
    first = hidden_rows(model, "token", rows, tmp_path, no_progress)
    assert sum(computed) == len(set(rows))
    again = hidden_rows(model, "token", rows, tmp_path, no_progress)
    assert sum(computed) == len(set(rows))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    # a damaged file is computed anew; another way to read, or other weights, are another model
    damaged = sorted(tmp_path.rglob("*.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    mended = hidden_rows(model, "token", rows, tmp_path, no_progress)
    assert sum(computed) == len(set(rows)) + 1
    assert all(torch.equal(a, b) for a, b in zip(first, mended, strict=True))
    assert np.load(damaged)["states"].size
    setattr(model.module.config, READ_TWICE, True)
    hidden_rows(model, "token", rows, tmp_path, no_progress)
    assert sum(computed) == 2 * len(set(rows)) + 1
    setattr(model.module.config, READ_TWICE, False)
    export(model, tmp_path / "other")
    moved = load_head(tmp_path / "other", "token", runtime, trained=True, zero_head=True)
    hidden_rows(moved, "token", rows, tmp_path, no_progress)
    assert sum(computed) == 3 * len(set(rows)) + 1


def _shorter(content: bytes) -> bytes:
    return content[:100]


def _flipped(content: bytes) -> bytes:
    """One bit of the numbers."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _of_another_text(_: bytes) -> bytes:
    return _archive(states=np.zeros((99, 3), np.float32))


def _archive(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        _shorter,
        _flipped,
        _of_another_text,
        lambda _: b"",
        lambda _: b"PK\x03\x04 nothing",
        lambda content: bytes(len(content)),
        lambda _: _archive(other=np.zeros(3)),
        lambda _: _archive(states=np.array([{}], dtype=object)),
    ],
)
def test_a_damaged_file_is_computed_again(
    trained: Trained, runtime: Runtime, pairs: list[Pair], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    model, rows = model_of(trained, runtime), rows_of(pairs[:4])
    first = hidden_rows(model, "token", rows, tmp_path, no_progress)
    for file in tmp_path.rglob("*.npz"):
        file.write_bytes(damage(file.read_bytes()))
    again = hidden_rows(model, "token", rows, tmp_path, no_progress)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(np.load(file)["states"].shape[1] == first[0].shape[1] for file in tmp_path.rglob("*.npz"))


def test_what_cannot_be_kept_is_used_all_the_same(
    trained: Trained, runtime: Runtime, pairs: list[Pair], tmp_path: Path
) -> None:
    model, rows = model_of(trained, runtime), rows_of(pairs[:4])
    expected = hidden_rows(model, "token", rows, None, no_progress)

    def check(store: Path) -> None:
        found = hidden_rows(model, "token", rows, store, no_progress)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))

    a_file = (
        tmp_path / "file"
    )  # stands for every place that cannot be written to, also for those who may write anywhere
    a_file.touch()
    check(a_file)
    store = tmp_path / "store"
    check(store)
    # Another stage is writing each of the files at this moment.
    with ExitStack() as others:
        for file in list(store.rglob("*.npz")):
            file.unlink()
            others.enter_context(whole_file(file))
        check(store)
    # Files have no room: the disk is full.
    shutil.rmtree(store)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        check(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(store.rglob("*.npz"))
    check(store)
    assert list(store.rglob("*.npz"))


def test_a_backbone_that_changed_anywhere_is_another_one(trained: Trained, runtime: Runtime, tmp_path: Path) -> None:
    def name(folder: Path) -> str:
        return backbone_of(load_head(folder, "token", runtime, trained=True, zero_head=True))

    folder = shutil.copytree(trained.sft, tmp_path / "model")
    first = name(folder)
    assert first == name(trained.sft)  # wherever it is
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    assert name(folder) != first
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    # A file that is larger than the stretches that samples of it see, with one byte of it changed.
    weights = bytearray(32 << 20)
    (folder / "other.safetensors").write_bytes(weights)
    model = load_head(trained.sft, "token", runtime, trained=True, zero_head=True)
    model.module.name_or_path = str(folder)
    names = {backbone_of(model)}
    for place in (0, 777_777, 1_000_000, 16 << 20, -1):
        weights[place] = 1
        (folder / "other.safetensors").write_bytes(weights)
        names.add(backbone_of(model))
    assert len(names) == 6


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_head_on_standardised_states_is_saved_as_a_plain_one(
    trained: Trained, runtime: Runtime, pairs: list[Pair], tmp_path: Path, level: str
) -> None:
    model = model_of(trained, runtime, level)
    batch = collate([p.prompt_ids for p in pairs[:4]], [p.chosen_ids for p in pairs[:4]], 0, torch.device("cpu"))
    read = token_rewards if level == "token" else sequence_rewards
    hidden = head_of(model.module).in_features
    with torch.no_grad():
        before = read(model.module, batch)
        standardise_head(model.module, torch.linspace(-2, 2, hidden), torch.linspace(0.5, 9, hidden))
        torch.testing.assert_close(read(model.module, batch), before, rtol=1e-3, atol=1e-4)
        head_of(model.module).weight.add_(0.1)
        moved = read(model.module, batch)
    assert not torch.allclose(moved, before)
    export(model, tmp_path / "saved")
    again = load_head(
        tmp_path / "saved", "token" if level == "token" else "sequence", runtime, trained=False, zero_head=False
    )
    with torch.no_grad():
        torch.testing.assert_close(read(again.module, batch), moved, rtol=1e-3, atol=1e-4)
    state = model.module.state_dict()
    with torch.no_grad():
        head_of(model.module).weight.zero_()
    model.module.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(read(model.module, batch), moved, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "contrast", "ranking": 1, "scale": 5},
        {"loss": "blame", "read_twice": True, "layers": 1, "edited_weight": 1},
        {"loss": "eq3", "scale": 5},
        {"level": "sequence"},
    ],
)
def test_a_head_alone_learns_and_the_backbone_stays(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
    tmp_path: Path,
    options: dict[str, object],
) -> None:
    written = {"level": "token", "frozen_layers": "all", "learning_rate": 1e-2, "batch_size": 32, "num_train_epochs": 8}
    config = RewardConfig.model_validate({**written, "reference_samples": 50, **options})
    stage = new_stage()
    train_reward(
        config,
        backbone=trained.sft,
        pairs=pairs[:400],
        samples=samples,
        codec=codec,
        trained_on="edits",
        runtime=runtime,
        stage=stage,
        store=tmp_path,
    )
    reward = load_reward_model(stage.folder / "checkpoint", runtime)
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npz")}
    score = score_tokens if reward.card.level == "token" else score_sequences
    prompts, responses = [p.prompt_ids for p in pairs[:40]], [p.chosen_ids for p in pairs[:40]]
    for found, whole in zip(
        score(reward.model, prompts, responses, tmp_path), score(reward.model, prompts, responses), strict=True
    ):
        torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-4)
    assert kept == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npz")}  # read, and none was added
    shared = list(tmp_path.glob("*.safetensors"))
    linked = stage.folder / "checkpoint" / "model-00001-of-00002.safetensors"
    assert [file.stat().st_ino for file in shared] == [linked.stat().st_ino]  # checkpoints share the backbone's weights
    assert not keeps_backbone(load_head(stage.folder / "checkpoint", "token", runtime, trained=True, zero_head=True))
    assert sum(margin > 0 for margin in pair_margins(reward, pairs[400:])) >= 90
    level = "token" if reward.card.level == "token" else "sequence"
    before = load_head(trained.sft, level, runtime, trained=False, zero_head=True).module.state_dict()
    after = reward.model.module.state_dict()
    moved = [name for name, value in after.items() if not torch.equal(value, before.get(name, value))]
    assert {name.split(".")[0] for name in moved} <= {"score"}
    assert after["score.weight"].any()


def test_an_encoders_sequence_head_is_more_than_a_layer(
    runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForMaskedLM(BertConfig(vocab_size=len(codec.tokenizer), **size)).save_pretrained(tmp_path)
    codec.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RedpencilError, match="more than one layer") as caught:
        train_reward(
            RewardConfig(level="sequence", frozen_layers="all", reference_samples=2),
            backbone=tmp_path,
            pairs=[Pair("a", (5,), rejected_ids=(6, 7, 3), chosen_ids=(8, 3))],
            samples=[([5], (6, 7)), ([6], (7, 8))],
            codec=codec,
            trained_on="edits",
            runtime=runtime,
            stage=new_stage(),
        )
    assert caught.value.field == "reward.frozen_layers"
