"""The world stage, which writes the model folder, the corpora and the prompts, and a noisy annotator of pairs."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from redpencil.config.data import WorldConfig
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Example, Preference, Prompt, write_jsonl
from redpencil.runs import derive_seed
from redpencil.world.domain import Domain
from redpencil.world.facts import FactsDomain
from redpencil.world.oracle import Oracle
from redpencil.world.summaries import SummariesDomain
from redpencil.world.tokenizer import save_model_folder

_DOMAINS: Mapping[str, Callable[[int], Domain]] = {"facts": FactsDomain, "summaries": SummariesDomain}


def make_domain(config: WorldConfig) -> Domain:
    """Make the domain `config.domain` with its `facts_seed`."""
    return _DOMAINS[config.domain](config.facts_seed)


def make_oracle(config: WorldConfig) -> Oracle:
    """Make the oracle of that domain."""
    return Oracle(make_domain(config))


def make_examples(
    domain: Domain, prompts: Sequence[Prompt], rng: random.Random, n: int, *, halved: bool = False
) -> Iterator[Example]:
    """Write `n` demonstrations on prompts drawn with replacement; `halved` halves the rate of each flaw.

    Raises:
        RedpencilError: if there are no prompts or one of them is not a prompt of this domain.
    """
    if not prompts:
        raise RedpencilError("no prompts to write examples for", hint="give at least one prompt")
    for index in range(n):
        prompt = rng.choice(prompts).prompt
        yield Example(f"example-{index:05d}", prompt, domain.plan(prompt, rng, halved=halved).text)


def write_world(config: WorldConfig, seed: int, folder: Path) -> None:
    """Write a world for one run.

    `model/` holds the tokenizer and config.json; `sft.jsonl` is the flawed corpus and `reference.jsonl`, a third as
    long, one with half of the flaws for the reference policy, both on training prompts; `prompts.jsonl`,
    `validation_prompts.jsonl` and `evaluation_prompts.jsonl` are disjoint.

    Raises:
        RedpencilError: if the domain has too few prompts for the configuration.
    """
    domain = make_domain(config)

    def rng(name: str) -> random.Random:
        return random.Random(derive_seed(seed, "world", name))

    counts = (config.train_prompts, config.validation_prompts, config.evaluation_prompts)
    train, validation, evaluation = domain.make_prompts(rng("prompts"), counts)
    save_model_folder(domain.vocabulary(), config, folder / "model")
    write_jsonl(folder / "prompts.jsonl", train)
    write_jsonl(folder / "validation_prompts.jsonl", validation)
    write_jsonl(folder / "evaluation_prompts.jsonl", evaluation)
    write_jsonl(folder / "sft.jsonl", make_examples(domain, train, rng("sft"), config.sft_examples))
    cleaner = make_examples(domain, train, rng("reference"), max(1, config.sft_examples // 3), halved=True)
    write_jsonl(folder / "reference.jsonl", cleaner)


def annotate(
    oracle: Oracle, prompt: str, first: str, second: str, rng: random.Random, flip: float = 0.25
) -> Preference:
    """Choose the preferred response, never a tie: a coin decides ties, then the label flips with probability `flip`."""
    preference = oracle.prefers(prompt, first, second)
    prefers_first = rng.random() < 0.5 if preference is Preference.TIE else preference is Preference.FIRST
    if rng.random() < flip:
        prefers_first = not prefers_first
    return Preference.FIRST if prefers_first else Preference.SECOND


def less_preferred(comparison: Comparison) -> str:
    """Return the response that lost; the second one of a tie."""
    return comparison.first if comparison.preference is Preference.SECOND else comparison.second
