"""Best-of-n: what is picked is the best of what was sampled."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from redpencil.config.methods import BestOfNConfig, SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import load_policy, load_reward_model
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler, Sample, respond
from redpencil.records import Prompt, Response
from redpencil.training.best_of_n import BestOfN, best_index, best_of_n, score_samples
from redpencil.training.scoring import score_ids, score_tokens

SAMPLING = SamplingConfig(response_length=8, max_prompt_length=8, batch_size=64)
PROMPTS = [Prompt(str(i), f"topic{i % 8}", {"row": i}) for i in range(48)]


@pytest.fixture
def sampler(trained: Any, codec: Codec, runtime: Runtime) -> HFSampler:
    return HFSampler(load_policy(trained.sft, runtime, trained=False, codec=codec))


@pytest.fixture
def pick(trained: Any, sampler: HFSampler, runtime: Runtime) -> Any:
    """`pick(model, n=..., seed=0)`: best-of-n with one of the toy's reward models."""

    def run(model: str, *, seed: int = 0, prompts: list[Prompt] = PROMPTS, **options: Any) -> BestOfN:
        return best_of_n(
            BestOfNConfig(**options),
            sampler=sampler,
            reward=load_reward_model(getattr(trained, model), runtime, policy_codec=sampler.codec),
            prompts=prompts,
            sampling=SAMPLING,
            seed=seed,
            model_name="best",
        )

    return run


def bad_share(responses: list[Response]) -> float:
    words = [word for row in responses for word in row.response.split()]
    return sum(word in ("mud", "rot") for word in words) / len(words)


def test_the_first_of_equals_is_best() -> None:
    assert best_index([1.0, 3.0, 2.0, 3.0]) == 1


def test_of_one_it_is_what_the_policy_answers(pick: Any, sampler: HFSampler) -> None:
    answers, _ = respond(sampler, PROMPTS, config=SAMPLING, seed=7, model_name="best")
    found = pick("token", n=1, seed=7)
    assert found.responses == answers
    assert found.best_score == found.mean_score
    assert found.sampled == len(PROMPTS)


@pytest.mark.parametrize("model", ["token", "sequence"])
def test_the_best_of_those_that_were_sampled_is_picked(
    model: str, pick: Any, trained: Any, sampler: HFSampler, codec: Codec, runtime: Runtime
) -> None:
    found = pick(model, n=4, seed=3)
    prompts = [prompt.prompt for prompt in PROMPTS for _ in range(4)]
    ids = codec.encode_prompts(prompts)
    responses = [sample.ids for sample in sampler.sample(ids, SAMPLING, seed=3)]
    texts = codec.decode(responses)
    reward = load_reward_model(getattr(trained, model), runtime)
    scores = score_ids(reward, ids, responses)
    for row, response in enumerate(found.responses):
        rivals = range(4 * row, 4 * row + 4)
        best = max(rivals, key=lambda i: scores[i])
        assert response.response == texts[best]
        assert (response.id, response.prompt, response.meta) == (PROMPTS[row].id, PROMPTS[row].prompt, {"row": row})
    assert found.mean_score == pytest.approx(sum(scores) / len(scores), rel=1e-4)


def test_the_more_are_sampled_the_fewer_bad_words_are_left(pick: Any) -> None:
    shares = [bad_share(pick("token", n=n).responses) for n in (1, 4, 16)]
    assert shares[0] > shares[1] > shares[2]


def test_the_same_seed_picks_the_same_and_other_seeds_do_not(pick: Any) -> None:
    assert pick("token", n=4) == pick("token", n=4)
    assert pick("token", n=4) != pick("token", n=4, seed=1)


def test_the_sum_pays_for_every_token_and_the_mean_does_not(trained: Any, codec: Codec, runtime: Runtime) -> None:
    reward = load_reward_model(trained.token, runtime)
    words = codec.tokenizer.get_vocab()
    samples = [Sample((words["sun"], 3), True), Sample((words["mud"], words["sun"], words["sea"], 3), True)]
    prompts = PROMPTS[:1] * 2
    ids = codec.encode_prompts([prompt.prompt for prompt in prompts])
    rows = score_tokens(reward.model, ids, [sample.ids for sample in samples])
    expected = {
        ("mean", True): [float(row.mean()) for row in rows],
        ("sum", False): [float(row.sum()) for row in rows],
        ("sum", True): [float(row.sum()) - reward.card.center * len(row) for row in rows],
    }
    for (token_score, center), scores in expected.items():
        config = BestOfNConfig(token_score=token_score, center_rewards=center)
        assert score_samples(config, reward, prompts, ids, samples, codec) == pytest.approx(scores, abs=1e-5)


def test_rewards_that_are_not_numbers_name_the_reward_model(
    trained: Any, sampler: HFSampler, runtime: Runtime, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained.token, tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"].fill_(3e38)  # numbers, but rewards by them are none
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RedpencilError, match=r"broken: the reward model gives a response the reward (nan|-?inf)"):
        best_of_n(
            BestOfNConfig(n=2), sampler=sampler, reward=load_reward_model(folder, runtime), prompts=PROMPTS[:2],
            sampling=SAMPLING, seed=0, model_name="best",
        )  # fmt: skip


def test_prompts_that_are_too_long_are_counted(pick: Any) -> None:
    found = pick("token", n=2, prompts=[*PROMPTS[:2], Prompt("long", "topic0 " * 20)])
    assert (len(found.responses), found.sampled, found.skipped) == (2, 4, 1)


def test_a_reward_model_with_a_tokenizer_of_its_own_reads_the_same_texts(
    trained: Any, codec: Codec, runtime: Runtime, tmp_path: Path
) -> None:
    # The same model with two words of its vocabulary, and the rows of their embeddings, in each other's place.
    folder = tmp_path / "renumbered"
    shutil.copytree(trained.token, folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())
    words = vocabulary["model"]["vocab"]
    words["sun"], words["mud"] = words["mud"], words["sun"]
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    weights = load_file(folder / "model.safetensors")
    table = next(name for name in weights if name.endswith("embed_tokens.weight"))
    weights[table][[words["sun"], words["mud"]]] = weights[table][[words["mud"], words["sun"]]]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    plain, renumbered = (load_reward_model(path, runtime, policy_codec=codec) for path in (trained.token, folder))
    assert plain.same_encoding
    assert not renumbered.same_encoding
    ids = codec.tokenizer.get_vocab()
    answers = ("sun sea", "mud mud sky", "rot sun sun")
    samples = [Sample((*(ids[word] for word in answer.split()), 3), True) for answer in answers]
    samples.append(Sample((ids["mud"], ids["sea"]), False))
    prompts = PROMPTS[: len(samples)]
    prompt_ids = codec.encode_prompts([prompt.prompt for prompt in prompts])
    for config in (BestOfNConfig(), BestOfNConfig(token_score="sum")):
        scores = [score_samples(config, reward, prompts, prompt_ids, samples, codec) for reward in (plain, renumbered)]
        assert scores[1] == pytest.approx(scores[0], abs=1e-5)
