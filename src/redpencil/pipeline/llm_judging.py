"""The judge stage where a recipe names an LLM: what the command `judge` asks, without its options."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redpencil.config import JudgeConfig, Recipe
from redpencil.errors import RedpencilError, naming_key
from redpencil.evaluation.judge_templates import find_template
from redpencil.evaluation.judges import Pairing
from redpencil.evaluation.llm_judge import JudgeStyle, judge_job
from redpencil.pipeline.context import Context
from redpencil.providers.anthropic_client import AnthropicClient
from redpencil.providers.base import Completion, Provider
from redpencil.providers.cache import open_cache
from redpencil.providers.client import Client
from redpencil.providers.hosted import HostedProvider, Limits
from redpencil.providers.openai_client import OpenAIClient
from redpencil.providers.prices import Price, cost, load_prices, price_of
from redpencil.records import Comparison, Preference
from redpencil.runs import Stage, derive_seed

CACHE = "judge.cache"
"""The response cache in a run folder, beside the stages, so that a stage that was stopped asks for nothing twice."""


def check_llm_judge(config: JudgeConfig) -> None:
    """Check before a run what its last stage would stumble over: template, prices, and whether there is an API key.

    Raises:
        RedpencilError: naming the key of the recipe.
    """
    try:
        style_of(config, 0)
    except RedpencilError as error:
        error.field = "judge.template"
        raise
    _price(config)
    client = _client(config, None)
    own_server = client is None or config.base_url is not None or os.environ.get(client.address_variable)
    if client is not None and not own_server and not os.environ.get(client.key_variable, "").strip():
        raise RedpencilError(
            f"no API key in {client.key_variable}", field="judge.provider", hint=f"export {client.key_variable}=..."
        )
    if config.provider == "local":
        from redpencil.models.checkpoints import check_model_folder

        assert config.model is not None
        with naming_key("judge.model"):
            check_model_folder(config.model)


def style_of(config: JudgeConfig, seed: int) -> JudgeStyle:
    """Return how the LLM is asked."""
    return JudgeStyle(find_template(config.template), config.orders, derive_seed(seed, "judge"))


def cache_file(context: Context) -> Path:
    """Return the response cache: one a seed, since seeds that are judged side by side cannot share one."""
    named = context.recipe.who_judges.cache
    if named is None:
        return context.root / CACHE
    return named.with_name(f"{named.name}.seed-{context.seed}") if len(context.recipe.seeds) > 1 else named


def judge_by_llm(
    context: Context, stage: Stage, pairings: Mapping[str, Sequence[Pairing]]
) -> dict[str, list[Comparison]]:
    """Ask the LLM of the recipe about pairings, by policy; what was answered before is not asked again.

    Raises:
        RedpencilError: if `judge.max_cost` is reached first, or nothing was answered.
    """
    config = context.recipe.who_judges
    style, price = style_of(config, context.seed), _price(config)
    provider = _provider(config, context, style.template.answer.schema)
    spent, done, cap = 0.0, 0, config.max_cost

    def enough() -> bool:
        return cap is not None and spent >= cap

    with open_cache(cache_file(context)) as cache:
        jobs = {name: judge_job(rows, provider, style, cache, price) for name, rows in pairings.items()}
        total = sum(job.plan().to_ask for job in jobs.values())
        for job in jobs.values():
            for result in job.ask(enough):
                done += 1
                if isinstance(result, Completion) and result.usage is not None and price is not None:
                    spent += cost(result.usage, price)
                stage.progress(done, total, f"{spent:.2f} dollars" if price is not None else "")
        # A job of its own counts what was sent without success as still to ask.
        if enough() and any(judge_job(rows, provider, style, cache).plan().to_ask for rows in pairings.values()):
            raise RedpencilError(
                f"the answers of this run have cost {spent:.2f} dollars, and the judge is not done",
                field="judge.max_cost",
                hint="run it again to go on, with what is answered kept, or raise judge.max_cost",
            )
        judged = {name: list(job.results()) for name, job in jobs.items()}
    verdicts = [row for rows in judged.values() for row in rows]
    if all(row.preference is Preference.NONE for row in verdicts):
        reasons = [order["why"] for row in verdicts for order in row.meta.get("verdicts", ()) if "why" in order]
        raise RedpencilError(
            f"the judge gave no verdict at all{f': {reasons[0]}' if reasons else ''}",
            field="judge.model",
            hint="check model, server and API key, then run it again",
        )
    if price is not None:
        stage.notes["cost"] = round(spent, 4)
    return judged


def _price(config: JudgeConfig) -> Price | None:
    assert config.model is not None
    with naming_key("judge.prices"):
        price = price_of(load_prices(config.prices), config.model)
    if config.max_cost is not None and price is None:
        raise RedpencilError(
            f"no price is known for {config.model}", field="judge.max_cost", hint="give its price in judge.prices"
        )
    return price


def _client(config: JudgeConfig, schema: Mapping[str, Any] | None) -> Client | None:
    kinds: dict[str, type[Client]] = {"anthropic": AnthropicClient, "openai": OpenAIClient}
    if config.provider not in kinds:
        return None
    assert config.model is not None
    return kinds[config.provider](
        config.model,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        base_url=config.base_url,
        schema=schema,
    )


def _provider(config: JudgeConfig, context: Context, schema: Mapping[str, Any] | None) -> Provider:
    client = _client(config, schema)
    if client is not None:
        return HostedProvider(client, Limits(concurrency=config.concurrency))
    from redpencil.models.local import LocalProvider

    return LocalProvider(
        Path(config.model or ""),
        max_tokens=config.max_tokens,
        temperature=config.temperature or 0.0,
        batch_size=context.recipe.answers_at_once,
        runtime=context.runtime.alone,
        seed=context.seed,
        chat_options=_named_chat_options(context.recipe),
    )


def _named_chat_options(recipe: Recipe) -> dict[str, Any]:
    """The chat options that the recipe names itself; a checkpoint has others of its own."""
    return {key: value for key, value in recipe.chat_options.items() if key in recipe.model_fields_set}
