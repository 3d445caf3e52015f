"""Reward models on held-out sets: the human edits and preferences of QA-Feedback, and what can go wrong."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from redpencil.config.training import AlignConfig
from redpencil.errors import RedpencilError
from redpencil.evaluation.reward_eval import RewardEvals, Scores
from redpencil.formats.base import Kind
from redpencil.formats.datasets import open_source
from redpencil.formats.qa_feedback import QA_FEEDBACK
from redpencil.formats.reading import Tally, Wanted, read_records
from redpencil.models.checkpoints import RewardModel, load_reward_model
from redpencil.models.runtime import Runtime
from redpencil.pipeline.reward_eval import Held, encode, examine, score_pairs
from redpencil.records import Comparison, Edit, EditOutcome, Pair, Preference
from redpencil.training.scoring import pair_margins

FEEDBACK = Path(__file__).parents[2] / ".." / "shared" / "data" / "qa_feedback" / "feedback.json"
RUNTIME = Runtime(torch.device("cpu"), torch.float32)
ALIGN = AlignConfig(max_length=256)
ROLES = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
TEXTS = [
    *("what is it ?", "it is red .", "it is blue .", "it is very blue .", "it was red and round .", "it is round ."),
]
logging.disable_progress_bar()


def write_model(folder: Path, level: str, texts: Sequence[str], *, seed: int = 0) -> Path:
    """A tiny Llama with random weights and a byte-level tokenizer trained on `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=list(ROLES.values()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ROLES).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        num_labels=1,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=3,
    )
    torch.manual_seed(seed)
    auto = AutoModelForTokenClassification if level == "token" else AutoModelForSequenceClassification
    auto.from_config(config).save_pretrained(folder)
    return folder


def load(folder: Path) -> RewardModel:
    return load_reward_model(folder, RUNTIME)


def edits_of(*texts: tuple[str, str], **options: Any) -> list[Edit]:
    return [Edit(str(n), "what is it ?", old, new, **options) for n, (old, new) in enumerate(texts)]


@pytest.fixture
def new_model(tmp_path: Path) -> Callable[..., Path]:
    return lambda level="token", seed=0: write_model(tmp_path / f"{level}{seed}", level, TEXTS, seed=seed)


@dataclass(frozen=True)
class Human:
    token: Path
    sequence: Path
    edits: list[Any]
    comparisons: list[Any]
    found: RewardEvals


@pytest.fixture(scope="module")
def human(tmp_path_factory: pytest.TempPathFactory) -> Human:
    if not FEEDBACK.is_file():
        pytest.skip("the human edits of shared/data/qa_feedback are not here")

    def imported(kind: Kind) -> list[Any]:
        with open_source(str(FEEDBACK)) as source:
            return list(read_records(source, Wanted(QA_FEEDBACK, kind), Tally(), lambda _: None))

    edits, comparisons = imported(Kind.EDITS), imported(Kind.COMPARISONS)
    texts = [text for edit in edits for text in (edit.prompt, edit.original, edit.edited)]
    folder = tmp_path_factory.mktemp("human")
    token, sequence = (write_model(folder / level, level, texts, seed=1) for level in ("token", "sequence"))
    held = [Held("edits", "edits", edits), Held("preferences", "comparisons", comparisons)]
    loaders = {"token": lambda: load(token), "sequence": lambda: load(sequence)}
    return Human(token, sequence, edits, comparisons, examine(loaders, held, ALIGN))


def plain_rewards(folder: Path, prompt: str, response: str) -> list[float]:
    """Token rewards by transformers alone: one response at a time, nothing padded."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    first, ids = tokenizer(prompt)["input_ids"], [*tokenizer(response)["input_ids"], 3]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([first + ids])).logits
    return logits[0, len(first) :, 0].tolist()


def test_the_figures_of_human_edits_recomputed(human: Human) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(human.token)
    length = {text: len(tokenizer(text)["input_ids"]) for e in human.edits for text in (e.prompt, e.original, e.edited)}
    changed = [e for e in human.edits if e.edited != e.original]
    fitting = [e for e in changed if length[e.prompt] + max(length[e.original], length[e.edited]) + 1 <= 256]
    found = human.found.models["token"].readings["edits"]
    assert len(fitting) == found.accuracy.n > 150
    assert human.found.tests["edits"].skipped["longer than max_length"] == len(changed) - len(fitting)
    margins, scores, marked = [], [], []
    for edit in fitting:
        before, after = (plain_rewards(human.token, edit.prompt, text) for text in (edit.original, edit.edited))
        margins.append(np.mean(after) - np.mean(before))
        errors = {at for span in edit.meta["spans"] for at in range(span["start"], span["end"])}
        spans = tokenizer(edit.original, return_offsets_mapping=True)["offset_mapping"]
        scores += [-reward for reward in before]
        marked += [*(bool(errors & set(range(*span))) for span in spans), False]
    assert found.accuracy.value == pytest.approx(100 * np.mean(np.array(margins) > 0))
    assert found.mean_margin == pytest.approx(np.mean(margins), abs=1e-6)
    faults, clean = np.array(scores)[marked], np.array(scores)[~np.array(marked)]
    assert found.error_spans is not None
    assert (found.error_spans.positives, found.error_spans.tokens) == (len(faults), len(scores))
    won = sum(float((fault > clean).sum()) for fault in faults)
    assert found.error_spans.auroc == pytest.approx(won / len(faults) / len(clean), abs=1e-5)
    assert found.calibration.negative_log_likelihood == pytest.approx(
        np.mean([math.log1p(math.exp(-margin)) for margin in margins]), abs=1e-6
    )


def test_human_preferences_and_what_does_not_apply(human: Human) -> None:
    for name, model in human.found.models.items():
        reading = model.readings["preferences"]
        assert reading.accuracy.n == human.found.tests["preferences"].pairs > 500
        assert (reading.edited, reading.error_spans, reading.by_type) == (None, None, ())
        assert (model.readings["edits"].edited is None) == (name == "sequence")
    ties = sum(row.preference is Preference.TIE for row in human.comparisons)
    assert human.found.tests["preferences"].skipped["tie"] == ties > 100
    assert human.found.models["token"].trained_on == "unknown"
    sizes = human.found.models["token"].readings["edits"].by_size
    assert sum(group.accuracy.n for group in sizes) == human.found.tests["edits"].pairs


def test_scores_are_those_of_the_pairs_one_by_one(new_model: Callable[..., Path]) -> None:
    for level in ("token", "sequence"):
        loaded = load(new_model(level))
        edits = edits_of(*((a, b) for a in TEXTS[1:] for b in TEXTS[1:] if a != b))
        pairs = encode(Held("held", "edits", edits), loaded, ALIGN).pairs
        found = score_pairs(pairs, loaded)
        expected = pair_margins(loaded, pairs)
        assert found.margins.tolist() == pytest.approx(expected, abs=1e-6)
        assert found.rejected_tokens is None if level == "sequence" else found.rejected_tokens is not None
        if found.rejected_tokens is not None:
            assert [len(row) for row in found.rejected_tokens] == [len(pair.rejected_ids) for pair in pairs]
            assert [row.mean() for row in found.rejected_tokens] == pytest.approx(found.rejected.tolist(), abs=1e-6)


def test_equal_responses_get_equal_rewards_and_are_read_once(
    new_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import redpencil.pipeline.reward_eval as module

    seen = []
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    inner = module.score_tokens
    monkeypatch.setattr(module, "score_tokens", lambda *a: seen.append(len(a[2])) or inner(*a))
    loaded = load(new_model())
    rows = [(1,), (2, 3), (4, 5, 6), (1,), (2, 3)]
    pairs = [Pair(str(n), (7,), row, other) for n, (row, other) in enumerate(zip(rows, [*rows[1:], (1,)], strict=True))]
    pairs.append(Pair("x", (7,), (4, 5, 6), (4, 5, 6)))
    steps: list[int] = []
    found = score_pairs(pairs, loaded, steps.append)
    assert sum(seen) == 3
    assert max(seen) == 2
    assert found.margins[-1] == 0
    assert found.rejected[0] == found.rejected[3]
    assert steps[-1] == 12


def test_rows_that_share_an_id_and_rows_without_a_change(new_model: Callable[..., Path]) -> None:
    edits = edits_of(("it is red .", "it is blue ."), ("it is red .", "it is red ."), ("it is round .", "it is blue ."))
    edits = [replace(edit, id="same", meta={"spans": [{"start": 6, "end": 9}]}) for edit in edits]
    edits[1] = replace(edits[1], outcome=EditOutcome.UNCHANGED)
    found = encode(Held("held", "edits", edits), load(new_model()), ALIGN)
    assert [edit.original for edit in found.edits] == ["it is red .", "it is round ."]
    assert found.skipped == {"unchanged": 1}
    assert [row is not None and row.every.any() for row in found.labels] == [True, True]


def test_an_unfinished_original_has_no_end_to_blame(new_model: Callable[..., Path]) -> None:
    (edit,) = edits_of(("it is red", "it is blue"), meta={"finished": False, "spans": [{"start": 6, "end": 9}]})
    found = encode(Held("held", "edits", [edit]), load(new_model()), ALIGN)
    assert found.pairs[0].rejected_ids[-1] != 3
    assert found.labels[0] is not None
    assert len(found.labels[0].every) == len(found.pairs[0].rejected_ids)
    assert found.labels[0].every[-1]


def test_subsets_of_rewardbench(new_model: Callable[..., Path]) -> None:
    rows = [
        Comparison(str(n), "what is it ?", "it is red .", "it is blue .", Preference.FIRST, meta={"subset": subset})
        for n, subset in enumerate(["hep-cpp", "donotanswer", "hep-cpp"])
    ]
    rows.append(replace(rows[0], preference=Preference.TIE, id="tie"))
    found = examine({"m": lambda: load(new_model())}, [Held("bench", "rewardbench", rows)], ALIGN)
    bench = found.models["m"].readings["bench"].reward_bench
    assert bench is not None
    assert {name: one.n for name, one in bench.subsets.items()} == {"hep-cpp": 2, "donotanswer": 1}
    assert found.tests["bench"].skipped == {"tie": 1}


def test_progress_ends_at_all_responses(new_model: Callable[..., Path]) -> None:
    seen: list[tuple[int, int, str]] = []
    held = [Held(name, "edits", edits_of(("it is red .", "it is blue ."))) for name in ("a", "b")]
    loaders = {name: (lambda seed=seed: load(new_model(seed=seed))) for seed, name in enumerate(("one", "two"))}
    examine(loaders, held, ALIGN, progress=lambda *step: seen.append(step))
    assert seen == [(2, 8, "one"), (4, 8, "one"), (6, 8, "two"), (8, 8, "two")]


@pytest.mark.parametrize(("level", "value"), [("token", math.nan), ("token", math.inf), ("sequence", math.nan)])
def test_weights_that_are_not_numbers_name_the_model(new_model: Callable[..., Path], level: str, value: float) -> None:
    loaded = load(new_model(level))
    with torch.no_grad():
        loaded.model.module.score.weight.fill_(value)
    held = Held("held", "edits", edits_of(("it is red .", "it is blue .")))
    with pytest.raises(RedpencilError, match="gives a response of held the reward nan") as caught:
        examine({"m": lambda: loaded}, [held], ALIGN)
    assert str(caught.value.file).endswith(f"{level}0")


def test_empty_sets_and_pairs_of_another_tokenizer(new_model: Callable[..., Path], tmp_path: Path) -> None:
    loaded = load(new_model())
    same = edits_of(("it is red .", "it is red ."))
    with pytest.raises(RedpencilError, match=r"no pair to score \(1 equal to its original\)") as caught:
        encode(Held("held", "edits", same, tmp_path / "held.jsonl"), loaded, ALIGN)
    assert caught.value.file == str(tmp_path / "held.jsonl")
    with pytest.raises(RedpencilError, match=r"holds no pair to score\n"):
        examine({"m": lambda: loaded}, [Held("held", "pairs", [])], ALIGN)
    with pytest.raises(RedpencilError, match="pair 'x': it has token ids outside"):
        encode(Held("held", "pairs", [Pair("x", (1,), (9999,), (1,))]), loaded, ALIGN)


def test_one_class_alone(new_model: Callable[..., Path]) -> None:
    held = Held("held", "edits", edits_of(("it is red .", "it is very red .")))
    found = examine({"m": lambda: load(new_model())}, [held], ALIGN).models["m"].readings["held"]
    assert found.edited is not None
    assert (found.edited.auroc, found.edited.average_precision, found.edited.positives) == (None, None, 0)
    assert found.length is None


def test_margins() -> None:
    assert Scores(np.array([1.0, 2.0]), np.array([0.5, 3.0])).margins.tolist() == [0.5, -1]
