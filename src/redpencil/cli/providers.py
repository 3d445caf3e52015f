"""Who answers: a hosted model, an OpenAI-compatible server, a local model, or the small world's script."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from redpencil.config import Recipe, WorldConfig
from redpencil.errors import RedpencilError
from redpencil.runs import derive_seed

if TYPE_CHECKING:
    from redpencil.providers.base import Provider
    from redpencil.providers.hosted import Client
    from redpencil.providers.limits import Limits
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
ModelOption = Annotated[
    str | None, typer.Option(metavar="NAME", rich_help_panel=PANEL, help="Name of the model; for local its folder.")
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel=PANEL,
        help="Of another server, such as http://localhost:8000/v1 (vLLM) or http://localhost:11434/v1 (Ollama).",
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


@dataclass(frozen=True, slots=True)
class Choice:
    """What the options say about who answers."""

    provider: str
    model: str | None
    base_url: str | None
    max_tokens: int
    temperature: float | None


def hosted_client(choice: Choice) -> "Client | None":
    """The client of a hosted model; None for providers that run here.

    Raises:
        RedpencilError: if the provider is unknown, or an option is missing or has no meaning for it.
    """
    if choice.provider not in _MAKERS:
        raise RedpencilError(
            f"no provider called {choice.provider!r}",
            field="--provider",
            way_out=f"one of {', '.join(_MAKERS)}; edits made elsewhere come in with `redpencil import`",
        )
    make = _MAKERS[choice.provider]
    if choice.base_url is not None and make is None:
        raise RedpencilError(
            f"the provider {choice.provider!r} asks no server", field="--base-url", way_out="leave --base-url out"
        )
    if (choice.model is None) != (choice.provider == "world"):
        problem = "needs a model" if choice.model is None else "has no models"
        raise RedpencilError(
            f"the provider {choice.provider!r} {problem}",
            field="--model",
            way_out="name one with --model" if choice.model is None else "leave --model out",
        )
    return None if make is None else make(choice)


def _anthropic(choice: Choice) -> "Client":
    from redpencil.providers.anthropic_client import AnthropicClient

    assert choice.model is not None
    return AnthropicClient(
        choice.model, max_tokens=choice.max_tokens, temperature=choice.temperature, base_url=choice.base_url
    )


def _openai(choice: Choice) -> "Client":
    from redpencil.providers.openai_client import OpenAIClient

    assert choice.model is not None
    return OpenAIClient(
        choice.model, max_tokens=choice.max_tokens, temperature=choice.temperature, base_url=choice.base_url
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
    from redpencil.providers.scripted import ScriptedProvider
    from redpencil.world.editor import scripted_editor
    from redpencil.world.facts import make_world

    world = recipe.world or WorldConfig()
    rule = scripted_editor(
        make_world(world.facts_seed), derive_seed(recipe.seeds[0], "editor"), world.edit_repair, world.edit_slip
    )
    return ScriptedProvider("world", rule)


def price_of_choice(choice: Choice, prices: "Prices") -> "Price | None":
    """What the chosen model costs; None where no price is known or a server of one's own answers."""
    from redpencil.providers.prices import price_of

    return None if choice.model is None else price_of(prices, choice.model)
