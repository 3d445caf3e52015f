"""Reward models that read text: what they say, on the policy's tokens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
import torch
from torch import Tensor

from redpencil.config import PPOConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec, load_codec
from redpencil.models.forward import Batch, collate
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import Sample
from redpencil.training.ppo import load_actors
from redpencil.training.rollout import Actors, learn_from, score
from redpencil.training.scoring import Dialogue, check_reads, dialogue_of, paid_foreign_sequences, paid_foreign_tokens

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


def batch_of(codec: Codec) -> Batch:
    ids = [sample.ids for sample in samples_of(codec)]
    return collate(codec.encode_prompts(TEXTS), ids, codec.pad_id, torch.device("cpu"))


def dialogue(codec: Codec) -> Dialogue:
    return dialogue_of(codec, TEXTS, samples_of(codec))


Load = Callable[..., Actors]


@pytest.fixture
def load(trained: Trained, runtime: Runtime) -> Load:
    return lambda settings, token, sequence=None: load_actors(settings, trained.sft, token, sequence, runtime)


def test_a_model_with_our_tokenizer_and_template_reads_our_ids(load: Load, trained: Trained) -> None:
    actors = load(config(reward="both"), trained.token, trained.sequence)
    assert not actors.read_text
    assert actors.notes == ()


@pytest.mark.parametrize("kind", ["token", "token_mean_at_end"])
def test_where_boundaries_coincide_another_tokenizer_changes_nothing(
    load: Load, trained: Trained, reshuffled: Path, runtime: Runtime, codec: Codec, kind: str
) -> None:
    settings = config(reward=kind, gae_lambda=0.9, missing_eos_penalty=1.0)
    batch, samples = batch_of(codec), samples_of(codec)

    def returns(token: Path) -> Tensor:
        actors = load(settings, token)
        assert actors.read_text == (token == reshuffled)
        found = score(actors, batch, settings, runtime, dialogue(codec))
        return learn_from(found, batch, samples, settings, kl_coef=0.1)[0].returns

    ours, theirs = returns(trained.token), returns(reshuffled)
    assert float(ours.abs().max()) > 0.1
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_rewards_of_characters_land_on_the_words_that_have_them(
    load: Load, characters: Callable[..., Path], runtime: Runtime, codec: Codec
) -> None:
    settings = config(reward="token", center_rewards=False, scale_rewards=False)
    actors = load(settings, characters())
    assert actors.token_reward.codec.template == "chat"
    assert any("a tokenizer of its own, and the prompt template 'chat'" in note for note in actors.notes)
    found = paid_foreign_tokens(actors.token_reward, dialogue(codec), 5, settings, runtime)
    m = r = -0.9
    torch.testing.assert_close(
        found.rewards,
        torch.tensor([[0, m, 0, 0, 0], [r, 0, 0, 0, 0], [m, r, m, 0, 0], [0, 0, 0, 0, 0]]),
    )
    assert found.cut.tolist() == [False] * 4


def test_the_centre_is_taken_out_of_the_reward_model_s_tokens(
    load: Load, characters: Callable[..., Path], runtime: Runtime, codec: Codec
) -> None:
    settings = config(reward="token")
    actors = load(settings, characters())
    found = paid_foreign_tokens(actors.token_reward, dialogue(codec), 5, settings, runtime).rewards
    # "sun mud sea" has 11 characters and an end; of the policy's tokens it has 4. Centre -.1, scale 2.
    assert float(found[0].sum()) == pytest.approx((-0.9 + 12 * 0.1) / 2)
    # sun: 3 characters; mud and sea: 4 each with their space; the end: 1
    assert found[0].tolist() == pytest.approx([0.15, (-0.9 + 0.4) / 2, 0.2, 0.05, 0])
    # the third was cut off: "mud rot mud" has 11 characters and no end
    assert float(found[2].sum()) == pytest.approx((3 * -0.9 + 11 * 0.1) / 2)
    assert found[3].tolist() == pytest.approx([0.05, 0, 0, 0, 0])


def test_rewards_are_clipped_on_the_reward_model_s_tokens(
    load: Load, characters: Callable[..., Path], runtime: Runtime, codec: Codec
) -> None:
    settings = config(reward="token", center_rewards=False, scale_rewards=False, reward_clip=0.5)
    found = paid_foreign_tokens(load(settings, characters()).token_reward, dialogue(codec), 5, settings, runtime)
    assert found.rewards[2].tolist() == pytest.approx([-0.5, -0.5, -0.5, 0, 0])


def test_the_mean_is_the_one_over_the_reward_model_s_tokens(
    load: Load, characters: Callable[..., Path], runtime: Runtime, codec: Codec
) -> None:
    settings = config(reward="token_mean_at_end", kl_term="none", gae_lambda=0)
    actors, batch = load(settings, characters()), batch_of(codec)
    found = score(actors, batch, settings, runtime, dialogue(codec))
    rollouts, _ = learn_from(found, batch, samples_of(codec), settings, kl_coef=0.0)
    # "sun mud sea" and its end: -.9 / 12, centre -.05, scale .5
    assert float(rollouts.returns[0, 3]) == pytest.approx((-0.9 / 12 + 0.05) / 0.5, abs=1e-6)
    assert float(rollouts.returns[0, :3].abs().max()) == 0


def test_a_sequence_model_reads_text_too(
    load: Load, characters: Callable[..., Path], runtime: Runtime, codec: Codec
) -> None:
    settings = config(reward="both")
    folders = characters(), characters("sequence")
    actors = load(settings, *folders)
    found = score(actors, batch_of(codec), settings, runtime, dialogue(codec))
    # its reward is that of the last character it reads: the end, or the d of the one that was cut off
    assert found.sequence_reward.tolist() == pytest.approx([0.05, 0.05, 0.05, 0.05])
    shorter = replace(dialogue(codec), finished=[True, False, True, True])
    shorter.responses[1] = replace(shorter.responses[1], text="mud r")
    found = paid_foreign_sequences(actors.sequence_reward, shorter, settings, runtime)
    assert found.rewards.tolist() == pytest.approx([0.05, (-0.9 + 0.1) / 2, 0.05, 0.05])


def test_scoring_in_parts_changes_nothing(
    load: Load, characters: Callable[..., Path], runtime: Runtime, codec: Codec
) -> None:
    settings = config(reward="both")
    actors = load(settings, characters(), characters("sequence"))
    whole = score(actors, batch_of(codec), settings, runtime, dialogue(codec))
    parts = score(actors, batch_of(codec), config(reward="both", micro_batch_size=3), runtime, dialogue(codec))
    torch.testing.assert_close(parts.token_rewards, whole.token_rewards)
    torch.testing.assert_close(parts.sequence_reward, whole.sequence_reward)


def test_what_does_not_fit_into_the_context_is_left_unread_and_counted(
    load: Load, characters: Callable[..., Path], runtime: Runtime, codec: Codec
) -> None:
    settings = config(reward="token", scale_rewards=False)
    # "[topic0]" takes 8 of its tokens, so 5 are left: "sun m"
    actors = load(settings, characters(context=13))
    found = paid_foreign_tokens(actors.token_reward, dialogue(codec), 5, settings, runtime)
    assert found.cut.tolist() == [True, False, True, False]
    # sun; space and m, -.9; then nothing, neither reward nor centre
    assert found.rewards[0].tolist() == pytest.approx([0.3, -0.9 + 0.2, 0, 0, 0], abs=1e-6)
    scores = score(actors, batch_of(codec), settings, runtime, dialogue(codec))
    _, metrics = learn_from(scores, batch_of(codec), samples_of(codec), settings, kl_coef=0.1)
    assert metrics["cut_for_reward_model"] == 0.5


def test_prompts_that_leave_no_room_or_are_nothing_are_refused(
    load: Load, characters: Callable[..., Path], trained: Trained
) -> None:
    folder = characters(context=8)
    reward = load(config(), folder).token_reward
    with pytest.raises(RedpencilError, match="a prompt has 8 of its tokens, and its context of 8") as raised:
        check_reads(reward, ["a", "topic0"])
    assert raised.value.file == str(folder)
    bare = replace(reward, codec=replace(reward.codec, template="{prompt}"))
    with pytest.raises(RedpencilError, match="makes nothing of the prompt ''"):
        check_reads(bare, ["a", ""])
    check_reads(load(config(), trained.token).token_reward, ["topic0 " * 99])  # it reads the policy's ids


def test_another_template_alone_is_read_as_text(load: Load, trained: Trained, runtime: Runtime, codec: Codec) -> None:
    other = load_codec(trained.sft, "<s> <s> {prompt}")
    settings = config(reward="token")
    actors = load_actors(settings, trained.sft, trained.token, None, runtime, other)
    assert actors.token_reward.codec.template == "<s> {prompt}"
    assert actors.notes == ("the token reward model reads text with the prompt template '<s> {prompt}'",)
    # whatever the policy's prompts look like, the reward model sees its own
    batch = collate(other.encode_prompts(TEXTS), [s.ids for s in samples_of(codec)], 0, torch.device("cpu"))
    theirs = score(actors, batch, settings, runtime, dialogue(other)).token_rewards
    ours = score(load(settings, trained.token), batch_of(codec), settings, runtime).token_rewards
    mask = batch.response_mask
    torch.testing.assert_close(theirs[mask], ours[mask], rtol=1e-4, atol=1e-5)


def test_without_the_text_there_is_nothing_to_read(
    load: Load, characters: Callable[..., Path], runtime: Runtime, codec: Codec
) -> None:
    with pytest.raises(ValueError, match="needs the dialogue as text"):
        score(load(config(), characters()), batch_of(codec), config(), runtime)
    with pytest.raises(ValueError, match="4 responses to 3 prompts"):
        dialogue_of(codec, TEXTS[:3], samples_of(codec))
