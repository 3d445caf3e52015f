"""Who judges a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.evaluation.judges import OracleJudge
from redpencil.models.loading import load_reward_model
from redpencil.pipeline.context import Context
from redpencil.pipeline.judging import make_judge, reward_model_judge
from redpencil.recipe import load_recipe
from redpencil.records import Preference, Response, read_jsonl
from redpencil.training.reward import score_tokens


@pytest.fixture
def cases(context: Context) -> tuple[list[str], list[str], list[str]]:
    """Prompts, the policy's responses and the reference's, of which two answer nothing."""
    ours = list(read_jsonl(context.paths.outputs("sft"), Response))
    theirs = list(read_jsonl(context.paths.reference_outputs("evaluation"), Response))
    firsts, seconds = [row.response for row in ours], [row.response for row in theirs]
    return [row.prompt for row in ours], ["", firsts[1], *firsts[2:]], [seconds[0], firsts[1], *seconds[2:]]


def test_the_world_is_judged_by_its_oracle(context: Context, cases: tuple[list[str], list[str], list[str]]) -> None:
    judge = make_judge(context)
    assert isinstance(judge, OracleJudge)
    assert judge.compare(*cases) == [judge.oracle.prefers(*case) for case in zip(*cases, strict=True)]


def test_a_token_level_model_judges_by_the_mean_of_its_rewards(
    context: Context, cases: tuple[list[str], list[str], list[str]]
) -> None:
    """Eq. 1, worked out here from the rewards of the tokens."""
    folder = context.paths.reward_model("token_edits")
    model, codec, runtime = load_reward_model(folder, context.runtime), context.codec, context.runtime

    def mean_rewards(texts: list[str]) -> list[float]:
        tokens = [list(tokens.ids) for tokens in codec.encode_responses(texts)]
        rows = score_tokens(model.model, codec.encode_prompts(cases[0]), tokens, codec, runtime)
        return [sum(map(float, row)) / len(row) for row in rows]

    firsts, seconds = mean_rewards(cases[1]), mean_rewards(cases[2])
    verdicts = reward_model_judge(str(folder), runtime).compare(*cases)
    assert verdicts[1] is Preference.TIE
    for first, second, verdict in list(zip(firsts, seconds, verdicts, strict=True)):
        if abs(first - second) > 1e-6:
            assert (verdict is Preference.FIRST) == (first > second)
    assert len(set(verdicts)) == 3


def test_with_a_users_files_the_named_model_judges_with_its_own_template(
    files_recipe: Callable[..., Path], context: Context, cases: tuple[list[str], list[str], list[str]], tmp_path: Path
) -> None:
    recipe = load_recipe(files_recipe(), ["prompt_template='{prompt}'"])
    judge = make_judge(Context(recipe, tmp_path / "run", 3))
    assert judge.name == str(tmp_path / "data" / "judge")
    original = reward_model_judge(str(context.paths.reward_model("sequence_edits")), context.runtime)
    assert judge.compare(*cases) == original.compare(*cases)
