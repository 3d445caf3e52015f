"""The options that `edit` and `judge` share: the provider, its limits and prices, and the files of a job."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import typer

from redpencil.cli.options import JsonOption, RecipeOptions, named_chat_options, option, runtime_of
from redpencil.cli.output import check_out_file
from redpencil.config.data import WorldConfig
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError
from redpencil.providers.anthropic_client import AnthropicClient
from redpencil.providers.base import Provider, ScriptedProvider
from redpencil.providers.cache import ResponseCache, open_cache
from redpencil.providers.client import Client
from redpencil.providers.hosted import HostedProvider, Limits
from redpencil.providers.openai_client import LengthParameter, OpenAIClient
from redpencil.providers.prices import Price, load_prices, price_of
from redpencil.runs import derive_seed
from redpencil.text import has_half_pair, parse_json

MODEL_PANEL: Final = "Who answers"
_LIMITS_PANEL: Final = "Pace and cost"
_PROVIDERS: Final = ("anthropic", "openai", "local", "world")
_OF_SERVERS: Final = ("extra", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "retries")
_OF_THE_REQUEST: Final = {
    "model": "--model",
    "max_tokens": "--max-tokens",
    "max_completion_tokens": "--max-tokens",
    "temperature": "--temperature",
}


@dataclass(frozen=True, slots=True)
class JobOptions(RecipeOptions):
    """The options that all commands with a provider share."""

    model: Annotated[str | None, option("NAME", "Name of the model; for local its folder.", panel=MODEL_PANEL)] = None
    base_url: Annotated[
        str | None,
        option(
            "URL",
            "Another server, such as http://localhost:8000/v1 (vLLM) or http://localhost:11434/v1 (Ollama). "
            "Default: OPENAI_BASE_URL or ANTHROPIC_BASE_URL, else the provider's own.",
            panel=MODEL_PANEL,
        ),
    ] = None
    max_tokens: Annotated[int, option("N", "Most tokens of an answer.", panel=MODEL_PANEL, min=1)] = 4096
    temperature: Annotated[
        float | None, option("T", "Default: the server's own; for local 0, greedy.", panel=MODEL_PANEL, min=0)
    ] = None
    length_parameter: Annotated[
        str | None,
        option(
            "NAME",
            "Name under which --max-tokens is sent to openai: max_tokens or max_completion_tokens. Default: the "
            "second for OpenAI itself and for its batch files, the first for other servers; in a batch file for "
            "another server only where --base-url names it.",
            panel=MODEL_PANEL,
        ),
    ] = None
    extra: Annotated[
        list[str] | None,
        option(
            "KEY=VALUE",
            "Further parameter of the API; the value is JSON or text, such as reasoning_effort=low or "
            'thinking={"type": "disabled"}. Repeatable.',
            panel=MODEL_PANEL,
        ),
    ] = None
    cache: Annotated[
        Path | None,
        option(
            "FILE",
            "Response cache: an SQLite file that keeps every answer, so that none is paid for twice. "
            "Default: OUT.cache.",
            "--cache",
            "--journal",
        ),
    ] = None
    dry_run: Annotated[bool, typer.Option(help="Say what would be asked and what it would cost; send nothing.")] = False
    batch_out: Annotated[
        Path | None, option("FILE", "Write the requests as the provider's batch files; send nothing.")
    ] = None
    batch_in: Annotated[
        list[Path] | None, option("FILE", "Take answers from the results of a batch; send nothing. Repeatable.")
    ] = None
    concurrency: Annotated[int, option("N", "Requests in progress at once.", panel=_LIMITS_PANEL, min=1)] = 16
    requests_per_minute: Annotated[int | None, option("N", "Most requests a minute.", panel=_LIMITS_PANEL, min=1)] = (
        None
    )
    tokens_per_minute: Annotated[
        int | None, option("N", "Most tokens a minute, of requests and answers.", panel=_LIMITS_PANEL, min=1)
    ] = None
    timeout: Annotated[float, option("SECONDS", "Longest wait for an answer.", panel=_LIMITS_PANEL, min=0.1)] = 120.0
    retries: Annotated[
        int, option("N", "Further tries after an error that may be temporary.", panel=_LIMITS_PANEL, min=0)
    ] = 5
    prices: Annotated[
        Path | None, option("YAML", "Prices that replace or extend those built in.", panel=_LIMITS_PANEL)
    ] = None
    max_cost: Annotated[
        float | None,
        option(
            "DOLLARS", "Send nothing more when the answers of this run have cost this much.", panel=_LIMITS_PANEL, min=0
        ),
    ] = None
    as_json: JsonOption = False


OF_ALL_COMMANDS: Final = ("as_json", *(one.name for one in fields(RecipeOptions)))
"""Those of `JobOptions` that are not about a provider."""


def given_flag(context: typer.Context, names: Sequence[str]) -> str | None:
    """Return the first of the options that the user gave, as a flag; None if there is none."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            return f"--{name.replace('_', '-')}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The checked options of a command: the client of a hosted model (None for others), its price, and the files.

    `cache_file` is None for a cache in memory.
    """

    options: JobOptions
    provider_name: str
    recipe: Recipe
    out: Path
    cache_file: Path | None
    client: Client | None
    price: Price | None
    limits: Limits

    def open_cache(self) -> AbstractContextManager[ResponseCache]:
        """Open the response cache; a dry run makes no file."""
        file = self.cache_file
        return open_cache(None if self.options.dry_run and file is not None and not file.exists() else file)

    def make_provider(self) -> Provider:
        """Make the provider; a local model is loaded when it is first asked."""
        if self.client is not None:
            return HostedProvider(self.client, self.limits)
        if self.provider_name == "world":
            return _scripted_editor(self.recipe)
        from redpencil.models.local import LocalProvider

        assert self.options.model is not None
        return LocalProvider(
            Path(self.options.model),
            max_tokens=self.options.max_tokens,
            temperature=self.options.temperature or 0.0,
            batch_size=self.recipe.answers_at_once,
            runtime=runtime_of(self.recipe),
            seed=self.recipe.seeds[0],
            chat_options=named_chat_options(self.recipe),
        )


def prepare(
    context: typer.Context,
    provider: str,
    options: JobOptions,
    *,
    out: Path,
    inputs: Sequence[Path],
    template: Path | None,
    schema: Mapping[str, Any] | None = None,
) -> Setup:
    """Check the options of a command before anything is read or sent.

    Args:
        inputs: files of the rows.
        template: file of the request's template, if it is a file.
        schema: JSON schema of the answers, if it is sent.

    Raises:
        RedpencilError: naming the option that is wrong, or the file that would be overwritten.
    """
    chosen = [options.dry_run, options.batch_out is not None, bool(options.batch_in)]
    if sum(chosen) > 1:
        raise RedpencilError(
            "--dry-run, --batch-out and --batch-in exclude each other", hint="give one of them at a time"
        )
    client = _make_client(provider, options, schema)
    flag = given_flag(context, _OF_SERVERS)
    if client is None and flag is not None:
        raise RedpencilError(f"the provider {provider!r} has no server", field=flag, hint=f"leave {flag} out")
    cache_file = options.cache or (None if provider == "world" else default_cache(out))
    check_files(options, out, cache_file, inputs, template)
    price = _price(options)
    limits = Limits(
        options.concurrency, options.requests_per_minute, options.tokens_per_minute, options.timeout, options.retries
    )
    return Setup(
        options=options,
        provider_name=provider,
        recipe=options.settings(),
        out=out,
        cache_file=cache_file,
        client=client,
        price=price,
        limits=limits,
    )


def default_cache(out: Path) -> Path:
    """Return the default response cache of a file of results: OUT.cache, or OUT.journal if an older redpencil made it.

    Raises:
        RedpencilError: if `out` is a folder without a name, such as `.` or `/`.
    """
    if not out.name:
        raise RedpencilError("the results cannot be written to a folder", file=out, hint="name a file in it")
    older = out.with_name(f"{out.name}.journal")
    return older if older.exists() else out.with_name(f"{out.name}.cache")


def check_files(
    options: JobOptions, out: Path, cache_file: Path | None, inputs: Sequence[Path], template: Path | None
) -> None:
    """Check that the inputs can be read more than once and that no result overwrites another file of the command.

    Raises:
        RedpencilError: naming the file.
    """
    for path in inputs:
        if path.exists() and not path.is_file():
            raise RedpencilError(
                "responses are read several times, and this is not a plain file",
                file=path,
                hint="write them to a file first",
            )
    for path in filter(None, (out, options.batch_out)):
        if cache_file is not None and os.path.realpath(path) == os.path.realpath(cache_file):
            raise RedpencilError("it is also the response cache", file=path, hint="choose another file")
        check_out_file(path, *inputs, cache_file, template, options.prices, *(options.batch_in or ()))


def _make_client(provider: str, options: JobOptions, schema: Mapping[str, Any] | None) -> Client | None:
    extra = parse_extra(options.extra)
    for_openai = provider == "openai" and options.batch_out is not None and options.base_url is None
    length = _length_parameter(options.length_parameter, provider, for_openai=for_openai)
    if provider not in _PROVIDERS:
        raise RedpencilError(
            f"no provider called {provider!r}",
            field="--provider",
            hint=f"one of {', '.join(_PROVIDERS)}; `redpencil import` reads edits that were made elsewhere",
        )
    hosted = provider in ("anthropic", "openai")
    if options.base_url is not None and not hosted:
        raise RedpencilError(
            f"the provider {provider!r} has no server", field="--base-url", hint="leave --base-url out"
        )
    if (options.model is None) != (provider == "world"):
        problem = "needs a model" if options.model is None else "has no models"
        raise RedpencilError(
            f"the provider {provider!r} {problem}",
            field="--model",
            hint="name one with --model" if options.model is None else "leave --model out",
        )
    if not hosted:
        return None
    assert options.model is not None
    shared: dict[str, Any] = {
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "base_url": options.base_url,
        "extra": extra,
        "schema": schema,
    }
    if provider == "anthropic":
        return AnthropicClient(options.model, **shared)
    return OpenAIClient(options.model, length_parameter=length, **shared)


def parse_extra(texts: Sequence[str] | None) -> dict[str, Any]:
    """Parse the parameters of `--extra`.

    Raises:
        RedpencilError: if one is not KEY=VALUE, or is set elsewhere.
    """
    parameters: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or not equals or has_half_pair(text):
            raise RedpencilError(f"not a parameter: {text!r}", field="--extra", hint="write KEY=VALUE")
        if key in _OF_THE_REQUEST:
            raise RedpencilError(f"{key} has a flag", field="--extra", hint=f"give {_OF_THE_REQUEST[key]}")
        if key in ("messages", "system", "stream", "n"):
            raise RedpencilError(f"redpencil sets {key} itself", field="--extra", hint=f"leave {key} out")
        try:
            parameters[key] = json.loads(value, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            parameters[key] = value
        else:
            try:
                parse_json(value)
            except ValueError as error:
                raise RedpencilError(f"{key}: {error}", field="--extra", hint="write the key once") from None
        if has_half_pair(json.dumps(parameters[key], ensure_ascii=False)):
            raise RedpencilError(f"{key} holds half of a character", field="--extra", hint="write whole characters")
    return parameters


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are not JSON, so a value that holds them is sent as text."""
    raise ValueError(name)


def _length_parameter(name: str | None, provider: str, *, for_openai: bool) -> LengthParameter | None:
    if name is None:
        return "max_completion_tokens" if for_openai else None
    if provider != "openai":
        raise RedpencilError(
            f"the provider {provider!r} has only one", field="--length-parameter", hint="leave --length-parameter out"
        )
    known: tuple[LengthParameter, ...] = get_args(LengthParameter)
    for one in known:
        if name == one:
            return one
    raise RedpencilError(f"no such parameter: {name!r}", field="--length-parameter", hint=" or ".join(known))


def _price(options: JobOptions) -> Price | None:
    prices = load_prices(options.prices)
    price = None if options.model is None else price_of(prices, options.model)
    if options.max_cost is not None and price is None:
        raise RedpencilError(
            f"no price is known for {options.model}", field="--max-cost", hint="give its price with --prices"
        )
    return price


def _scripted_editor(recipe: Recipe) -> Provider:
    from redpencil.world.build import make_oracle
    from redpencil.world.editor import scripted_editor

    world = recipe.world or WorldConfig()
    seed = derive_seed(recipe.seeds[0], "editor")
    return ScriptedProvider("world", scripted_editor(make_oracle(world), seed, world.edit_repair, world.edit_slip))
