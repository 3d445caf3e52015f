"""Who answers: a hosted model, an OpenAI-compatible server, a local model, or the small world's script."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from redpencil.config import Recipe, WorldConfig
from redpencil.errors import RedpencilError
from redpencil.runs import derive_seed

if TYPE_CHECKING:
    from redpencil.providers.base import Provider
    from redpencil.providers.hosted import Client, Limits
    from redpencil.providers.openai_client import LengthParameter
    from redpencil.providers.prices import Price, Prices

PANEL: Final = "Who answers"
LIMITS_PANEL: Final = "Pace and cost"

ProviderOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=PANEL,
        help="anthropic; openai, for every OpenAI-compatible server; local, a Hugging Face folder; world, the small "
        "world's scripted editor.",
    ),
]
JudgeProviderOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=PANEL,
        help="Of an LLM: anthropic; openai, for every OpenAI-compatible server; local, a Hugging Face folder.",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option(metavar="NAME", rich_help_panel=PANEL, help="Name of the model; for local its folder.")
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel=PANEL,
        help="Of another server, such as http://localhost:8000/v1 (vLLM) or http://localhost:11434/v1 (Ollama). "
        "Default: OPENAI_BASE_URL or ANTHROPIC_BASE_URL, else the provider's own.",
    ),
]
ExtraOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        rich_help_panel=PANEL,
        help="Further parameter of the API; the value is JSON or text, such as reasoning_effort=low or "
        'thinking={"type": "disabled"}. Repeatable.',
    ),
]
LengthParameterOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=PANEL,
        help="Under which name openai gets --max-tokens: max_tokens or max_completion_tokens. Default: the second for "
        "OpenAI itself and for its batch files, the first for other servers; in a batch file for another server only "
        "where --base-url names it.",
    ),
]
MaxTokensOption = Annotated[
    int, typer.Option(min=1, metavar="N", rich_help_panel=PANEL, help="Most tokens of an answer.")
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(min=0, metavar="T", rich_help_panel=PANEL, help="Default: the server's own; for local 0, greedy."),
]
ConcurrencyOption = Annotated[
    int, typer.Option(min=1, metavar="N", rich_help_panel=LIMITS_PANEL, help="Requests under way at once.")
]
RequestsPerMinuteOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", rich_help_panel=LIMITS_PANEL, help="Most requests a minute.")
]
TokensPerMinuteOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", rich_help_panel=LIMITS_PANEL, help="Most tokens a minute, asked and answered."),
]
TimeoutOption = Annotated[
    float, typer.Option(min=0.1, metavar="SECONDS", rich_help_panel=LIMITS_PANEL, help="Longest wait for an answer.")
]
RetriesOption = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", rich_help_panel=LIMITS_PANEL, help="Further tries after an error that may pass by itself."
    ),
]
PricesOption = Annotated[
    Path | None,
    typer.Option(metavar="YAML", rich_help_panel=LIMITS_PANEL, help="Prices that replace or extend those built in."),
]
MaxCostOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="DOLLARS",
        rich_help_panel=LIMITS_PANEL,
        help="Ask nothing more when the answers of this run have cost so much.",
    ),
]
JournalOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="SQLite file that keeps every answer, so that none is paid for twice. Default: OUT with .journal "
        "behind it.",
    ),
]
DryRunOption = Annotated[bool, typer.Option(help="Say what would be asked and what it would cost; ask nobody.")]
BatchOutOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write what is to be asked as the provider's batch files; ask nobody."),
]
BatchInOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Take answers from the results of a batch; ask nobody. Repeatable."),
]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the options say about who answers."""

    provider: str
    model: str | None
    base_url: str | None
    max_tokens: int
    temperature: float | None
    length_parameter: "LengthParameter | None" = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None


_OF_THE_REQUEST: Final = {
    "model": "--model",
    "max_tokens": "--max-tokens",
    "max_completion_tokens": "--max-tokens",
    "temperature": "--temperature",
}


def parse_extra(given: Sequence[str] | None) -> dict[str, Any]:
    """The parameters of `--extra`.

    Raises:
        RedpencilError: if one is no KEY=VALUE, or is set elsewhere.
    """
    found: dict[str, Any] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not key or not equals or not _is_text(text):
            raise RedpencilError(f"not a parameter: {text!r}", field="--extra", hint="write KEY=VALUE")
        if key in _OF_THE_REQUEST:
            raise RedpencilError(f"{key} has a flag", field="--extra", hint=f"give {_OF_THE_REQUEST[key]}")
        if key in ("messages", "system", "stream", "n"):
            raise RedpencilError(f"{key} is not yours to set", field="--extra", hint=f"leave {key} out")
        try:
            found[key] = json.loads(value, parse_constant=_no_number)
        except (ValueError, RecursionError):
            found[key] = value
        if not _is_text(json.dumps(found[key], ensure_ascii=False)):
            raise RedpencilError(f"{key} holds half of a character", field="--extra", hint="write whole characters")
    return found


def _no_number(name: str) -> None:
    raise ValueError(name)


def _is_text(text: str) -> bool:
    """Whether UTF-8 can hold it: the shell may hand over anything."""
    with suppress(UnicodeEncodeError):
        text.encode()
        return True
    return False


def parse_length_parameter(given: str | None, provider: str, *, for_openai: bool) -> "LengthParameter | None":
    """The parameter that `--length-parameter` names; for OpenAI itself that which it takes, whatever is around.

    Raises:
        RedpencilError: if there is no such parameter, or the provider knows but one.
    """
    if given is not None and provider != "openai":
        raise RedpencilError(
            f"the provider {provider!r} has but one", field="--length-parameter", hint="leave --length-parameter out"
        )
    if given is None:
        return "max_completion_tokens" if for_openai and provider == "openai" else None
    known: tuple[LengthParameter, ...] = ("max_tokens", "max_completion_tokens")
    for name in known:
        if given == name:
            return name
    raise RedpencilError(f"no such parameter: {given!r}", field="--length-parameter", hint=" or ".join(known))


_OF_SERVERS: Final = ("extra", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "retries")


def refuse_options_of_servers(context: typer.Context, provider: str) -> None:
    """Refuse options that mean nothing to a provider that runs here.

    Raises:
        RedpencilError: naming the first one that was given.
    """
    for name in _OF_SERVERS:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            flag = f"--{name.replace('_', '-')}"
            raise RedpencilError(f"the provider {provider!r} asks no server", field=flag, hint=f"leave {flag} out")


def told(choice: Choice, client: "Client | None", provider: "Provider", limits: "Limits") -> str:
    """Who answers, where, and how many requests are under way at once."""
    if client is None:
        return f"{provider.name}, in this process"
    named = choice.base_url is None and bool(os.environ.get(client.address_variable))
    source = f" (from {client.address_variable})" if named else ""
    return f"{provider.name} at {client.server}{source}, {limits.concurrency} at once"


def hosted_client(choice: Choice) -> "Client | None":
    """The client of a hosted model; None for providers that run here.

    Raises:
        RedpencilError: if the provider is unknown, or an option is missing or has no meaning for it.
    """
    if choice.provider not in _MAKERS:
        raise RedpencilError(
            f"no provider called {choice.provider!r}",
            field="--provider",
            hint=f"one of {', '.join(_MAKERS)}; edits made elsewhere come in with `redpencil import`",
        )
    make = _MAKERS[choice.provider]
    if choice.temperature == math.inf:
        raise RedpencilError("a temperature without end has no meaning", field="--temperature", hint="give a number")
    if choice.model is not None and not _is_text(choice.model):
        raise RedpencilError(f"not a name: {choice.model!r}", field="--model", hint="give it in UTF-8")
    if choice.base_url is not None and make is None:
        raise RedpencilError(
            f"the provider {choice.provider!r} asks no server", field="--base-url", hint="leave --base-url out"
        )
    if (choice.model is None) != (choice.provider == "world"):
        problem = "needs a model" if choice.model is None else "has no models"
        raise RedpencilError(
            f"the provider {choice.provider!r} {problem}",
            field="--model",
            hint="name one with --model" if choice.model is None else "leave --model out",
        )
    return None if make is None else make(choice)


def _anthropic(choice: Choice) -> "Client":
    from redpencil.providers.anthropic_client import AnthropicClient

    assert choice.model is not None
    return AnthropicClient(
        choice.model,
        max_tokens=choice.max_tokens,
        temperature=choice.temperature,
        base_url=choice.base_url,
        extra=choice.extra,
        schema=choice.schema,
    )


def _openai(choice: Choice) -> "Client":
    from redpencil.providers.openai_client import OpenAIClient

    assert choice.model is not None
    return OpenAIClient(
        choice.model,
        max_tokens=choice.max_tokens,
        temperature=choice.temperature,
        base_url=choice.base_url,
        length_parameter=choice.length_parameter,
        extra=choice.extra,
        schema=choice.schema,
    )


_MAKERS: Final[Mapping[str, Callable[[Choice], "Client"] | None]] = {
    "anthropic": _anthropic,
    "openai": _openai,
    "local": None,
    "world": None,
}


def make_provider(choice: Choice, client: "Client | None", limits: "Limits", recipe: Recipe) -> "Provider":
    """Whoever the options name; models are loaded here, and not before."""
    if client is not None:
        from redpencil.providers.hosted import HostedProvider

        return HostedProvider(client, limits)
    return _local(choice, recipe) if choice.provider == "local" else _world(recipe)


def _local(choice: Choice, recipe: Recipe) -> "Provider":
    from redpencil.cli.options import runtime_of
    from redpencil.models.local import LocalProvider

    assert choice.model is not None
    return LocalProvider(
        Path(choice.model),
        max_tokens=choice.max_tokens,
        temperature=choice.temperature or 0.0,
        batch_size=recipe.sampling.batch_size,
        runtime=runtime_of(recipe),
        seed=recipe.seeds[0],
    )


def _world(recipe: Recipe) -> "Provider":
    from redpencil.providers.base import ScriptedProvider
    from redpencil.world.build import make_oracle
    from redpencil.world.editor import scripted_editor

    world = recipe.world or WorldConfig()
    seed = derive_seed(recipe.seeds[0], "editor")
    rule = scripted_editor(make_oracle(world), seed, world.edit_repair, world.edit_slip)
    return ScriptedProvider("world", rule)


def price_of_choice(choice: Choice, prices: "Prices") -> "Price | None":
    """What a model of that name costs, whichever server answers; None where no price is known."""
    from redpencil.providers.prices import price_of

    return None if choice.model is None else price_of(prices, choice.model)


def known_price(choice: Choice, prices: Path | None, max_cost: float | None) -> "Price | None":
    """The price of the model, from the prices that ship and the user's own; None where none is known.

    Raises:
        RedpencilError: if the user's file is no price table, or a cost is limited that nobody can tell.
    """
    from redpencil.providers.prices import load_prices

    price = price_of_choice(choice, load_prices(prices))
    if max_cost is not None and price is None:
        raise RedpencilError(
            f"no price is known for {choice.model}", field="--max-cost", hint="give its price with --prices"
        )
    return price


def limits_of(
    concurrency: int, requests_per_minute: int | None, tokens_per_minute: int | None, timeout: float, retries: int
) -> "Limits":
    """Pace and patience."""
    from redpencil.providers.hosted import Limits

    return Limits(concurrency, requests_per_minute, tokens_per_minute, timeout, retries)
