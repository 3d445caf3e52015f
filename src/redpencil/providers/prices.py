"""The cost of answers: a built-in table of prices, which a user's own extends or replaces."""

import math
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

from pydantic import Field

from redpencil.providers.base import Usage
from redpencil.sections import Section, parse_yaml, read_text

_DATE: Final = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2})$")
"""Suffix of a snapshot of a model at Anthropic and OpenAI."""


class Price(Section):
    """Price of a model, in US dollars per million tokens."""

    input: float = Field(ge=0, description="A million tokens of requests.")
    output: float = Field(ge=0, description="A million tokens of answers, thinking included.")
    batch_discount: float = Field(0.5, ge=0, le=1, description="Share by which batches are cheaper.")
    as_of: date | None = Field(None, description="Date when the price was read.")
    source: str = Field("", description="Page where the price was read.")


class PriceTable(Section):
    """Prices by the name of the model."""

    models: dict[str, Price] = Field(description="Name of the model, and its price.")


Prices = Mapping[str, Price]

_PAGES: Final = {
    "claude": "https://platform.claude.com/docs/en/about-claude/pricing",
    "gpt": "https://developers.openai.com/api/docs/pricing",
}
"""The providers' own pages, by the first part of their models' names."""

_OLD_DAYS: Final = 90


def load_prices(override: Path | None = None) -> Prices:
    """Load the built-in prices, extended and replaced by those of a user's file.

    Raises:
        RedpencilError: naming file and field, if the user's file is not such a table.
    """
    built_in = _read(Path(__file__).with_name("prices.yaml"))
    return built_in if override is None else {**built_in, **_read(override)}


def _read(path: Path) -> Prices:
    hint = "write models: {NAME: {input: DOLLARS, output: DOLLARS}}, per million tokens"
    return parse_yaml(read_text(path, "the prices"), PriceTable, what="a price table", file=path, hint=hint).models


def price_of(prices: Prices, model: str) -> Price | None:
    """Look up a model by its exact name or the name without a snapshot's date; None if its price is unknown."""
    return prices.get(model) or prices.get(_DATE.sub("", model))


def cost(usage: Usage, price: Price, *, batch: bool = False) -> float:
    """Return the price of the tokens in US dollars."""
    dollars = (usage.input_tokens * price.input + usage.output_tokens * price.output) / 1_000_000
    return dollars * (1 - price.batch_discount) if batch else dollars


def price_page(model: str) -> str | None:
    """Return the page with the prices of a model's provider, if it is known."""
    return _PAGES.get(model.split("-")[0])


def days_too_old(price: Price, today: date) -> int | None:
    """Return the age of a price in days if it is so old that it may have changed, else None."""
    age = (today - price.as_of).days if price.as_of is not None else 0
    return age if age > _OLD_DAYS else None


def format_dollars(dollars: float) -> str:
    """Format a sum in cents, or with two significant digits if that is finer: $12.34, $0.0029."""
    cents_do = dollars == 0 or dollars >= 0.1
    digits = 2 if cents_do else 1 - math.floor(math.log10(dollars))
    return f"${dollars:,.{digits}f}"
