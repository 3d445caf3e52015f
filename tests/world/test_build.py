"""The world stage writes files that the next stages can read, the same ones for the same seed."""

import random
from hashlib import sha256
from pathlib import Path

import pytest

from redpencil.config.data import WorldConfig
from redpencil.digests import hash_input
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Example, Preference, Prompt, read_jsonl
from redpencil.world.build import annotate, less_preferred, make_domain, make_examples, make_oracle, write_world
from redpencil.world.domain import Domain
from redpencil.world.facts import FactsDomain
from redpencil.world.oracle import Oracle
from redpencil.world.summaries import SummariesDomain

SMALL = WorldConfig(sft_examples=300, train_prompts=60, validation_prompts=20, evaluation_prompts=30)
CONFIGS = {"facts": SMALL, "summaries": SMALL.model_copy(update={"domain": "summaries"})}
PROMPT_FILES = ("prompts.jsonl", "validation_prompts.jsonl", "evaluation_prompts.jsonl")


@pytest.fixture(scope="module", params=["facts", "summaries"])
def config(request: pytest.FixtureRequest) -> WorldConfig:
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def written(config: WorldConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "world"
    write_world(config, 0, folder)
    return folder


def test_prompts_are_disjoint_and_corpora_use_training_prompts_only(written: Path) -> None:
    train, validation, evaluation = ({p.prompt for p in read_jsonl(written / f, Prompt)} for f in PROMPT_FILES)
    assert (len(train), len(validation), len(evaluation), len(train | validation | evaluation)) == (60, 20, 30, 110)
    for name, rows in (("sft.jsonl", 300), ("reference.jsonl", 100)):
        examples = list(read_jsonl(written / name, Example))
        assert len(examples) == rows
        assert {example.prompt for example in examples} <= train


def test_the_reference_corpus_has_about_half_of_the_flaws(config: WorldConfig, written: Path) -> None:
    oracle = make_oracle(config)

    def flaws(name: str) -> float:
        examples = list(read_jsonl(written / name, Example))
        return sum(len(oracle.inspect(e.prompt, e.response).flaws) for e in examples) / len(examples)

    assert flaws("reference.jsonl") / flaws("sft.jsonl") == pytest.approx(0.5, abs=0.12)


def test_the_model_folder_is_there(written: Path) -> None:
    names = {path.name for path in (written / "model").iterdir()}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json", "redpencil.json"}


def test_the_same_seed_writes_the_same_bytes(config: WorldConfig, written: Path, tmp_path: Path) -> None:
    write_world(config, 0, tmp_path / "again")
    write_world(config, 1, tmp_path / "other")
    assert hash_input(tmp_path / "again") == hash_input(written)
    for name in (*PROMPT_FILES, "sft.jsonl", "reference.jsonl"):
        assert hash_input(tmp_path / "other" / name) != hash_input(written / name)


@pytest.mark.parametrize(
    ("domain", "name", "start"),
    [
        ("facts", "prompts.jsonl", "47bda38207e0bda7"),
        ("facts", "validation_prompts.jsonl", "97dea2237f5dd0a4"),
        ("facts", "evaluation_prompts.jsonl", "f63adc9ffa57df44"),
        ("facts", "sft.jsonl", "956aacf06138f3de"),
        ("facts", "reference.jsonl", "735f27681377547d"),
    ],
)
def test_a_world_stays_what_published_results_were_made_on(domain: str, name: str, start: str, tmp_path: Path) -> None:
    """Hashes of the files as they were when docs/results-study.md was measured."""
    write_world(CONFIGS[domain], 0, tmp_path)
    assert sha256((tmp_path / name).read_bytes()).hexdigest().startswith(start)


def test_too_many_prompts_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="the world has 6912"):
        write_world(WorldConfig(train_prompts=7000), 0, tmp_path)


PROMPT = "please describe france . cover capital , currency and language ."
GOOD, BAD = "its capital is paris .", "its capital is madrid ."


def labels(oracle: Oracle, first: str, second: str, flip: float) -> list[Preference]:
    rng = random.Random(0)
    return [annotate(oracle, PROMPT, first, second, rng, flip) for _ in range(4000)]


def test_without_flips_it_is_the_oracle(oracle: Oracle) -> None:
    assert set(labels(oracle, GOOD, BAD, 0)) == {Preference.FIRST}
    assert set(labels(oracle, BAD, GOOD, 0)) == {Preference.SECOND}


def test_a_quarter_of_the_labels_is_flipped_on_either_side(oracle: Oracle) -> None:
    # standard error sqrt(.25 * .75 / 4000) = .007
    assert labels(oracle, GOOD, BAD, 0.25).count(Preference.SECOND) / 4000 == pytest.approx(0.25, abs=0.03)
    assert labels(oracle, BAD, GOOD, 0.25).count(Preference.FIRST) / 4000 == pytest.approx(0.25, abs=0.03)


def test_a_tie_is_broken_by_a_fair_coin(oracle: Oracle) -> None:
    tied = labels(oracle, GOOD, GOOD, 0.25)
    assert set(tied) == {Preference.FIRST, Preference.SECOND}
    assert tied.count(Preference.FIRST) / 4000 == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("preference", "loser"), [(Preference.FIRST, "b"), (Preference.SECOND, "a"), (Preference.TIE, "b")]
)
def test_the_less_preferred_response(preference: Preference, loser: str) -> None:
    assert less_preferred(Comparison("1", PROMPT, "a", "b", preference)) == loser


def test_examples_are_on_the_given_prompts_and_depend_on_the_seed(domain: Domain) -> None:
    (prompts,) = domain.make_prompts(random.Random(0), (30,))
    first, again, other = (list(make_examples(domain, prompts, random.Random(seed), 100)) for seed in (1, 1, 2))
    assert first == again
    assert [e.response for e in first] != [e.response for e in other]
    assert len({e.id for e in first}) == 100
    assert {e.prompt for e in first} <= {p.prompt for p in prompts}


def test_examples_without_prompts_or_on_foreign_ones_are_refused(domain: Domain) -> None:
    with pytest.raises(RedpencilError, match="no prompts"):
        next(make_examples(domain, [], random.Random(0), 1))
    with pytest.raises(RedpencilError, match="not a prompt of the world"):
        next(make_examples(domain, [Prompt("1", "hello")], random.Random(0), 1))


def test_halved_examples_have_half_of_the_flaws(domain: Domain) -> None:
    (prompts,) = domain.make_prompts(random.Random(0), (400,))
    oracle = Oracle(domain)

    def flaws(halved: bool) -> float:
        examples = make_examples(domain, prompts, random.Random(1), 3000, halved=halved)
        verdicts = [oracle.inspect(example.prompt, example.response) for example in examples]
        return sum(len(verdict.flaws) + len(verdict.missing) for verdict in verdicts) / len(verdicts)

    # Some 2.5 flaws a response with a standard deviation of 1.3: the ratio's standard error is about .01.
    assert flaws(True) / flaws(False) == pytest.approx(0.5, abs=0.04)


FACTS_PROMPT = "please describe france . cover capital , currency and language ."


def test_facts_are_the_default() -> None:
    assert isinstance(make_domain(WorldConfig()), FactsDomain)
    assert isinstance(make_domain(WorldConfig(domain="summaries")), SummariesDomain)


def test_the_seed_reaches_the_domain() -> None:
    first, other = (make_domain(WorldConfig(domain="summaries", facts_seed=seed)) for seed in (0, 1))
    assert isinstance(first, SummariesDomain)
    assert isinstance(other, SummariesDomain)
    assert first.confused != other.confused
    facts = make_domain(WorldConfig(facts_seed=1))
    assert isinstance(facts, FactsDomain)
    assert facts.world != FactsDomain(0).world


def test_the_oracle_of_one_domain_does_not_take_prompts_of_the_other() -> None:
    assert make_oracle(WorldConfig()).inspect(FACTS_PROMPT, "its capital is paris .").utility == 1
    with pytest.raises(RedpencilError, match="not a prompt of the world"):
        make_oracle(WorldConfig(domain="summaries")).inspect(FACTS_PROMPT, "its capital is paris .")


def test_each_kind_of_flaw_that_a_domain_writes_has_a_column(domain: Domain) -> None:
    rng = random.Random(0)
    (prompts,) = domain.make_prompts(rng, (500,))
    written = {flaw.kind for prompt in prompts for flaw in domain.plan(prompt.prompt, rng, halved=False).flaws}
    assert written <= set(domain.flaw_kinds)
    assert len(domain.flaw_kinds) == len(set(domain.flaw_kinds))
