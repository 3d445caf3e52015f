"""The judge stage where a recipe names an LLM: what the command `judge` asks, without its options."""

from collections.abc import Mapping, Sequence

from redpencil.config.asked import JudgeConfig
from redpencil.errors import RedpencilError
from redpencil.evaluation.judge_templates import find_template
from redpencil.evaluation.judges import Pairing
from redpencil.evaluation.llm_judge import JudgeStyle, judge_job
from redpencil.pipeline.asking import ask_all, check_asked, price_for, provider_for
from redpencil.pipeline.context import Context
from redpencil.providers.cache import ResponseCache
from redpencil.providers.job import ProviderJob
from redpencil.records import Comparison, Preference
from redpencil.runs import Stage, derive_seed


def check_llm_judge(config: JudgeConfig) -> None:
    """Check before a run what its last stage would stumble over: the template, and as `check_asked`.

    Raises:
        RedpencilError: naming the key of the recipe.
    """
    try:
        style_of(config, 0)
    except RedpencilError as error:
        error.field = "judge.template"
        raise
    check_asked(config)


def style_of(config: JudgeConfig, seed: int) -> JudgeStyle:
    """Return how the LLM is asked."""
    return JudgeStyle(find_template(config.template), config.orders, derive_seed(seed, "judge"))


def judge_by_llm(
    context: Context, stage: Stage, pairings: Mapping[str, Sequence[Pairing]]
) -> dict[str, list[Comparison]]:
    """Ask the LLM of the recipe about pairings, by policy; what was answered before is not asked again.

    Raises:
        RedpencilError: if `judge.max_cost` is reached first, or nothing was answered.
    """
    config = context.recipe.who_judges
    style, price = style_of(config, context.seed), price_for(config)
    provider = provider_for(config, context, style.template.answer.schema)

    def make_jobs(cache: ResponseCache) -> dict[str, ProviderJob[Pairing, Comparison]]:
        return {name: judge_job(rows, provider, style, cache, price) for name, rows in pairings.items()}

    judged = ask_all(context, stage, config, make_jobs)
    verdicts = [row for rows in judged.values() for row in rows]
    if all(row.preference is Preference.NONE for row in verdicts):
        reasons = [order["why"] for row in verdicts for order in row.meta.get("verdicts", ()) if "why" in order]
        raise RedpencilError(
            f"the judge gave no verdict at all{f': {reasons[0]}' if reasons else ''}",
            field="judge.model",
            hint="check model, server and API key, then run it again",
        )
    return judged
