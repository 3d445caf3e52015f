"""Stages that ask an LLM, as a judge or an editor: what the commands do, with the options of the recipe's section."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from redpencil.config.asked import AskedConfig
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError, naming_key
from redpencil.pipeline.context import Context
from redpencil.providers.anthropic_client import AnthropicClient
from redpencil.providers.base import Completion, Provider
from redpencil.providers.cache import ResponseCache, open_cache
from redpencil.providers.client import Client
from redpencil.providers.hosted import HostedProvider, Limits
from redpencil.providers.job import ProviderJob
from redpencil.providers.openai_client import OpenAIClient
from redpencil.providers.prices import Price, cost, load_prices, price_of
from redpencil.runs import Stage

Row = TypeVar("Row")
Output = TypeVar("Output")
_CALLS: Final = 2
"""Calls of `ProviderJob.ask`: requests of the second depend on answers of the first, if a job has such."""


def check_asked(config: AskedConfig) -> None:
    """Check before a run what a stage that asks would stumble over: prices, the model, and whether there is an API key.

    Raises:
        RedpencilError: naming the key of the recipe.
    """
    price_for(config)
    client = _client(config, None)
    own_server = client is None or config.base_url is not None or os.environ.get(client.address_variable)
    if client is not None and not own_server and not os.environ.get(client.key_variable, "").strip():
        raise RedpencilError(
            f"no API key in {client.key_variable}",
            field=f"{config.NOUN}.provider",
            hint=f"export {client.key_variable}=...",
        )
    if config.provider == "local":
        from redpencil.models.checkpoints import check_model_folder

        assert config.model is not None
        with naming_key(f"{config.NOUN}.model"):
            check_model_folder(config.model)


def price_for(config: AskedConfig) -> Price | None:
    """Return the price of the model's tokens, if one is known.

    Raises:
        RedpencilError: if none is known and there is a `max_cost`, or the file of prices does not fit.
    """
    assert config.model is not None
    with naming_key(f"{config.NOUN}.prices"):
        price = price_of(load_prices(config.prices), config.model)
    if config.max_cost is not None and price is None:
        problem = f"no price is known for {config.model}"
        hint = f"give its price in {config.NOUN}.prices"
        raise RedpencilError(problem, field=f"{config.NOUN}.max_cost", hint=hint)
    return price


def cache_file(context: Context, config: AskedConfig, stage: str) -> Path:
    """Return the response cache of a stage, beside the stages: one a seed and stage, since what is asked side by side
    cannot share one.
    """
    named = config.cache
    if named is None:
        return context.root / f"{stage}.cache"
    parts = [named.name, *([] if stage == config.NOUN else [stage])]
    parts += [f"seed-{context.seed}"] if len(context.recipe.seeds) > 1 else []
    return named.with_name(".".join(parts))


def ask_all(
    context: Context,
    stage: Stage,
    config: AskedConfig,
    make_jobs: Callable[[ResponseCache], Mapping[str, ProviderJob[Row, Output]]],
) -> dict[str, list[Output]]:
    """Ask about all rows of some jobs and return their results by the jobs' names; what was answered before is not
    asked again.

    Raises:
        RedpencilError: if `max_cost` is reached first.
    """
    spent, done, cap, price = 0.0, 0, config.max_cost, price_for(config)

    def enough() -> bool:
        return cap is not None and spent >= cap

    with open_cache(cache_file(context, config, stage.name)) as cache:
        jobs = make_jobs(cache)
        for _ in range(_CALLS):
            total = done + sum(job.plan().to_ask for job in jobs.values())
            for job in jobs.values():
                for result in job.ask(enough):
                    done += 1
                    if isinstance(result, Completion) and result.usage is not None and price is not None:
                        spent += cost(result.usage, price)
                    stage.progress(done, total, f"{spent:.2f} dollars" if price is not None else "")
        # Jobs of their own count what was sent without success as still to ask.
        if enough() and any(job.plan().to_ask for job in make_jobs(cache).values()):
            raise RedpencilError(
                f"the answers of this run have cost {spent:.2f} dollars, and the {config.NOUN} is not done",
                field=f"{config.NOUN}.max_cost",
                hint=f"run it again to go on, with what is answered kept, or raise {config.NOUN}.max_cost",
            )
        results = {name: list(job.results()) for name, job in jobs.items()}
    if price is not None:
        stage.notes["cost"] = round(spent, 4)
    return results


def _client(config: AskedConfig, schema: Mapping[str, Any] | None) -> Client | None:
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


def provider_for(config: AskedConfig, context: Context, schema: Mapping[str, Any] | None = None) -> Provider:
    """Make the provider that the recipe's section names; `schema` is that of an answer in JSON."""
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
