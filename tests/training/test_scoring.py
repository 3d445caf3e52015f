"""Scores of reward models: raw ones of pairs and texts, standardised ones on the policy's tokens."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor

from redpencil.config.compute import ServerConfig
from redpencil.config.methods import PPOConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import RewardModel, load_policy, load_reward_model
from redpencil.models.codec import Codec, load_codec
from redpencil.models.forward import collate
from redpencil.models.heads import HEADS
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import Sample
from redpencil.records import Response
from redpencil.training.ppo import compute_advantages
from redpencil.training.rollout import Actors, load_actors, score_rollouts
from redpencil.training.scoring import (
    LEAST_SCALE,
    SampledBatch,
    Scored,
    TextScorer,
    TokenScorer,
    check_fits,
    check_reads,
    doubts,
    encode_samples,
    make_scorer,
    sampled_batch,
    score_ids,
    score_tokens,
)

TEXTS = ["topic0", "topic3", "topic1", "topic5"]
RESPONSES = ["sun mud sea", "rot", "mud rot mud", ""]
FINISHED = [True, True, False, True]
EOS = 3


class Trained(Protocol):
    sft: Path
    token: Path
    sequence: Path


def config(**changes: object) -> PPOConfig:
    options = {"response_length": 6, "batch_size": 4, "rollout_batch_size": 4, "whiten_advantages": False}
    return PPOConfig.model_validate({**options, **changes})


def samples_of(codec: Codec) -> list[Sample]:
    tokens = codec.encode_responses(RESPONSES)
    return [Sample(t.ids if f else t.ids[:-1], f) for t, f in zip(tokens, FINISHED, strict=True)]


def sampled_of(codec: Codec, samples: Sequence[Sample] | None = None) -> SampledBatch:
    samples = samples_of(codec) if samples is None else samples
    ids = [sample.ids for sample in samples]
    batch = collate(codec.encode_prompts(TEXTS), ids, codec.pad_id, torch.device("cpu"))
    return SampledBatch(batch, samples, TEXTS, codec)


def reward_of(actors: Actors, level: str = "token") -> RewardModel:
    [reward] = [scorer.reward for scorer in actors.scorers if scorer.reward.card.level == level]
    return reward


def scored(actors: Actors, settings: PPOConfig, sampled: SampledBatch, level: str = "token") -> Scored:
    return make_scorer(reward_of(actors, level), settings).score(sampled)


Load = Callable[..., Actors]


@pytest.fixture
def load(trained: Trained, runtime: Runtime, codec: Codec) -> Load:
    return lambda settings, token, sequence=None: load_actors(settings, trained.sft, token, sequence, runtime, codec)


def test_responses_are_tokenised_with_an_end_only_where_they_have_one(codec: Codec) -> None:
    words = codec.tokenizer.get_vocab()
    rows = [Response("a", "topic0", "sun mud"), Response("b", "topic1", "sun mud", finished=False)]
    assert encode_samples(rows, codec) == [
        ([2, words["topic0"]], (words["sun"], words["mud"], EOS)),
        ([2, words["topic1"]], (words["sun"], words["mud"])),
    ]
    assert encode_samples([], codec) == []


@pytest.mark.parametrize(
    ("card", "dtype", "options", "doubtful"),
    [
        ({"scale": 1.0}, torch.float32, {}, False),
        ({"scale": 0.011}, torch.float32, {}, False),
        ({"scale": 0.009}, torch.float32, {}, True),  # 111 times
        ({"scale": 1e-6}, torch.float32, {}, True),  # all rewards are the same
        ({"scale": 1e-6}, torch.float32, {"scale_rewards": False}, False),
        # bfloat16 has a step of 2^-7 at 1: .0078 a token, .78 in a sum of 10,000 of them
        ({"center": 1.0, "scale": 10.0}, torch.bfloat16, {"response_length": 10_000}, True),
        ({"center": 1.0, "scale": 10.0}, torch.float32, {"response_length": 10_000}, False),
        ({"center": 1.0, "scale": 10.0}, torch.bfloat16, {"response_length": 100}, False),
        ({"center": 0.0, "scale": 10.0}, torch.bfloat16, {"response_length": 10_000}, False),
        ({"scale": 10.0, "trajectory_scale": 1e-3}, torch.float32, {"reward": "token_mean_at_end"}, True),
        ({"scale": 1e-3, "trajectory_scale": 10.0}, torch.float32, {"reward": "token_mean_at_end"}, False),
    ],
)
def test_rewards_that_are_noise_when_they_are_scaled_up(
    trained: Trained,
    runtime: Runtime,
    card: dict[str, float],
    dtype: torch.dtype,
    options: dict[str, object],
    doubtful: bool,
) -> None:
    reward = load_reward_model(trained.token, runtime)
    measured = {"center": 0.0, "trajectory_center": 0.0, "trajectory_scale": 1.0, "learned": True}
    model = replace(reward.model, runtime=replace(runtime, dtype=dtype))
    reward = replace(reward, card=replace(reward.card, **measured | card), model=model)
    found = doubts(reward, config(**options))
    assert len(found) == doubtful
    assert all("/".join(trained.token.parts[-2:]) in text and "paid at unit variance" in text for text in found)


def test_a_card_says_whether_the_model_has_learned(trained: Trained, runtime: Runtime) -> None:
    reward = load_reward_model(trained.token, runtime)
    assert reward.card.learned
    assert doubts(reward) == doubts(reward, config()) == []
    for learned, count in ((None, 0), (True, 0), (False, 1)):  # an earlier version's card does not say it
        card = replace(reward.card, learned=learned, training_loss=None, constant_loss=None)
        assert len(doubts(replace(reward, card=card))) == count


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_rewards_that_are_all_zero_are_refused(trained: Trained, runtime: Runtime, level: str) -> None:
    reward = load_reward_model(getattr(trained, level), runtime)
    zero = {"center": 0.0, "trajectory_center": 0.0, "scale": LEAST_SCALE, "trajectory_scale": LEAST_SCALE}
    with pytest.raises(RedpencilError, match="nothing can be learned from them") as caught:
        doubts(replace(reward, card=replace(reward.card, **zero)))
    assert "name another reward model" in str(caught.value.hint)
    doubts(replace(reward, card=replace(reward.card, **zero | {"center": 0.5})))  # alike, but not 0: said, not refused


def test_scores_of_texts(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    texts = ["sun mud sky", "sun sea sky", "rot"]
    prompts = ["topic1"] * 3
    token, sequence = (load_reward_model(folder, runtime) for folder in (trained.token, trained.sequence))
    encoded = [tokens.ids for tokens in codec.encode_responses(texts)]
    rows = score_tokens(token.model, codec.encode_prompts(prompts), encoded)
    ids = codec.encode_prompts(prompts)
    assert score_ids(token, ids, encoded) == pytest.approx([float(r.mean()) for r in rows])
    for reward in (token, sequence):
        bad, good, _ = score_ids(reward, ids, encoded)
        assert good > bad
    assert score_ids(token, [(2, 4)], [()]) == [0.0]
    many = score_ids(sequence, [(2, 4)] * 130, [(12, 3)] * 130)
    assert many == pytest.approx([many[0]] * 130, rel=1e-5)


def test_a_text_longer_than_the_reward_model_reads(trained: Trained, runtime: Runtime) -> None:
    for folder in (trained.token, trained.sequence):
        with pytest.raises(RedpencilError, match="have 43 tokens, the reward model reads 32"):
            score_ids(load_reward_model(folder, runtime), [(2, 4)], [(12,) * 41])


def test_a_row_that_is_too_long_is_named(trained: Trained, runtime: Runtime) -> None:
    model = load_reward_model(trained.token, runtime).model
    check_fits(model.context, model.readings, [(2, 4)], [(12,) * 30], ["a"])
    with pytest.raises(RedpencilError, match="response 'b' have 33 tokens, the reward model reads 32"):
        check_fits(model.context, model.readings, [(2, 4)] * 2, [(12,) * 30, (12,) * 31], ["a", "b"])


def test_a_model_with_the_policys_tokenizer_and_template_reads_token_ids(load: Load, trained: Trained) -> None:
    actors = load(config(reward="both"), trained.token, trained.sequence)
    assert [type(scorer) for scorer in actors.scorers] == [TokenScorer, TokenScorer]
    assert actors.notes == ()


@pytest.mark.parametrize("kind", ["token", "token_mean_at_end"])
def test_a_tokenizer_with_the_same_boundaries_changes_nothing(
    load: Load, trained: Trained, reshuffled: Path, codec: Codec, kind: str
) -> None:
    settings = config(reward=kind, gae_lambda=0.9, missing_eos_penalty=1.0)

    def returns(token: Path) -> Tensor:
        actors = load(settings, token)
        assert [type(scorer) for scorer in actors.scorers] == [TextScorer if token == reshuffled else TokenScorer]
        rollouts, _ = compute_advantages(actors, sampled_of(codec), settings, kl_coef=0.1)
        assert rollouts.returns is not None
        return rollouts.returns

    plain, renumbered = returns(trained.token), returns(reshuffled)
    assert float(plain.abs().max()) > 0.1
    torch.testing.assert_close(renumbered, plain, rtol=1e-5, atol=1e-5)


def test_rewards_of_characters_land_on_the_words_that_have_them(
    load: Load, characters: Callable[..., Path], codec: Codec
) -> None:
    settings = config(reward="token", center_rewards=False, scale_rewards=False)
    actors = load(settings, characters())
    assert reward_of(actors).model.codec.template == "chat"
    assert any("a tokenizer of its own, and the prompt template 'chat'" in note for note in actors.notes)
    found = scored(actors, settings, sampled_of(codec))
    m = r = -0.9
    torch.testing.assert_close(found.rewards, torch.tensor([[0, m, 0, 0], [r, 0, 0, 0], [m, r, m, 0], [0, 0, 0, 0]]))
    assert found.truncated is not None
    assert found.truncated.tolist() == [False] * 4


def test_the_centre_is_taken_out_of_the_reward_models_tokens(
    load: Load, characters: Callable[..., Path], codec: Codec
) -> None:
    settings = config(reward="token")
    rewards = scored(load(settings, characters()), settings, sampled_of(codec)).rewards
    # "sun mud sea" has 11 characters and an end; of the policy's tokens it has 4. Centre -.1, scale 2.
    assert float(rewards[0].sum()) == pytest.approx((-0.9 + 12 * 0.1) / 2)
    # sun: 3 characters; mud and sea: 4 each with their space; the end: 1
    assert rewards[0].tolist() == pytest.approx([0.15, (-0.9 + 0.4) / 2, 0.2, 0.05])
    # the third was cut off: "mud rot mud" has 11 characters and no end
    assert float(rewards[2].sum()) == pytest.approx((3 * -0.9 + 11 * 0.1) / 2)
    assert rewards[3].tolist() == pytest.approx([0.05, 0, 0, 0])


def test_rewards_are_clipped_on_the_reward_models_tokens(
    load: Load, characters: Callable[..., Path], codec: Codec
) -> None:
    settings = config(reward="token", center_rewards=False, scale_rewards=False, reward_clip=0.5)
    rewards = scored(load(settings, characters()), settings, sampled_of(codec)).rewards
    assert rewards[2].tolist() == pytest.approx([-0.5, -0.5, -0.5, 0])


def test_the_mean_is_the_one_over_the_reward_models_tokens(
    load: Load, characters: Callable[..., Path], codec: Codec
) -> None:
    settings = config(reward="token_mean_at_end", kl_term="none", gae_lambda=0)
    rollouts, _ = compute_advantages(load(settings, characters()), sampled_of(codec), settings, kl_coef=0.0)
    assert rollouts.returns is not None
    # "sun mud sea" and its end: -.9 / 12, centre -.05, scale .5
    assert float(rollouts.returns[0, 3]) == pytest.approx((-0.9 / 12 + 0.05) / 0.5, abs=1e-6)
    assert float(rollouts.returns[0, :3].abs().max()) == 0


def test_a_sequence_model_reads_text_too(load: Load, characters: Callable[..., Path], codec: Codec) -> None:
    settings = config(reward="both")
    actors = load(settings, characters(), characters("sequence"))
    scores = score_rollouts(actors, sampled_of(codec), settings)
    # its reward is that of the last character it reads: the end, or the d of the one that was cut off
    assert scores.sequence_reward is not None
    assert scores.sequence_reward.tolist() == pytest.approx([0.05, 0.05, 0.05, 0.05])
    # A policy of characters can be cut off behind an r, and then there is no end to read.
    letters = load_codec(characters(), "{prompt}")
    cut = [Sample(tuple(letters.tokenizer.convert_tokens_to_ids([*"mud r"])), finished) for finished in (True, False)]
    ended = replace(cut[0], ids=(*cut[0].ids, EOS))
    sampled = sampled_of(letters, [ended, cut[1], ended, ended])
    rewards = scored(actors, settings, sampled, "sequence").rewards
    assert rewards.tolist() == pytest.approx([0.05, (-0.9 + 0.1) / 2, 0.05, 0.05])


def with_empty(codec: Codec) -> SampledBatch:
    """The prompts alone: nothing is said, and not even ended."""
    return sampled_of(codec, [Sample((), finished=False)] * len(TEXTS))


def test_increments_sum_to_the_reward_less_that_of_an_empty_response(
    load: Load, trained: Trained, codec: Codec
) -> None:
    dense, whole = config(reward="increments"), config(reward="sequence")
    actors = load(dense, None, trained.sequence)
    assert actors.scorers[0].reward.card.center  # it cancels out
    rewards = actors.scorers[0].score(sampled_of(codec)).rewards
    ends, starts = (
        scored(actors, whole, batch, "sequence").rewards for batch in (sampled_of(codec), with_empty(codec))
    )
    assert rewards.shape == sampled_of(codec).batch.response_mask.shape
    torch.testing.assert_close(rewards.sum(dim=1), ends - starts, atol=1e-5, rtol=1e-5)
    assert not rewards[~sampled_of(codec).batch.response_mask].any()
    bad = rewards[2, :3]  # "mud rot mud": each word makes it worse
    assert bool((bad < 0).all())
    # they are what PPO pays
    rollouts, metrics = compute_advantages(actors, sampled_of(codec), dense, kl_coef=0.0)
    assert metrics["reward"] == pytest.approx(float((ends - starts).mean()), abs=1e-5)
    assert rollouts.returns is not None
    torch.testing.assert_close(rollouts.returns[:, 0], rewards.sum(dim=1), atol=1e-4, rtol=1e-4)


def test_increments_of_a_model_with_other_tokens_land_on_the_policys(
    load: Load, characters: Callable[..., Path], codec: Codec
) -> None:
    settings = config(reward="increments", scale_rewards=False)
    scorer = load(settings, None, characters("sequence")).scorers[0]
    assert isinstance(scorer, TextScorer)
    rewards = scorer.score(sampled_of(codec)).rewards
    # m and r have a reward of -.9, all else 0: what a bad word takes at its first letter, its second gives back
    assert rewards.shape == (4, 4)
    whole = replace(scorer, increments=False)
    gains = whole.score(sampled_of(codec)).rewards - whole.score(with_empty(codec)).rewards
    torch.testing.assert_close(rewards.sum(dim=1), gains)
    torch.testing.assert_close(rewards, torch.zeros(4, 4), atol=1e-6, rtol=0)
    # a policy of characters that is cut off behind an r
    letters = load_codec(characters(), "{prompt}")
    ids = tuple(letters.tokenizer.convert_tokens_to_ids([*"mud r"]))
    found = scorer.score(sampled_of(letters, [Sample(ids, finished=False)] * 4)).rewards
    assert found[0].tolist() == pytest.approx([-0.9, 0.9, 0, 0, -0.9])


def test_what_cannot_score_prefixes_at_once_is_refused(load: Load, trained: Trained) -> None:
    settings = config(reward="increments")
    reward = load(settings, None, trained.sequence).scorers[0].reward
    with pytest.raises(RedpencilError, match="every prefix") as caught:
        make_scorer(reward, with_server("http://localhost:1", "sequence").model_copy(update={"reward": "increments"}))
    assert caught.value.field == "compute.reward_servers.sequence"
    del reward.model.module.score  # as in an encoder
    with pytest.raises(RedpencilError, match="looks ahead") as caught:
        make_scorer(reward, settings)
    assert (caught.value.file, caught.value.field) == (str(trained.sequence), "reward")


@pytest.mark.parametrize("size", [1, 3])
def test_scoring_in_parts_changes_nothing(load: Load, characters: Callable[..., Path], codec: Codec, size: int) -> None:
    actors = load(config(reward="both"), characters(), characters("sequence"))
    for level in ("token", "sequence"):
        whole = scored(actors, config(reward="both"), sampled_of(codec), level)
        parts = scored(actors, config(reward="both", micro_batch_size=size), sampled_of(codec), level)
        torch.testing.assert_close(parts.rewards, whole.rewards)
        torch.testing.assert_close(parts.truncated, whole.truncated)


def test_text_beyond_the_context_is_not_read_and_counted(
    load: Load, characters: Callable[..., Path], codec: Codec
) -> None:
    settings = config(reward="token", scale_rewards=False)
    # "[topic0]" takes 8 of its tokens, so 5 are left: "sun m"
    actors = load(settings, characters(context=13))
    found = scored(actors, settings, sampled_of(codec))
    assert found.truncated is not None
    assert found.truncated.tolist() == [True, False, True, False]
    # sun; space and m, -.9; then nothing, neither reward nor centre
    assert found.rewards[0].tolist() == pytest.approx([0.3, -0.9 + 0.2, 0, 0], abs=1e-6)
    assert torch.equal(score_rollouts(actors, sampled_of(codec), settings).truncated, found.truncated)
    _, metrics = compute_advantages(actors, sampled_of(codec), settings, kl_coef=0.1)
    assert metrics["cut_for_reward_model"] == 0.5
    # a sequence model gives the reward of the last character that it reads: the m
    settings = config(reward="sequence")
    found = scored(load(settings, None, characters("sequence", context=13)), settings, sampled_of(codec), "sequence")
    assert float(found.rewards[0]) == pytest.approx((-0.9 + 0.1) / 2)


def test_prompts_that_leave_no_room_or_are_empty_are_refused(
    load: Load, characters: Callable[..., Path], trained: Trained
) -> None:
    folder = characters(context=8)
    actors = load(config(), folder)
    reward = reward_of(actors)
    for check in (lambda prompts: check_reads(reward, prompts), actors.check_prompts):
        with pytest.raises(RedpencilError, match="a prompt has 8 of its tokens, and its context of 8") as raised:
            check(["a", "topic0"])
        assert raised.value.file == str(folder)
    bare = replace(reward, model=replace(reward.model, codec=replace(reward.model.codec, template="{prompt}")))
    with pytest.raises(RedpencilError, match="makes no tokens of the prompt ''"):
        check_reads(bare, ["a", ""])
    same = load(config(), trained.token)
    check_reads(reward_of(same), ["topic0 " * 99])  # it reads the policy's ids
    same.check_prompts(["topic0 " * 99])


def test_a_model_with_another_template_reads_text(load: Load, trained: Trained, runtime: Runtime, codec: Codec) -> None:
    other = load_codec(trained.sft, "<s> <s> {prompt}")
    settings = config(reward="token")
    actors = load_actors(settings, trained.sft, trained.token, None, runtime, other)
    assert reward_of(actors).model.codec.template == "<s> {prompt}"
    assert actors.notes == ("the token reward model reads text with the prompt template '<s> {prompt}'",)
    # whatever the policy's prompts look like, the reward model sees its own
    sampled = sampled_of(other)
    mask = sampled.batch.response_mask
    as_text = scored(actors, settings, sampled).rewards
    as_ids = scored(load(settings, trained.token), settings, sampled_of(codec)).rewards
    torch.testing.assert_close(as_text[mask], as_ids[mask], rtol=1e-4, atol=1e-5)


def test_each_response_needs_its_prompt_as_text(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    policy = load_policy(trained.sft, runtime, trained=False, codec=codec)
    ids, samples = codec.encode_prompts(TEXTS), samples_of(codec)
    sampled = sampled_batch(policy, ids, samples, TEXTS)
    assert torch.equal(sampled.batch.input_ids, sampled_of(codec).batch.input_ids)
    with pytest.raises(ValueError, match="4 responses to 3 prompts"):
        sampled_batch(policy, ids, samples, TEXTS[:3])


# Rewards that a server computes.

Serve = Callable[..., Any]


def with_server(url: str, level: str = "token", **options: Any) -> PPOConfig:
    server = ServerConfig.model_validate({"url": url, "patience": 2, "timeout": 20, **options})
    return config(reward=level).model_copy(update={"reward_servers": {level: server}})


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_server_gives_the_rewards_that_this_process_gives(
    load: Load, trained: Trained, codec: Codec, serve: Serve, level: str
) -> None:
    folders = (trained.token, trained.sequence)
    folder = folders[level == "sequence"]
    sampled = sampled_of(codec)
    here = scored(load(config(reward=level), *folders), config(reward=level), sampled, level).rewards
    served = serve(folder, pooling={"token": "token_classify", "sequence": "classify"}[level])
    settings = with_server(served.url, level)
    actors = load(settings, *folders)
    assert all(weight.is_meta for weight in reward_of(actors, level).model.module.parameters())  # no memory
    there = actors.scorers[0].score(sampled).rewards
    mask = sampled.batch.response_mask if level == "token" else torch.ones_like(here, dtype=torch.bool)
    torch.testing.assert_close(there[mask], here[mask], atol=1e-5, rtol=1e-5)
    [body, *_] = served.log({"token": "/pooling", "sequence": "/classify"}[level])
    assert body["use_activation"] is False
    assert not there[~mask].any()  # padding


def test_a_server_scores_what_reads_text_and_two_heads_and_responses_twice(
    load: Load, reshuffled: Path, trained: Trained, codec: Codec, serve: Serve, tmp_path: Path, runtime: Runtime
) -> None:
    two = shutil.copytree(trained.token, tmp_path / "two")
    module = load_reward_model(trained.token, runtime).model.module
    head = torch.nn.Linear(module.score.in_features, 2)
    torch.nn.init.normal_(head.weight)
    module.score, module.num_labels = head, 2
    module.config.id2label, module.config.label2id = HEADS[2], {name: i for i, name in HEADS[2].items()}
    module.config.read_twice = True
    module.save_pretrained(two)
    sampled = sampled_of(codec)
    for folder, kind in ((reshuffled, TextScorer), (two, TokenScorer)):
        here = scored(load(config(), folder), config(), sampled).rewards
        served = serve(folder, pooling="token_classify")
        [scorer] = load(with_server(served.url), folder).scorers
        assert type(scorer) is kind
        mask = sampled.batch.response_mask
        torch.testing.assert_close(scorer.score(sampled).rewards[mask], here[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "problem", "hint"),
    [("classify", "HTTP 400", "server's log"), ("", "HTTP 404", "docs/engines.md")],
)
def test_a_server_that_does_not_pool_tokens_is_refused(
    load: Load, trained: Trained, codec: Codec, serve: Serve, pooling: str, problem: str, hint: str
) -> None:
    served = serve(trained.sequence if pooling else trained.sft, pooling=pooling)
    [scorer] = load(with_server(served.url, model="policy"), trained.token).scorers
    with pytest.raises(RedpencilError) as caught:
        scorer.score(sampled_of(codec))
    assert problem in caught.value.problem
    assert hint in (caught.value.hint or "")
    assert caught.value.file == served.url


def test_another_reward_model_on_the_server_is_refused_by_name(
    load: Load, trained: Trained, reshuffled: Path, serve: Serve
) -> None:
    served = serve(trained.token, pooling="token_classify")
    with pytest.raises(RedpencilError, match=f"the model in {trained.token}, and {reshuffled} is wanted") as caught:
        load(with_server(served.url), reshuffled)
    assert caught.value.field == "compute.reward_servers.token.url"
    with pytest.raises(RedpencilError, match="the server has no model other; it lists policy"):
        load(with_server(served.url, model="other"), trained.token)


def test_a_server_of_a_model_with_another_number_of_heads_is_refused(
    load: Load, trained: Trained, codec: Codec, serve: Serve
) -> None:
    served = serve(trained.token, pooling="token_classify")
    [scorer] = load(with_server(served.url), trained.token).scorers
    assert scorer.server is not None
    other = replace(scorer.server, reward=replace(scorer.reward, model=scorer.reward.model))
    other.reward.model.module.score = torch.nn.Linear(2, 2, device="meta")
    with pytest.raises(RedpencilError, match="rows of 2 numbers for") as caught:
        replace(scorer, server=other).score(sampled_of(codec))
    assert "token_classify" in (caught.value.hint or "")
