"""Prices and costs."""

from datetime import date
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.base import Usage
from redpencil.providers.prices import (
    Price,
    cost,
    days_too_old,
    format_dollars,
    load_prices,
    price_of,
    price_page,
)


def test_every_price_that_ships_says_when_and_where_it_was_read() -> None:
    prices = load_prices()
    assert {"claude-sonnet-4-5", "gpt-5-mini"} <= prices.keys()
    for name, price in prices.items():
        assert price.as_of is not None, name
        assert price.source.startswith("https://"), name
        assert 0 < price.input < price.output, name


def test_a_model_is_found_by_its_name_or_without_the_date_of_a_snapshot() -> None:
    prices = load_prices()
    for dated in ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5@20250929"):
        assert price_of(prices, dated) == prices["claude-sonnet-4-5"]
    assert price_of(prices, "gpt-4o-mini-2024-07-18") == prices["gpt-4o-mini"]
    for unknown in ("claude-sonnet-4-5-thinking", "Qwen/Qwen3-8B", "", "gpt-4o-mini-2024"):
        assert price_of(prices, unknown) is None


def test_a_price_of_its_own_goes_before_that_of_the_name_without_date() -> None:
    prices = {"m": Price(input=1, output=2), "m-20250101": Price(input=3, output=4)}
    assert price_of(prices, "m-20250101") == prices["m-20250101"]


def test_costs_by_hand() -> None:
    # 2 million at $3 and half a million at $15: 6 + 7.5; a batch takes half off.
    usage = Usage(2_000_000, 500_000)
    assert cost(usage, Price(input=3, output=15)) == pytest.approx(13.5)
    assert cost(usage, Price(input=3, output=15), batch=True) == pytest.approx(6.75)
    assert cost(usage, Price(input=3, output=15, batch_discount=0), batch=True) == pytest.approx(13.5)


@pytest.mark.parametrize(
    ("dollars", "shown"),
    [(0, "$0.00"), (0.0029, "$0.0029"), (0.000012, "$0.000012"), (0.0994, "$0.099"), (0.1, "$0.10"), (7.0, "$7.00"),
     (12345.678, "$12,345.68")],
)  # fmt: skip
def test_small_sums_keep_two_digits(dollars: float, shown: str) -> None:
    assert format_dollars(dollars) == shown


def test_a_price_is_old_after_ninety_days() -> None:
    price = Price(input=1, output=2, as_of=date(2026, 1, 1))
    assert days_too_old(price, date(2026, 4, 1)) is None
    assert days_too_old(price, date(2026, 4, 2)) == 91
    assert days_too_old(Price(input=1, output=2), date(2026, 4, 2)) is None


def test_every_model_that_ships_has_its_providers_page() -> None:
    assert price_page("Qwen/Qwen3-8B") is None
    for model in load_prices():
        page = price_page(model)
        assert page is not None
        assert ("claude.com" in page) == model.startswith("claude")


def test_a_users_table_replaces_and_extends(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("models:\n  mine: {input: 0, output: 0.5}\n  gpt-4o: {input: 9, output: 9, as_of: 2027-01-01}\n")
    prices = load_prices(table)
    assert prices["mine"] == Price(input=0, output=0.5)
    assert prices["gpt-4o"].input == 9
    assert prices["gpt-4o-mini"] == load_prices()["gpt-4o-mini"]


@pytest.mark.parametrize(
    ("text", "field", "told"),
    [
        ("models: {m: {input: -1, output: 2}}", "models.m.input", "greater than or equal to 0"),
        ("models: {m: {input: 1}}", "models.m.output", "required"),
        ("models: {m: {input: 1, ouput: 2}}", "models.m.ouput", "unknown key"),
        ("models: {m: {input: dear, output: 2}}", "models.m.input", "number"),
        ("model: {}", "model", "unknown key"),
        ("- 1", None, "mapping"),
        ("models: {m: [", None, "not valid YAML"),
    ],
)
def test_a_broken_table_is_refused_with_file_and_field(tmp_path: Path, text: str, field: str | None, told: str) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(text)
    with pytest.raises(RedpencilError, match=told) as caught:
        load_prices(table)
    assert (caught.value.file, caught.value.field) == (str(table), field)
    assert "recipe" not in str(caught.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="cannot read the prices"):
        load_prices(tmp_path / "none.yaml")
