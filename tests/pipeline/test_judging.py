"""The judge of a recipe: the world's oracle, or a reward model that reads as it learned."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redpencil.adapters import SIDECAR
from redpencil.config.recipe import Recipe
from redpencil.evaluation.judges import OracleJudge, Pairing, ScoreJudge
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.codec import Codec, load_codec
from redpencil.pipeline.context import Context
from redpencil.pipeline.judging import make_judge, reward_model_judge
from redpencil.recipe import load_recipe
from redpencil.records import Preference, Response, read_jsonl
from redpencil.training.scoring import encode_samples, score_ids, score_tokens
from redpencil.world.summaries import SummariesDomain


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def cases(context: Context) -> list[Pairing]:
    """The policy's responses and the reference's, of which two answer nothing and one is cut off."""
    ours = list(read_jsonl(context.paths.outputs("sft"), Response))
    theirs = list(read_jsonl(context.paths.reference_outputs("evaluation"), Response))
    rows = [Pairing(one.id, one.prompt, one.response, other.response) for one, other in zip(ours, theirs, strict=True)]
    silent, same, cut, *more = rows
    return [
        replace(silent, first=""),
        replace(same, second=same.first),
        replace(cut, second=cut.first, second_finished=False),
        *more,
    ]


def mean_rewards(folder: Path, context: Context, rows: list[tuple[str, str, bool]], codec: Codec) -> list[float]:
    """Eq. 1, worked out from the rewards of the tokens of (prompt, response, whether it was finished)."""
    prompts = codec.encode_prompts([prompt for prompt, _, _ in rows])
    tokens = [list(codec.encode_responses([text], finished=finished)[0].ids) for _, text, finished in rows]
    model = load_reward_model(folder, context.runtime, codec=codec).model
    return [sum(map(float, row)) / len(row) for row in score_tokens(model, prompts, tokens)]


def test_the_world_is_judged_by_its_oracle(context: Context, cases: list[Pairing]) -> None:
    judge = make_judge(context)
    assert isinstance(judge, OracleJudge)
    assert judge.compare(cases) == [judge.oracle.prefers(case.prompt, case.first, case.second) for case in cases]


def test_each_domain_is_judged_by_its_own_oracle(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    judge = make_judge(Context(tiny("world.domain=summaries"), tmp_path, 3))
    assert isinstance(judge, OracleJudge)
    assert isinstance(judge.oracle.domain, SummariesDomain)


def test_a_token_level_model_judges_by_the_mean_of_its_rewards(context: Context, cases: list[Pairing]) -> None:
    folder = context.paths.reward_model("token_edits")
    firsts = mean_rewards(folder, context, [(c.prompt, c.first, True) for c in cases], context.codec)
    seconds = mean_rewards(folder, context, [(c.prompt, c.second, c.second_finished) for c in cases], context.codec)
    verdicts = reward_model_judge(str(folder), context.runtime).compare(cases)
    assert verdicts[1] is Preference.TIE
    # The same text, once with its end and once cut off: the end has a reward of its own.
    assert abs(firsts[2] - seconds[2]) > 1e-6
    for first, second, verdict in list(zip(firsts, seconds, verdicts, strict=True)):
        if abs(first - second) > 1e-6:
            assert (verdict is Preference.FIRST) == (first > second)
    assert len(set(verdicts)) == 3


def test_a_sequence_level_model_reads_no_end_of_what_was_cut_off(context: Context, cases: list[Pairing]) -> None:
    judge = reward_model_judge(str(context.paths.reward_model("sequence_edits")), context.runtime)
    whole, cut = cases[1], cases[2]
    assert judge.compare([whole, replace(cut, second_finished=True)]) == [Preference.TIE] * 2
    there, back = judge.compare([cut, replace(cut, first_finished=False, second_finished=True)])
    assert {there, back} == {Preference.FIRST, Preference.SECOND}


def test_a_judge_without_a_card_reads_prompts_as_its_tokenizer_makes_chats_or_as_the_policy_does(
    context: Context, cases: list[Pairing], tmp_path: Path
) -> None:
    folder = tmp_path / "foreign"
    shutil.copytree(context.paths.reward_model("token_edits"), folder)
    (folder / SIDECAR).unlink()
    rows = [Response(case.id, case.prompt, case.first) for case in cases]

    def scores(policy_codec: Codec | None = None) -> list[float]:
        judge = reward_model_judge(str(folder), context.runtime, policy_codec=policy_codec)
        assert isinstance(judge, ScoreJudge)
        return list(judge.score(rows))

    def wanted(template: str) -> list[float]:
        codec = load_codec(folder, template)
        return mean_rewards(folder, context, [(row.prompt, row.response, True) for row in rows], codec)

    plain, policys = wanted("{prompt}"), wanted(context.codec.template)
    assert plain != pytest.approx(policys, abs=1e-5)
    assert scores() == pytest.approx(plain, abs=1e-6)
    assert scores(context.codec) == pytest.approx(policys, abs=1e-6)  # it has the policy's own tokenizer
    tokenizer = load_codec(folder).tokenizer
    tokenizer.chat_template = "{% for message in messages %}<bos> {{ message['content'] }} . .{% endfor %}"
    tokenizer.save_pretrained(folder)
    chats = wanted("chat")
    assert chats != pytest.approx(plain, abs=1e-5)
    assert scores() == pytest.approx(chats, abs=1e-6)
    assert scores(context.codec) == pytest.approx(policys, abs=1e-6)
    (folder / SIDECAR).write_text('{"prompt_template": "{prompt}"}')  # it does say
    assert scores() == pytest.approx(plain, abs=1e-6)
    assert scores(context.codec) == pytest.approx(plain, abs=1e-6)


def test_with_a_users_files_the_named_model_judges_with_its_own_template(
    files_recipe: Callable[..., Path], context: Context, cases: list[Pairing], tmp_path: Path
) -> None:
    recipe = load_recipe(files_recipe(), ["prompt_template='{prompt}'"])
    judge = make_judge(Context(recipe, tmp_path / "run", 3))
    assert judge.name == str(tmp_path / "data" / "judge")
    original = reward_model_judge(str(context.paths.reward_model("sequence_edits")), context.runtime)
    assert judge.compare(cases) == original.compare(cases)
    assert len(set(judge.compare(cases))) > 1
    # One that does not say how it learned prompts gets the policy's template.
    (tmp_path / "data" / "judge" / SIDECAR).unlink()
    silent = make_judge(
        Context(load_recipe(files_recipe(), ["prompt_template='{prompt} <answer>'"]), tmp_path / "run", 3)
    )
    assert isinstance(silent, ScoreJudge)
    rows = [Response(case.id, case.prompt, case.first) for case in cases]
    codec = replace(context.codec, template="{prompt} <answer>")
    encoded = encode_samples(rows, codec)
    model = load_reward_model(context.paths.reward_model("sequence_edits"), context.runtime, codec=codec)
    expected = score_ids(model, [prompt for prompt, _ in encoded], [ids for _, ids in encoded])
    assert list(silent.score(rows)) == pytest.approx(expected, abs=1e-6)
