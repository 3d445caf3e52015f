"""Reward models alone on a user's edits: splits by prompt, folds and their pooled figures, own held-out files."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from redpencil.errors import RedpencilError
from redpencil.pipeline.inputs import check_inputs
from redpencil.pipeline.run import run_recipe
from redpencil.recipe import load_recipe
from redpencil.records import Comparison, Edit, Pair, read_jsonl
from redpencil.results import RunResults, StudyResults, read_results
from redpencil.text import prompt_key

WORDS = ["<unk>", "<pad>", "<s>", "</s>", "it", "is", "red", "very", "oh", "what", "?", *map(str, range(30))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = dict(zip(("unk_token", "pad_token", "bos_token", "eos_token"), WORDS, strict=False))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        **{"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 2},
        eos_token_id=3,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def edits(prompts: int, each: int = 2) -> list[dict[str, Any]]:
    """Edits that take `oh` out; prompts of a number differ in case and white space from edit to edit."""
    rng, rows = random.Random(1), []
    for number in range(prompts * each):
        words = rng.choices(["it", "is", "red", "very"], k=5)
        place = rng.randrange(6)
        original = " ".join([*words[:place], "oh", *words[place:]])
        start = len(" ".join(words[:place])) + (place > 0)
        prompt = f"what  {number // each} ?" if number % 2 else f" What {number // each} ?"
        spans = [{"start": start, "end": start + 2, "error type": "Oh"}]
        rows.append(
            {"id": str(number), "prompt": prompt, "original": original, "edited": " ".join(words), "spans": spans}
        )
    return rows


def comparisons(prompts: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"c{n}",
            "prompt": f"what {n % prompts} ?",
            "first": "it is red",
            "second": "oh it is",
            "preference": "first",
        }
        for n in range(3 * prompts)
    ]


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Callable[..., Any]:
    """`recipe(files={...}, seeds=[...])`: reward models alone; rows are written to files beside the recipe."""

    def write(files: dict[str, Any], **keys: Any) -> Any:
        given: dict[str, Any] = {"model": str(model)}
        for key, rows in files.items():
            given[key] = rows
            if isinstance(rows, list):
                (tmp_path / f"{key}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
                given[key] = f"{key}.jsonl"
        token = {"token": {"pairs": "edits", "reward": {"level": "token"}}}
        training = {"max_steps": 3, "batch_size": 4, "learning_rate": 0.01, "reference_samples": 8}
        content = {
            **{"name": "alone", "arms": {}, "reward_models": token, "reward": training, "files": given},
            **{"compute": {"device": "cpu"}, **keys},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_recipe(path)

    return write


def run(recipe: Any, out: Path) -> RunResults | StudyResults:
    run_recipe(recipe, out, jobs=1, listener=lambda _: None)
    return read_results(out / "results.json")


def prompts_of(root: Path, part: str, kind: str = "edits") -> set[str]:
    record: Any = Edit if kind == "edits" else Comparison
    return {prompt_key(row.prompt) for row in read_jsonl(root / "annotations" / f"{kind}_{part}.jsonl", record)}


def test_three_folds_twice(recipe: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    results = run(recipe({"edits": edits(7), "folds": 3}, seeds=list(range(6))), out)
    assert isinstance(results, StudyResults)
    pooled = results.summary.pooled
    assert pooled is not None
    assert (pooled.folds, pooled.repetitions) == (3, 2)
    points: dict[int, list[float]] = {}
    for seed in range(6):
        root = out / f"seed-{seed}"
        assert not {path.name for path in root.iterdir()} & {"reference", "judge", "outputs-sft"}
        assert not prompts_of(root, "train") & prompts_of(root, "test")
        split = results.runs[seed].split
        assert split is not None
        assert (split.by, split.folds, split.fold, split.shared) == ("folds", 3, seed % 3, {"edits": 0})
        lengths = [
            len(pair.rejected_ids) - len(pair.chosen_ids) for pair in read_jsonl(root / "align/edits_test.jsonl", Pair)
        ]
        assert lengths == [1] * split.test["edits"]
        one = results.runs[seed].reward_accuracy["token"]["edits"]
        points.setdefault(seed // 3, []).append(one.value * split.test["edits"] / 100)
    for repetition in (0, 1):
        held = [prompts_of(out / f"seed-{3 * repetition + fold}", "test") for fold in range(3)]
        assert sum(map(len, held)) == len(set().union(*held)) == 7
    model = pooled.accuracy["token"]["edits"]
    assert (model.n, model.prompts) == (28, 7)
    assert model.value == pytest.approx(100 * sum(map(sum, points.values())) / 28)
    assert model.repetitions == pytest.approx([100 * sum(of) / 14 for of in points.values()])
    assert model.spread == pytest.approx(np.std(model.repetitions, ddof=1))
    assert pooled.accuracy["shorter_wins"]["edits"].value == 100
    assert pooled.accuracy["artefacts"]["edits"].n == 28
    # The place of `oh` alone, by hand: the later of each pair of it and another token, the end included.
    later = [(1 + row["original"].split().index("oh") - 1, 6) for row in edits(7)]
    assert pooled.within["token"]["edited_later"].value == pytest.approx(
        sum(a for a, _ in later) / sum(b for _, b in later)
    )
    assert set(pooled.within["token"]) == {
        f"{kind}{end}" for kind in ("edited", "error_spans", "Oh") for end in ("", "_later")
    }
    assert pooled.within["token"]["Oh"].value == pooled.within["token"]["edited"].value
    page = (out / "report.html").read_text(encoding="utf-8")
    for text in (
        "Accuracy over all folds",
        "3 folds by prompt, in 2 repetitions",
        "Held out: one of 3 folds by prompt",
    ):
        assert text in page
    assert "Table 1" not in page
    assert 'href="seed-0/evaluate/reward_models.html"' in page
    assert "Which of two responses is better" in (out / "seed-0/evaluate/reward_models.html").read_text(
        encoding="utf-8"
    )


def test_what_people_agree_on_is_pooled_by_prompt(recipe: Callable[..., Any], tmp_path: Path) -> None:
    twice = [{**row, "id": f"{row['id']}-{person}"} for row in edits(4, each=1) for person in "ab"]
    results = run(recipe({"edits": twice, "folds": 2}, seeds=[0, 1]), tmp_path / "run")
    assert isinstance(results, StudyResults)
    assert results.summary.pooled is not None
    agreed = results.summary.pooled.within["token"]["agreed"]
    # The first original of one fold is not the first one of the other.
    assert (agreed.n, agreed.prompts) == (4, 4)


def test_one_split_for_edits_and_comparisons(recipe: Callable[..., Any], tmp_path: Path) -> None:
    files = {"edits": edits(10), "comparisons": comparisons(10), "test_share": 0.3}
    both = {
        "token": {"pairs": "edits", "reward": {"level": "token"}},
        "sequence": {"pairs": "comparisons", "reward": {"level": "sequence"}},
    }
    results = run(recipe(files, seeds=[4], reward_models=both), tmp_path / "run")
    assert isinstance(results, RunResults)
    root = tmp_path / "run"
    tests = [prompts_of(root, "test", kind) for kind in ("edits", "comparisons")]
    assert tests[0] == tests[1]
    assert len(tests[0]) == 3
    learned = prompts_of(root, "train") | prompts_of(root, "train", "comparisons")
    assert not learned & tests[0]
    assert len(learned) == 7
    assert results.split is not None
    assert (results.split.by, results.split.test, results.split.test_share) == (
        "prompts",
        {"comparisons": 9, "edits": 6},
        0.3,
    )
    assert set(results.reward_accuracy) == {"token", "sequence", "shorter_wins", "longer_wins", "artefacts"}
    assert set(results.within) == {"token"}
    samples = [json.loads(line) for line in (root / "samples/responses.jsonl").read_text().splitlines()]
    originals = Counter(row.original for row in read_jsonl(root / "annotations/edits_train.jsonl", Edit))
    assert len(samples) == 8
    assert {row["response"] for row in samples} <= set(originals)
    page = (root / "report.html").read_text(encoding="utf-8")
    assert "Held out: about 30 % of the rows, by prompt. No prompt of a test is in training." in page
    assert "No paired differences" not in page


def test_held_out_files_of_ones_own(recipe: Callable[..., Any], tmp_path: Path) -> None:
    rows = edits(10)
    files = {"edits": rows[:12], "test_edits": rows[10:], "comparisons": comparisons(8)}
    results = run(recipe(files, seeds=[0]), tmp_path / "run")
    assert isinstance(results, RunResults)
    root = tmp_path / "run"
    assert [row.id for row in read_jsonl(root / "annotations/edits_test.jsonl", Edit)] == [
        row["id"] for row in rows[10:]
    ]
    held = prompts_of(root, "test", "comparisons")
    # Edits of the prompts that the comparisons hold out are not learned from.
    assert not held & prompts_of(root, "train")
    left = sum(prompt_key(row["prompt"]) in held for row in rows[:12])
    shared = sum(
        prompt_key(row["prompt"]) in prompts_of(root, "train") | prompts_of(root, "train", "comparisons")
        for row in rows[10:]
    )
    assert results.split is not None
    assert (results.split.by, results.split.own) == ("files", ("edits",))
    assert results.split.shared == {"comparisons": 0, "edits": shared}
    assert shared > 0
    assert f"annotations: {shared} of 10 test edits have a prompt that is in training." in results.warnings
    if left:
        assert f"annotations: {left} edits were left out, since their prompt is held out." in results.warnings


@pytest.mark.parametrize(
    ("files", "keys", "said", "field"),
    [
        ({"folds": 9}, {}, "too few prompts for 9 folds: 7", "files.folds"),
        ({"folds": 2, "test_edits": "x"}, {}, "`folds` holds rows out and `test_edits` names some", "files"),
        ({"folds": 1}, {}, "greater than or equal to 2", "files.folds"),
        ({"test_comparisons": "x"}, {}, "`test_comparisons` needs `comparisons`", "files"),
        (
            {},
            {"reward_models": {"m": {"pairs": "comparisons"}}},
            "reward models or arms learn from them",
            "files.comparisons",
        ),
        ({}, {"arms": {"a": {"method": "dpo"}}}, "field required, since there are `arms`", "files.prompts"),
        ({"test_edits": "nowhere.jsonl"}, {}, "no such file", "files.test_edits"),
    ],
)
def test_mistakes(
    files: dict[str, Any], keys: dict[str, Any], said: str, field: str, recipe: Callable[..., Any]
) -> None:
    with pytest.raises(RedpencilError) as error:
        check_inputs([recipe({"edits": edits(7), **files}, **keys)])
    assert said in str(error.value)
    assert error.value.field == field
