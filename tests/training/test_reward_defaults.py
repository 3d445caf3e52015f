"""The learning rate, passes and scale of a reward model where the recipe leaves them open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.config.training import LoraConfig, RewardConfig
from redpencil.records import Pair
from redpencil.training.reward_defaults import DataSize, fit, in_words, size_of

PAPER = DataSize(pairs=10_000, mean_length=200, hidden_size=4096)


def test_at_the_size_of_the_paper_they_are_alpacafarms() -> None:
    chosen = fit(RewardConfig(level="sequence"), PAPER)
    assert (chosen.learning_rate, chosen.num_train_epochs, chosen.scale) == (3e-6, 1, 1)


@pytest.mark.parametrize(
    ("pairs", "batch_size", "epochs"),
    # 150 steps: 239 pairs are 15 steps a pass, and five passes are the most; 1,200 are 75 steps; 2,400 are 150.
    [
        *[(1, 16, 5), (40, 16, 5), (239, 16, 5), (480, 16, 5), (640, 16, 4), (1200, 16, 2), (2384, 16, 2)],
        *[(2385, 16, 1), (2400, 16, 1), (10**6, 16, 1), (239, 4, 3), (4000, 32, 2), (239, 1, 1)],
    ],
)
def test_few_pairs_are_seen_more_often(pairs: int, batch_size: int, epochs: int) -> None:
    size = DataSize(pairs, 100, 576)
    assert fit(RewardConfig(batch_size=batch_size), size).num_train_epochs == epochs


@pytest.mark.parametrize(
    ("hidden_size", "rate"),
    # 3e-6 * (4096 / width)^1.5: a quarter of the width is 8 times the rate.
    [(4096, 3e-6), (1024, 2.4e-5), (256, 1.9e-4), (64, 1e-3), (16, 1e-3), (16384, 3.8e-7), (576, 5.7e-5), (384, 1e-4)],
)
def test_narrow_models_learn_at_higher_rates(hidden_size: int, rate: float) -> None:
    assert fit(RewardConfig(), DataSize(1000, 100, hidden_size)).learning_rate == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize("hidden_size", [64, 576, 4096])
def test_a_head_alone_learns_at_the_same_rate_on_any_backbone(hidden_size: int) -> None:
    assert fit(RewardConfig(frozen_layers="all"), DataSize(1000, 100, hidden_size)).learning_rate == 1e-3
    assert fit(RewardConfig(frozen_layers=3), DataSize(1000, 100, 4096)).learning_rate == 3e-6


def test_adapters_learn_at_ten_times_the_rate_and_a_head_alone_at_its_own() -> None:
    adapted = RewardConfig(lora=LoraConfig())
    assert fit(adapted, DataSize(1000, 100, 4096)).learning_rate == 3e-5
    assert fit(adapted, DataSize(1000, 100, 256)).learning_rate == pytest.approx(1.9e-3, rel=0.05)
    assert fit(adapted, DataSize(1000, 100, 256)).lora == LoraConfig()
    assert fit(adapted.model_copy(update={"frozen_layers": "all"}), PAPER).learning_rate == 1e-3
    assert fit(adapted.model_copy(update={"learning_rate": 0.5}), PAPER).learning_rate == 0.5


@pytest.mark.parametrize(
    ("level", "length", "scale"), [("token", 101.6, 102), ("token", 0.4, 1), ("token", 1.4, 1), ("sequence", 101.6, 1)]
)
def test_the_scale_makes_up_for_the_mean_over_tokens(level: str, length: float, scale: float) -> None:
    assert fit(RewardConfig.model_validate({"level": level}), DataSize(100, length, 576)).scale == scale


@pytest.mark.parametrize(("loss", "scale"), [("eq3", 102), ("eq4", 102), ("blame", 1), ("contrast", 1)])
def test_losses_within_a_text_have_no_length_to_make_up_for(loss: str, scale: float) -> None:
    config, size = RewardConfig.model_validate({"loss": loss}), DataSize(100, 101.6, 576)
    fitted = fit(config, size)
    assert fitted.scale == scale
    assert ("reward.scale" in (in_words(config, fitted, size) or "")) == (scale > 1)


@given(
    rate=st.none() | st.floats(1e-9, 1),
    epochs=st.none() | st.floats(0.1, 100),
    scale=st.none() | st.floats(1e-3, 1e3),
    pairs=st.integers(1, 10**7),
    length=st.floats(0, 1e5),
    width=st.integers(1, 10**5),
)
def test_what_the_recipe_says_is_kept(
    rate: float | None, epochs: float | None, scale: float | None, pairs: int, length: float, width: int
) -> None:
    config = RewardConfig(learning_rate=rate, num_train_epochs=epochs, scale=scale, micro_batch_size=3)
    size = DataSize(pairs, length, width)
    fitted, again = fit(config, size), fit(config, size)
    assert fitted == again
    said = {"learning_rate": rate, "num_train_epochs": epochs, "scale": scale}
    for name, value in said.items():
        assert getattr(fitted, name) > 0
        assert value is None or getattr(fitted, name) == value
    words = in_words(config, fitted, size) or ""
    assert [name for name, value in said.items() if value is None] == [name for name in said if name in words]
    others = {"learning_rate", "num_train_epochs", "scale"}
    assert fitted.model_dump(exclude=others) == config.model_dump(exclude=others)
    assert fitted.micro_batch_size == 3


def test_auto_is_the_word_for_null() -> None:
    config = RewardConfig.model_validate({"learning_rate": "auto", "num_train_epochs": "auto", "scale": "auto"})
    assert config == RewardConfig(learning_rate=None, num_train_epochs=None, scale=None) == RewardConfig()


def test_the_size_of_pairs_by_hand() -> None:
    def pair(rejected: int, chosen: int) -> Pair:
        ids = {"prompt_ids": (1, 2, 3), "rejected_ids": (7,) * rejected, "chosen_ids": (8,) * chosen}
        return Pair("p", **ids, rejected_changed=(), chosen_changed=(), unchanged=())

    assert size_of([pair(3, 5), pair(1, 7)], 96) == DataSize(pairs=2, mean_length=4, hidden_size=96)


def test_the_choice_in_words() -> None:
    size = DataSize(1239, 101.6, 4096)
    config = RewardConfig(batch_size=16)
    assert in_words(config, fit(config, size), size) == (
        "reward.learning_rate=3e-06, reward.num_train_epochs=2, reward.scale=102, chosen for 1,239 pairs of 102 tokens "
        "a response and a model of hidden size 4,096"
    )
    # a sequence model's scale is always 1, and with max_steps no passes are counted
    config = RewardConfig(level="sequence", learning_rate=1, num_train_epochs=1)
    assert in_words(config, fit(config, size), size) is None
    config = RewardConfig(max_steps=7, scale=1)
    words = in_words(config, fit(config, size), size)
    assert words is not None
    assert words.startswith("reward.learning_rate=3e-06, chosen for")
