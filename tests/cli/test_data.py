"""`respond` and `align` on the files of the tiny run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.records import Pair, Prompt, Response, read_jsonl

PROMPT = "tell me about jordan . i need its language , currency and capital ."


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_respond_answers_each_prompt_as_often_as_asked(chain: Any, tiny_run: Any) -> None:
    prompts = list(read_jsonl(tiny_run.folder / "world" / "validation_prompts.jsonl", Prompt))
    responses = list(read_jsonl(chain.folder / "responses.jsonl", Response))
    assert [row.id for row in responses] == [f"{row.id}-{number}" for row in prompts for number in (0, 1)]
    assert [row.prompt for row in responses] == [row.prompt for row in prompts for _ in (0, 1)]
    assert "24 responses in" in chain.outcomes["respond"].err


def test_respond_keeps_ids_where_there_is_one_response_to_a_prompt(chain: Any, tiny_run: Any) -> None:
    prompts = read_jsonl(tiny_run.folder / "world" / "evaluation_prompts.jsonl", Prompt)
    outputs = read_jsonl(chain.folder / "outputs.jsonl", Response)
    assert [row.id for row in outputs] == [row.id for row in prompts]


def test_respond_repeats_itself_with_the_same_seed_only(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    texts = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        redpencil(
            *("respond", "--policy", tiny_run.folder / "sft" / "checkpoint"),
            *("--prompts", tiny_run.folder / "world" / "validation_prompts.jsonl"),
            *("--out", tmp_path / name, "--recipe", tiny, "--seed", seed),
        )
        texts.append([row.response for row in read_jsonl(tmp_path / name, Response)])
    assert texts[0] == texts[1] != texts[2]


def test_respond_skips_what_is_too_long_and_says_so(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    prompts = write(tmp_path / "p", {"id": "short", "prompt": PROMPT}, {"id": "long", "prompt": "france " * 300})
    outcome = redpencil(
        *("respond", "--policy", tiny_run.folder / "sft" / "checkpoint", "--prompts", prompts),
        *("--out", tmp_path / "out", "--recipe", tiny),
    )
    assert [row.id for row in read_jsonl(tmp_path / "out", Response)] == ["short"]
    assert "skipped: 1 prompts longer than sampling.max_prompt_length" in outcome.err


def test_align_writes_masks_of_both_sides(chain: Any) -> None:
    pairs = list(read_jsonl(chain.folder / "pairs.jsonl", Pair))
    assert pairs
    for pair in pairs:
        assert len(pair.rejected_changed) == len(pair.rejected_ids)
        assert len(pair.chosen_changed) == len(pair.chosen_ids)
        assert all(pair.rejected_ids[i] == pair.chosen_ids[j] for i, j in pair.unchanged)
    for pair in read_jsonl(chain.folder / "comparison_pairs.jsonl", Pair):
        assert (pair.rejected_changed, pair.chosen_changed, pair.unchanged) == ((), (), ())


def test_align_shows_redlines_and_masks_and_writes_nothing(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    edits = write(
        tmp_path / "edits",
        {"id": "same", "prompt": PROMPT, "original": "a .", "edited": "a ."},
        {"id": "one", "prompt": PROMPT, "original": "the capital of jordan is cairo .",
         "edited": "the capital of jordan is amman ."},
        {"id": "two", "prompt": PROMPT, "original": "a .", "edited": "b ."},
    )  # fmt: skip
    arguments = ("align", "--edits", edits, "--tokenizer", tiny_run.folder / "sft" / "checkpoint", "--recipe", tiny)
    outcome = redpencil(*arguments, "--show", "1")
    lines = [line.rstrip() for line in outcome.out.splitlines()]
    assert lines == [
        f"one  {PROMPT}",
        "the capital of jordan is [-cairo-]{+amman+} ." if lines[1].count("-]{+") else lines[1],
        "rejected  1:the capital of jordan is [-cairo-] 2:. <eos>",
        "chosen    1:the capital of jordan is {+amman+} 2:. <eos>",
        "masks     changed (U1): 1 rejected, 1 chosen; unchanged pairs (U0): 7",
        "",
    ]
    assert "[-cairo-]{+amman+}" in lines[1]
    assert not list(tmp_path.glob("*.partial"))


def test_options_of_the_recipe_reach_the_alignment(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    edits = write(tmp_path / "e", {"id": "1", "prompt": PROMPT, "original": "it is red .", "edited": "it is big red ."})
    arguments = ("align", "--edits", edits, "--tokenizer", tiny_run.folder / "sft" / "checkpoint", "--recipe", tiny)
    marked = []
    for anchor in ("none", "divergence"):
        redpencil(*arguments, "--out", tmp_path / anchor, "--set", f"align.anchor={anchor}")
        (pair,) = read_jsonl(tmp_path / anchor, Pair)
        marked.append(sum(pair.rejected_changed))
    assert marked == [0, 1]


@pytest.fixture
def policy(tiny_run: Any) -> Path:
    return tiny_run.folder / "sft" / "checkpoint"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file holds no Prompt row"),
        ('{"id": "1"}\n', ":1 [prompt]: field required in a row of Prompt"),
        ('{"id": "1", "prompt": "a"}\nnonsense\n', ":2: not valid JSON"),
        (json.dumps({"id": "1", "prompt": "france " * 300}), "none of 1 prompts has between 1 and 192 tokens"),
    ],
)
def test_bad_prompts(mistake: Callable[..., str], policy: Path, tmp_path: Path, content: str, said: str) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(content)
    message = mistake("respond", "--policy", policy, "--prompts", prompts, "--out", tmp_path / "out.jsonl")
    assert said in message
    assert message.startswith(str(prompts))
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]


def test_a_prompt_that_does_not_fit_the_models_context(
    mistake: Callable[..., str], policy: Path, tmp_path: Path
) -> None:
    prompts = write(tmp_path / "p.jsonl", {"id": "1", "prompt": "france " * 150})
    message = mistake("respond", "--policy", policy, "--prompts", prompts, "--out", tmp_path / "out.jsonl")
    assert "p.jsonl [response_length]: a prompt of 152 tokens and a response of up to 300 exceed" in message


def test_bad_places(mistake: Callable[..., str], policy: Path, tmp_path: Path) -> None:
    prompts = write(tmp_path / "p.jsonl", {"id": "1", "prompt": PROMPT})
    start = ("respond", "--policy", policy, "--prompts")
    assert "nowhere.jsonl: no such file" in mistake(*start, tmp_path / "nowhere.jsonl", "--out", tmp_path / "o")
    assert "cannot read it (Is a directory)" in mistake(*start, tmp_path, "--out", tmp_path / "o")
    assert "it is also an input" in mistake(*start, prompts, "--out", prompts)
    assert "a folder stands where the file should go" in mistake(*start, prompts, "--out", tmp_path)
    assert "o.jsonl: cannot write it (" in mistake(*start, prompts, "--out", prompts / "o.jsonl")
    assert prompts.read_text()


@pytest.mark.parametrize("command", ["respond", "align"])
def test_bad_model_folders(mistake: Callable[..., str], tmp_path: Path, command: str) -> None:
    rows = write(tmp_path / "rows.jsonl", {"id": "1", "prompt": "a", "original": "a", "edited": "b"})
    flags = {"respond": ("--prompts", rows, "--policy"), "align": ("--edits", rows, "--tokenizer")}[command]
    out = ("--out", tmp_path / "out.jsonl")
    assert "nowhere: no such model folder" in mistake(command, *flags, tmp_path / "nowhere", *out)
    assert "rows.jsonl: no such model folder" in mistake(command, *flags, rows, *out)
    assert "no tokenizer can be loaded" in mistake(command, *flags, tmp_path, *out)


def test_a_reward_model_is_not_a_policy(mistake: Callable[..., str], tiny_run: Any, tmp_path: Path) -> None:
    prompts = write(tmp_path / "p.jsonl", {"id": "1", "prompt": PROMPT})
    reward = tiny_run.folder / "reward-token_edits" / "checkpoint"
    assert "LlamaForTokenClassification is not a policy" in mistake(
        "respond", "--policy", reward, "--prompts", prompts, "--out", tmp_path / "o"
    )


def test_bad_edits(mistake: Callable[..., str], redpencil: Callable[..., Any], policy: Path, tmp_path: Path) -> None:
    same = write(tmp_path / "e", {"id": "1", "prompt": PROMPT, "original": "a .", "edited": "a ."})
    arguments = ("align", "--edits", same, "--tokenizer", policy)
    outcome = redpencil(*arguments, "--out", tmp_path / "o")
    assert (outcome.code, "skipped: 1 equal to its original" in outcome.err) == (1, True)
    assert "e: no pair is left" in mistake(*arguments, "--out", tmp_path / "o")
    assert "no edit can be shown" in mistake(*arguments, "--show", "2")
    assert "has no {prompt}" in mistake(*arguments, "--out", tmp_path / "o", "--template", "hello")
