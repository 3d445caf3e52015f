"""Reward models: the objectives, their options, scales, and that they find the bad words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from redpencil.config.training import FittedRewardConfig, RewardConfig
from redpencil.errors import RedpencilError
from redpencil.maths.reward_losses import bradley_terry_loss, eq3_margin, eq4_margin
from redpencil.models.checkpoints import load_head, load_reward_model
from redpencil.models.codec import Codec
from redpencil.models.forward import sequence_rewards, token_rewards
from redpencil.models.heads import head_of
from redpencil.models.runtime import Runtime
from redpencil.models.sharing import Sharing, sharing_of
from redpencil.records import Edit, Pair
from redpencil.runs import Stage, read_metrics
from redpencil.training.pairs import collate_pairs
from redpencil.training.reward import (
    constant_loss,
    main_term,
    measure,
    sequence_objective,
    token_objective,
    train_reward,
)
from redpencil.training.scoring import pair_margins, score_sequences, score_tokens
from redpencil.training.update import Optimization, update

CPU = torch.device("cpu")
Samples = list[tuple[list[int], tuple[int, ...]]]


class Trained(Protocol):
    sft: Path
    token: Path
    sequence: Path


def config(level: str = "token", **changes: object) -> FittedRewardConfig:
    options = {"learning_rate": 1e-2, "batch_size": 32, "max_steps": 40, "warmup_ratio": 0, "reference_samples": 100}
    chosen = {"num_train_epochs": 1, "scale": 1}
    return FittedRewardConfig.model_validate({"level": level, **options, **chosen, **changes})


def sgd(model: nn.Module) -> Optimization:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    return Optimization(tuple(model.parameters()), optimizer, schedule, 1e9)


def untrained(trained: Trained, level: str, runtime: Runtime, heads: int = 1) -> PreTrainedModel:
    """The SFT backbone with random heads, so that no loss is near 0."""
    model = load_head(trained.sft, level, runtime, trained=True, zero_head=True, heads=heads).module
    torch.manual_seed(0)
    nn.init.normal_(head_of(model).weight, std=0.3)
    return model


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Share of (positive, negative) pairs in the right order; ties one half."""
    positive = [s for s, label in zip(scores, labels, strict=True) if label]
    negative = [s for s, label in zip(scores, labels, strict=True) if not label]
    return sum((p > n) + (p == n) / 2 for p in positive for n in negative) / (len(positive) * len(negative))


@pytest.mark.parametrize("loss", ["eq3", "eq4"])
def test_the_terms_of_the_token_objective(trained: Trained, runtime: Runtime, pairs: list[Pair], loss: str) -> None:
    model = untrained(trained, "token", runtime)
    item = collate_pairs(pairs[:8], 0, CPU)
    objective = token_objective(model, config(loss=loss, scale=3, zero_penalty=0.5, consistency=0.25))
    with torch.no_grad():
        terms, rewards = objective.terms(item), token_rewards(model, item.batch)
    assert dict(objective.weights) == {"preference": 1.0, "zero": 0.5, "consistency": 0.25}
    margins, ranked, squares, differences = [], [], [], []
    for row, pair in enumerate(pairs[:8]):
        chosen, rejected = rewards[row, : len(pair.chosen_ids)], rewards[8 + row, : len(pair.rejected_ids)]
        ranked.append(float(chosen.mean() - rejected.mean()) > 0)
        if loss == "eq3":
            margins.append(chosen.mean() - rejected.mean())
        else:
            credit = chosen[torch.tensor(pair.chosen_changed)].sum() / len(chosen)
            margins.append(credit - rejected[torch.tensor(pair.rejected_changed)].sum() / len(rejected))
        squares += [float(chosen[j]) ** 2 for _, j in pair.unchanged]
        squares += [float(rejected[i]) ** 2 for i, _ in pair.unchanged]
        differences += [float(chosen[j] - rejected[i]) ** 2 for i, j in pair.unchanged]
    expected = -torch.nn.functional.logsigmoid(3 * torch.stack(margins)).mean()
    torch.testing.assert_close(terms["preference"], expected)
    assert float(terms["zero"]) == pytest.approx(sum(squares) / len(squares), rel=1e-4)
    assert float(terms["consistency"]) == pytest.approx(sum(differences) / len(differences), rel=1e-4)
    assert float(terms["accuracy"]) == sum(ranked) / 8
    assert float(terms["drift"]) == float(terms["consistency"]) > 0
    assert objective.counts(item) == {
        "preference": 8,
        "zero": len(squares),
        "consistency": len(differences),
        "accuracy": 8,
        "drift": len(differences),
    }


def test_blame_counts_the_originals_tokens_and_the_edits_by_their_weight(
    trained: Trained, runtime: Runtime, pairs: list[Pair]
) -> None:
    model = untrained(trained, "token", runtime)
    item = collate_pairs(pairs[:8], 0, CPU)
    plain, weighed = config(loss="blame"), config(loss="blame", edited_weight=0.25)
    with torch.no_grad():
        rewards = token_rewards(model, item.batch)
        terms = [token_objective(model, one).terms(item) for one in (plain, weighed)]
    original, edited = [], []
    for row, pair in enumerate(pairs[:8]):
        for place, reward in enumerate(rewards[8 + row, : len(pair.rejected_ids)]):
            original.append(torch.nn.functional.softplus(reward if pair.rejected_changed[place] else -reward))
        edited += list(torch.nn.functional.softplus(-rewards[row, : len(pair.chosen_ids)]))
    first, second = torch.stack(original), torch.stack(edited)
    assert float(terms[0]["blame"]) == pytest.approx(float(first.mean()), rel=1e-5)
    both = (first.sum() + second.sum() / 4) / (len(first) + len(second) / 4)
    assert float(terms[1]["blame"]) == pytest.approx(float(both), rel=1e-5)
    assert dict(token_objective(model, plain).weights) == {"preference": 0, "zero": 0, "consistency": 0, "blame": 1}
    assert token_objective(model, plain).counts(item)["blame"] == len(first)
    assert token_objective(model, weighed).counts(item)["blame"] == len(first) + len(second) / 4


def test_contrast_takes_the_edit_the_other_way_round(trained: Trained, runtime: Runtime, pairs: list[Pair]) -> None:
    """In the original what goes is worth less than what stays; in the edit what comes in is worth more."""
    model = untrained(trained, "token", runtime)
    item = collate_pairs(pairs[:8], 0, CPU)
    both = config(loss="contrast", edited_weight=0.5)
    with torch.no_grad():
        rewards = token_rewards(model, item.batch)
        found = token_objective(model, both).terms(item)["contrast"]
    losses, weights = [], []
    for row, pair in enumerate(pairs[:8]):
        for ids, changed, place, sign, weight in (
            (pair.chosen_ids, pair.chosen_changed, row, -1, 0.5),
            (pair.rejected_ids, pair.rejected_changed, 8 + row, 1, 1.0),
        ):
            own = rewards[place, : len(ids)]
            kept = [float(r) for r, flag in zip(own, changed, strict=True) if not flag]
            moved = [float(r) for r, flag in zip(own, changed, strict=True) if flag]
            gaps = [sign * (k - c) for k in kept for c in moved]
            losses.append(sum(math.log1p(math.exp(-gap)) for gap in gaps) / len(gaps))
            weights.append(weight)
    expected = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert token_objective(model, both).counts(item)["contrast"] == sum(weights)


def test_two_heads_have_a_task_each(trained: Trained, runtime: Runtime, pairs: list[Pair]) -> None:
    """The ranking moves the second head alone, and the contrast the first one alone."""
    item = collate_pairs(pairs[:8], 0, CPU)
    for wanted, term in ((0, "contrast"), (1, "preference")):
        model = untrained(trained, "token", runtime, heads=2)
        token_objective(model, config(loss="contrast", ranking=1)).terms(item)[term].backward()
        gradient = head_of(model).weight.grad
        assert gradient is not None
        assert float(gradient[wanted].abs().max()) > 1e-4
        assert float(gradient[1 - wanted].abs().max()) < 1e-7


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "blame"},
        {"loss": "blame", "ranking": 1, "scale": 5},
        {"loss": "contrast", "contrast_window": 2},
        {"loss": "contrast", "ranking": 1, "scale": 5, "read_twice": True},
        {"loss": "contrast", "ranking": 1, "scale": 5, "layers": 1, "frozen_layers": 0},
    ],
)
def test_losses_within_a_text_find_the_bad_words_and_rank(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    edits: list[Edit],
    samples: Samples,
    new_stage: Callable[..., Stage],
    options: dict[str, object],
) -> None:
    folder = train(config(**options), trained, pairs[:400], samples, codec, runtime, new_stage())
    reward = load_reward_model(folder, runtime, level="token")
    held_out, texts = pairs[400:], edits[400:]
    rows = score_tokens(reward.model, [p.prompt_ids for p in held_out], [p.rejected_ids for p in held_out])
    assert [len(row) for row in rows] == [len(p.rejected_ids) for p in held_out]
    # within a text: a constant in the rewards of a text is not what these losses are about
    found = [
        auroc([-float(r) for r in row[:-1]], [word in ("mud", "rot") for word in edit.original.split()])
        for row, edit in zip(rows, texts, strict=True)
        if any(word not in ("mud", "rot") for word in edit.original.split())
    ]
    assert sum(found) / len(found) > 0.97
    if options.get("ranking"):
        assert sum(margin > 0 for margin in pair_margins(reward, held_out)) >= 90
    assert reward.model.module.config.num_hidden_layers == options.get("layers", 2)
    assert reward.model.readings == (2 if options.get("read_twice") else 1)


def test_frozen_layers_stay_as_they_are(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
) -> None:
    settings = config(loss="blame", frozen_layers=1, max_steps=5)
    folder = train(settings, trained, pairs[:64], samples, codec, runtime, new_stage())
    before = load_head(trained.sft, "token", runtime, trained=False, zero_head=True).module.state_dict()
    after = load_reward_model(folder, runtime).model.module.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved >= {"score.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"}
    assert not [name for name in moved if "layers.0." in name or "embed" in name]


def test_a_model_goes_on_from_another_ones_heads(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
    tmp_path: Path,
) -> None:
    two = {"loss": "contrast", "ranking": 1, "read_twice": True}
    head = config(**two, frozen_layers="all")
    go_on = {"codec": codec, "trained_on": "edits", "runtime": runtime, "pairs": pairs[:64], "samples": samples}
    first = new_stage()
    train_reward(head, backbone=trained.sft, stage=first, store=tmp_path, **go_on)  # type: ignore[arg-type]
    start = first.folder / "checkpoint"
    rows = [pair.prompt_ids for pair in pairs[:8]], [pair.rejected_ids for pair in pairs[:8]]

    def rewards(folder: Path, store: Path | None = None) -> torch.Tensor:
        return torch.cat(score_tokens(load_reward_model(folder, runtime).model, *rows, store))

    for rate, stays in ((1e-12, True), (1e-2, False)):
        stage = new_stage()
        layers = config(**two, frozen_layers=1, learning_rate=rate, max_steps=2)
        train_reward(layers, backbone=start, continues=True, stage=stage, **go_on)  # type: ignore[arg-type]
        after = stage.folder / "checkpoint"
        assert torch.allclose(rewards(after), rewards(start), atol=1e-5) == stays
        # Its backbone is another one now, for which no hidden states are kept.
        assert torch.equal(rewards(after, tmp_path), rewards(after))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ranking": 1}, "one head, and the recipe asks for two"),
        ({"read_twice": True}, "reads a response once"),
        ({"level": "sequence"}, "a reward model of level sequence is needed"),
    ],
)
def test_a_model_goes_on_from_one_of_its_own_shape_only(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
    changes: dict[str, object],
    says: str,
) -> None:
    settings = FittedRewardConfig.model_validate({**config().model_dump(), "loss": "contrast", **changes})
    with pytest.raises(RedpencilError, match=says):
        train_reward(
            settings,
            backbone=trained.token,
            continues=True,
            pairs=pairs[:64],
            samples=samples,
            codec=codec,
            trained_on="edits",
            runtime=runtime,
            stage=new_stage(),
        )


def test_a_model_goes_on_with_the_policys_tokens_only(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
) -> None:
    with pytest.raises(RedpencilError, match="is not that of the policy"):
        train_reward(
            config(loss="contrast"),
            backbone=trained.token,
            continues=True,
            pairs=pairs[:64],
            samples=samples,
            codec=replace(codec, template="Question: {prompt}"),
            trained_on="edits",
            runtime=runtime,
            stage=new_stage(),
        )


@pytest.mark.parametrize(("key", "says"), [("layers", "the backbone has 2"), ("frozen_layers", "the backbone has 2")])
def test_more_layers_than_there_are(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
    key: str,
    says: str,
) -> None:
    with pytest.raises(RedpencilError, match=says) as caught:
        train(config(**{key: 3}), trained, pairs[:64], samples, codec, runtime, new_stage())
    assert caught.value.field == f"reward.{key}"


def test_losses_within_a_text_need_to_know_what_was_changed(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
) -> None:
    compared = replace(pairs[7], id="c7", rejected_changed=(), chosen_changed=())
    for rows, says in (([compared], "no pair marks"), ([*pairs[:4], compared], "'c7' does not say")):
        with pytest.raises(RedpencilError, match=says):
            train(config(loss="blame"), trained, rows, samples, codec, runtime, new_stage())


def test_the_terms_of_the_sequence_objective(trained: Trained, runtime: Runtime, pairs: list[Pair]) -> None:
    model = untrained(trained, "sequence", runtime)
    item = collate_pairs(pairs[:8], 0, CPU)
    with torch.no_grad():
        terms = sequence_objective(model, config("sequence", scale=2)).terms(item)
        chosen, rejected = sequence_rewards(model, item.batch).chunk(2)
    torch.testing.assert_close(terms["preference"], -torch.nn.functional.logsigmoid(2 * (chosen - rejected)).mean())
    assert float(terms["accuracy"]) == float((chosen > rejected).float().mean())


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("which", ["eq3", "eq4", "sequence", "blame", "contrast", "two heads"])
def test_a_batch_of_eight_is_eight_micro_batches(
    trained: Trained, runtime: Runtime, pairs: list[Pair], which: str, size: int
) -> None:
    level = "sequence" if which == "sequence" else "token"
    # counts differ: one pair has no unchanged token at all, one but its end
    rows = [*pairs[:6], replace(pairs[6], unchanged=()), replace(pairs[7], unchanged=pairs[7].unchanged[-1:])]
    rows[2] = replace(rows[2], rejected_changed=(False,) * len(rows[2].rejected_ids))  # nothing to blame
    options = {} if level == "sequence" else {"loss": which, "zero_penalty": 0.3, "consistency": 0.7}
    if which == "blame":
        options["edited_weight"] = 0.5
    if which == "two heads":
        options |= {"loss": "contrast", "ranking": 0.5, "contrast_window": 2, "edited_weight": 0.5}

    def step(size: int) -> tuple[list[torch.Tensor], dict[str, float]]:
        model = untrained(trained, level, runtime, heads=2 if which == "two heads" else 1)
        objective = (token_objective if level == "token" else sequence_objective)(model, config(level, **options))
        items = [collate_pairs(rows[i : i + size], 0, CPU) for i in range(0, 8, size)]
        logged = update(sgd(model), items, objective, runtime)
        return [p.detach() for p in model.parameters()], logged

    (whole, logged), (parts, parted) = step(8), step(size)
    assert parted == pytest.approx(logged, rel=1e-3, abs=1e-6)
    moved = 0.0
    before = untrained(trained, level, runtime, heads=2 if which == "two heads" else 1).parameters()
    for one, other, start in zip(whole, parts, before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        moved = max(moved, float((one - start).detach().abs().max()))
    assert moved > 0.01


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("which", ["eq3", "eq4", "sequence", "blame", "contrast", "two heads"])
def test_what_the_sides_share_is_read_once_with_the_same_losses_and_gradients(
    trained: Trained, runtime: Runtime, pairs: list[Pair], which: str, packs: bool
) -> None:
    level, heads = ("sequence" if which == "sequence" else "token"), (2 if which == "two heads" else 1)
    options = {} if level == "sequence" else {"loss": which, "zero_penalty": 0.3, "consistency": 0.7}
    if which == "two heads":
        options |= {"loss": "contrast", "ranking": 0.5}
    model = untrained(trained, level, runtime, heads=heads)
    objective = (token_objective if level == "token" else sequence_objective)(model, config(level, **options))
    sharing = Sharing(sharing_of(model, CPU).width, packs=packs)
    shared = collate_pairs(pairs[:8], 0, CPU, sharing)
    assert shared.batch.shared is not None
    assert shared.batch.shared.input_ids.numel() < shared.batch.input_ids.numel()
    found = []
    for item in (collate_pairs(pairs[:8], 0, CPU), shared):
        model.zero_grad()
        terms = objective.terms(item)
        torch.stack([weight * terms[name] for name, weight in objective.weights.items()]).sum().backward()
        found.append((terms, [parameter.grad for parameter in model.parameters()]))
    for name, term in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], term, rtol=1e-5, atol=1e-6)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def train(
    settings: RewardConfig,
    trained: Trained,
    pairs: list[Pair],
    samples: Samples,
    codec: Codec,
    runtime: Runtime,
    stage: Stage,
) -> Path:
    train_reward(
        settings,
        backbone=trained.sft,
        pairs=pairs,
        samples=samples,
        codec=codec,
        trained_on="edits",
        runtime=runtime,
        stage=stage,
    )
    return stage.folder / "checkpoint"


def test_a_token_model_finds_the_bad_word(
    trained: Trained, runtime: Runtime, pairs: list[Pair], edits: list[Edit]
) -> None:
    reward = load_reward_model(trained.token, runtime, level="token")
    held_out, texts = pairs[400:], edits[400:]
    rows = score_tokens(reward.model, [p.prompt_ids for p in held_out], [p.rejected_ids for p in held_out])
    scores = [-float(r) for row in rows for r in row[:-1]]
    labels = [word in ("mud", "rot") for edit in texts for word in edit.original.split()]
    assert auroc(scores, labels) > 0.99
    assert sum(margin > 0 for margin in pair_margins(reward, held_out)) >= 95


def test_a_sequence_model_ranks_the_edit_above_its_original(
    trained: Trained, runtime: Runtime, pairs: list[Pair]
) -> None:
    reward = load_reward_model(trained.sequence, runtime, level="sequence")
    assert sum(margin > 0 for margin in pair_margins(reward, pairs[400:])) >= 90
    rows = read_metrics(trained.sequence.parent)
    assert rows[0]["preference"] == pytest.approx(0.6931, abs=1e-4)  # a zero head: ln 2
    assert rows[-1]["preference"] < 0.4
    assert rows[-1]["accuracy"] > 0.8


def unchanged_rewards(folder: Path, pairs: list[Pair], runtime: Runtime) -> tuple[float, float, float]:
    """On U0: mean of r, mean of r^2, and mean of (r_i - r_j)^2 over its pairs."""
    item = collate_pairs(pairs, 0, CPU)
    model = load_reward_model(folder, runtime).model.module
    with torch.no_grad():
        rewards = token_rewards(model, item.batch)
        drift = token_objective(model, config()).terms(item)["drift"]
    kept = rewards[item.unchanged_mask]
    return float(kept.mean()), float(kept.square().mean()), float(drift)


def test_zero_penalty_and_consistency_do_what_they_say(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
) -> None:
    """Eq. 4 as printed says nothing of the unchanged tokens (trap 12), and U0 does not cancel by itself (trap 4)."""

    def found(**options: float) -> tuple[tuple[float, float, float], list[dict[str, float]]]:
        stage = new_stage()
        settings = config(loss="eq4", scale=5, **options)
        folder = train(settings, trained, pairs[:400], samples, codec, runtime, stage)
        return unchanged_rewards(folder, pairs[400:], runtime), read_metrics(stage.folder)

    (_, free, drifting), log = found()
    (mean, pulled, _), pulled_log = found(zero_penalty=1.0)
    (_, _, held), held_log = found(consistency=3.0)
    assert free > 0.5
    assert pulled < 0.1 * free
    assert abs(mean) < 0.1
    assert held < 0.1 * drifting
    # all are logged, also where they have no weight
    for rows in (log, pulled_log, held_log):
        assert all({"drift", "zero", "consistency", "accuracy", "preference", "loss"} <= row.keys() for row in rows)
        assert rows[-1]["drift"] > 0
    assert held_log[-1]["drift"] < 0.2 * log[-1]["drift"]
    last = pulled_log[-1]
    assert last["loss"] == pytest.approx(last["preference"] + 1.0 * last["zero"], rel=1e-5)
    last = held_log[-1]
    assert last["loss"] == pytest.approx(last["preference"] + 3.0 * last["consistency"], rel=1e-5)


def test_a_constant_in_the_head_leaves_eq_3_and_not_the_centre(
    trained: Trained, runtime: Runtime, pairs: list[Pair], samples: Samples
) -> None:
    """Trap 5. What is added to every token cancels in Eq. 3, and the centre takes it out again."""
    model = load_reward_model(trained.token, runtime).model
    item = collate_pairs(pairs[:16], 0, CPU)
    chosen_mask, rejected_mask = item.batch.response_mask.chunk(2)
    changed = item.changed_mask.chunk(2)

    def losses() -> tuple[float, float]:
        with torch.no_grad():
            chosen, rejected = token_rewards(model.module, item.batch).chunk(2)
        margins = (
            eq3_margin(chosen, rejected, chosen_mask, rejected_mask),
            eq4_margin(chosen, rejected, changed[0], torch.zeros_like(changed[1]), chosen_mask, rejected_mask),
        )
        return float(bradley_terry_loss(margins[0])), float(bradley_terry_loss(margins[1]))

    before, scales = losses(), measure(model, config(), samples)
    with torch.no_grad():
        head_of(model.module).bias.add_(5.0)
    after, moved = losses(), measure(model, config(), samples)
    assert after[0] == pytest.approx(before[0], rel=1e-4)
    assert after[1] != pytest.approx(before[1], rel=1e-2)
    assert moved.center == pytest.approx(scales.center + 5, abs=1e-4)
    assert moved.trajectory_center == pytest.approx(scales.trajectory_center + 5, abs=1e-4)
    assert moved.scale == pytest.approx(scales.scale, rel=1e-4)
    assert moved.trajectory_scale == pytest.approx(scales.trajectory_scale, rel=1e-4)


def test_centre_and_scale_are_those_of_the_samples(trained: Trained, runtime: Runtime, pairs: list[Pair]) -> None:
    lengths = [5, 3, 4, 2]
    samples = [(p.prompt_ids, p.rejected_ids[:n]) for p, n in zip(pairs[:4], lengths, strict=True)]
    prompts, responses = [s[0] for s in samples], [s[1] for s in samples]
    token = load_reward_model(trained.token, runtime).model
    rows = score_tokens(token, prompts, responses)
    assert [len(row) for row in rows] == lengths
    found = measure(token, config(), samples)
    center = sum(float(row.sum()) for row in rows) / 14
    assert found.center == pytest.approx(center, rel=1e-5)
    sums = torch.tensor([float(row.sum()) - len(row) * center for row in rows])
    assert found.scale == pytest.approx(float(sums.std()), rel=1e-4)
    means = torch.stack([row.mean() for row in rows])
    assert found.trajectory_center == pytest.approx(float(means.mean()), rel=1e-5)
    assert found.trajectory_scale == pytest.approx(float(means.std()), rel=1e-4)
    sequence = load_reward_model(trained.sequence, runtime).model
    scores = score_sequences(sequence, prompts, responses)
    # the number format of scoring ends with it
    half = replace(sequence, runtime=Runtime(torch.device("cpu"), torch.bfloat16))
    torch.testing.assert_close(score_sequences(half, prompts, responses), scores, rtol=0.05, atol=0.05)
    assert not torch.equal(score_sequences(half, prompts, responses), scores)
    assert not torch.is_autocast_enabled("cpu")
    found = measure(sequence, config("sequence"), samples)
    assert (found.center, found.scale) == pytest.approx((float(scores.mean()), float(scores.std())), rel=1e-4)
    assert (found.trajectory_center, found.trajectory_scale) == (found.center, found.scale)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_centre_and_scale_are_stored_with_the_checkpoint(
    trained: Trained, runtime: Runtime, samples: Samples, level: str
) -> None:
    reward = load_reward_model(getattr(trained, level), runtime)
    assert (reward.card.level, reward.card.trained_on, reward.card.prompt_template) == (level, "edits", "<s> {prompt}")
    again = asdict(measure(reward.model, config(level), samples))
    assert {name: getattr(reward.card, name) for name in again} == pytest.approx(again, rel=1e-5)


def test_only_the_first_samples_are_measured(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
) -> None:
    stage = new_stage()
    settings = config(reference_samples=10, max_steps=1)
    folder = train(settings, trained, pairs, samples, codec, runtime, stage)
    reward = load_reward_model(folder, runtime)
    ten = asdict(measure(reward.model, settings, samples[:10]))
    assert stage.notes["reference"] == pytest.approx(ten, rel=1e-5)


def test_equal_rewards_have_a_scale_that_divides(runtime: Runtime, samples: Samples, trained: Trained) -> None:
    for level in ("token", "sequence"):
        model = load_head(trained.sft, level, runtime, trained=False, zero_head=True)
        assert measure(model, config(level), samples).scale > 0


def test_the_same_seed_trains_the_same_model(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
) -> None:
    def losses(seed: int, **changes: object) -> list[float]:
        stage = new_stage(seed=seed)
        train(config(max_steps=6, **changes), trained, pairs, samples, codec, runtime, stage)
        return [row["loss"] for row in read_metrics(stage.folder)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    assert losses(1, micro_batch_size=5) == pytest.approx(losses(1), rel=1e-3)


def test_unusable_pairs_and_samples_are_refused(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
) -> None:
    def attempt(settings: RewardConfig, rows: list[Pair], measured: Samples) -> None:
        train(settings, trained, rows, measured, codec, runtime, new_stage())

    with pytest.raises(RedpencilError, match="no pairs to train on"):
        attempt(config(), [], samples)
    bare = [replace(pair, rejected_changed=(), chosen_changed=(), unchanged=()) for pair in pairs[:4]]
    with pytest.raises(RedpencilError, match="these are not edits"):
        attempt(config(loss="eq4"), bare, samples)
    inserted = [replace(pair, rejected_changed=(False,) * len(pair.rejected_ids)) for pair in pairs[:4]]
    for loss, options in (("blame", {}), ("blame", {"edited_weight": 1}), ("contrast", {})):
        with pytest.raises(RedpencilError, match=f"only put tokens in, and loss={loss} learns from what") as caught:
            attempt(config(loss=loss, **options), inserted, samples)
        assert "align.anchor=divergence" in str(caught.value.hint)
    attempt(config(loss="contrast", edited_weight=1, max_steps=1), inserted, samples)
    attempt(config(loss="eq4", max_steps=1), inserted, samples)
    attempt(config("sequence", max_steps=1), bare, samples)
    attempt(config(loss="eq3", max_steps=1), bare, samples)  # Eq. 1 and 2 need no masks
    with pytest.raises(RedpencilError, match="at least 2 samples of the SFT policy, found 1"):
        attempt(config(max_steps=1), pairs, samples[:1])
    foreign = [replace(pair, chosen_ids=(99,) * len(pair.chosen_ids)) for pair in pairs[:4]]
    with pytest.raises(RedpencilError, match="outside the model's vocabulary"):
        attempt(config(max_steps=1), foreign, samples)


def test_samples_without_a_token_give_no_scale(trained: Trained, runtime: Runtime) -> None:
    token = load_reward_model(trained.token, runtime).model
    with pytest.raises(RedpencilError, match="at least 2 samples of the SFT policy with a token, found 0"):
        measure(token, config(), [([5, 6], ())] * 3)


def test_what_a_constant_model_gets_by_hand() -> None:
    pairs = [
        Pair("a", (1,), rejected_ids=(5, 6, 7, 8), chosen_ids=(5, 9), rejected_changed=(True, False, False, False)),
        Pair("b", (1,), rejected_ids=(5, 6), chosen_ids=(5, 9), rejected_changed=(False, True)),
    ]
    for level, loss in (("token", "eq3"), ("token", "eq4"), ("token", "contrast"), ("sequence", "blame")):
        settings = config(level, loss=loss)
        assert constant_loss(settings, pairs) == pytest.approx(math.log(2))
        assert main_term(settings) == ("contrast" if loss == "contrast" else "preference")
    # two of six tokens of the originals were edited away, and of ten with those of the edits
    assert main_term(config(loss="blame")) == "blame"
    third = -(math.log(1 / 3) + 2 * math.log(2 / 3)) / 3
    assert constant_loss(config(loss="blame"), pairs) == pytest.approx(third)
    fifth = -(math.log(0.2) + 4 * math.log(0.8)) / 5
    assert constant_loss(config(loss="blame", edited_weight=1), pairs) == pytest.approx(fifth)
    every = [Pair("c", (1,), rejected_ids=(5, 6), chosen_ids=(), rejected_changed=(True, True))]
    assert constant_loss(config(loss="blame"), every) == 0


@pytest.mark.parametrize("loss", ["blame", "contrast"])
def test_losses_within_a_text_say_whether_they_learned(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    pairs: list[Pair],
    samples: Samples,
    new_stage: Callable[..., Stage],
    loss: str,
) -> None:
    for rate, learned in ((1e-2, True), (1e-9, False)):
        stage = new_stage(seed=int(learned))
        train(config(loss=loss, learning_rate=rate, max_steps=40), trained, pairs, samples, codec, runtime, stage)
        assert load_reward_model(stage.folder / "checkpoint", runtime).card.learned == learned
        assert ("remarks" in stage.notes) != learned
