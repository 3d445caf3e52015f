"""Edits aligned per second in one process: words, token masks, and token masks with tokenisation.

    python benchmarks/alignment_speed.py
    python benchmarks/alignment_speed.py --count 10000 --json

The edits are those that people made in QA-Feedback, where its file is found, and otherwise made-up texts of the same
size (80 words). Some words of each are exchanged for others on both sides, so that hardly two edits are the same.
The tokenizer is a byte-level BPE trained on the texts. `masks` starts from tokens that are there; `tokenised_masks`
also makes them, in batches, as `redpencil align` does. Where other programs run beside it, the rates per second of
processor time say more than those per second.
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from redpencil.alignment.tokens import Tokens, token_masks
from redpencil.alignment.words import diff_words
from redpencil.models.codec import Codec

QA_FEEDBACK = Path(__file__).parents[1] / ".." / "shared" / "data" / "qa_feedback" / "feedback.json"
END, PAD = "<|endoftext|>", "<|pad|>"
BATCH = 1000
PROGRESS = 20_000
"""Edits between two lines of progress."""

Edit = tuple[str, str]
Rates = dict[str, float]
Result = TypeVar("Result")


def human_edits(path: Path) -> list[Edit]:
    """Responses and the edits that people made of them, where these differ."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    pairs = [(row["prediction 1"], row["feedback"]["corrected-prediction"]) for row in rows]
    return [(before, after) for before, after in pairs if before.strip() and after.strip() and before != after]


def synthetic_edits(count: int, rng: random.Random) -> list[Edit]:
    """Made-up texts of about 80 words in sentences of 16, with a third of the words in another place."""
    letters = "etaoinshrdlucmfwypvbgk"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(3000)]

    def text() -> list[str]:
        words = rng.choices(vocabulary, k=rng.randint(40, 120))
        return [f"{word}." if number % 16 == 15 else word for number, word in enumerate(words)]

    edits = []
    for _ in range(count):
        before = text()
        start = rng.randrange(len(before) // 2)
        after = [*before[:start], *rng.choices(vocabulary, k=len(before) // 3), *before[start + len(before) // 3 :]]
        edits.append((" ".join(before), " ".join(after)))
    return edits


def many_edits(seeds: Sequence[Edit], count: int, seed: int = 0) -> Iterator[Edit]:
    """`count` edits: those of `seeds` in turn, with some words exchanged for others, the same ones on both sides.

    So hardly two edits are the same, and what was equal stays equal.
    """
    rng = random.Random(seed)
    vocabulary = sorted({word for edit in seeds for text in edit for word in text.split(" ")})
    for number in range(count):
        before, after = seeds[number % len(seeds)]
        words = before.split(" ")
        exchanged = dict(zip(rng.choices(words, k=5), rng.choices(vocabulary, k=5), strict=True))
        yield _exchange(before, exchanged), _exchange(after, exchanged)


def _exchange(text: str, words: Mapping[str, str]) -> str:
    return " ".join(words.get(word, word) for word in text.split(" "))


def train_codec(texts: Sequence[str]) -> Codec:
    """A byte-level BPE tokenizer of 8,000 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END, PAD],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)  # type: ignore[no-untyped-call]
    return Codec(fast, "{prompt}", pad_id=fast.pad_token_id, eos_id=fast.eos_token_id)


def align_words(edits: Sequence[Edit]) -> None:
    """Word edits of all pairs."""
    for before, after in edits:
        diff_words(before, after)


def align_tokens(edits: Sequence[Edit], tokens: Sequence[tuple[Tokens, Tokens]]) -> None:
    """Token masks of all pairs, whose tokens are there."""
    for (before, after), sides in zip(edits, tokens, strict=True):
        token_masks(before, after, *sides)


def tokenise(edits: Sequence[Edit], codec: Codec) -> list[tuple[Tokens, Tokens]]:
    """Tokens of both sides of all pairs."""
    before, after = (codec.encode_responses(side) for side in zip(*edits, strict=True))
    return list(zip(before, after, strict=True))


def measure(edits: Sequence[Edit], codec: Codec) -> list[Rates]:
    """Edits per second, and per second of processor time. They go through in batches, whose tokens are not kept."""
    spent = {name: [0.0, 0.0] for name in ("words", "tokens", "masks")}

    def timed(name: str, work: Callable[[], Result]) -> Result:
        start = time.perf_counter(), time.process_time()
        result = work()
        spent[name][0] += time.perf_counter() - start[0]
        spent[name][1] += time.process_time() - start[1]
        return result

    for start in range(0, len(edits), BATCH):
        if start and start % PROGRESS == 0:
            print(f"{start:,} of {len(edits):,} edits aligned", file=sys.stderr)
        batch = edits[start : start + BATCH]
        timed("words", partial(align_words, batch))
        tokens = timed("tokens", partial(tokenise, batch, codec))
        timed("masks", partial(align_tokens, batch, tokens))
    return [
        {
            "words": len(edits) / spent["words"][clock],
            "masks": len(edits) / spent["masks"][clock],
            "tokenised_masks": len(edits) / (spent["tokens"][clock] + spent["masks"][clock]),
        }
        for clock in (0, 1)
    ]


def _medians(rounds: Sequence[Rates]) -> dict[str, int]:
    return {name: round(statistics.median(rates[name] for rates in rounds)) for name in rounds[0]}


def run(count: int, repeats: int, data: Path = QA_FEEDBACK) -> dict[str, object]:
    """Measure `count` edits `repeats` times, after one round to warm up, and say what was measured."""
    human = data.is_file()
    seeds = human_edits(data) if human else synthetic_edits(250, random.Random(1))
    edits = list(many_edits(seeds, count))
    codec = train_codec([text for edit in seeds for text in edit])
    measure(edits[:BATCH], codec)
    rounds = []
    for number in range(1, repeats + 1):
        print(f"round {number} of {repeats}", file=sys.stderr)
        rounds.append(measure(edits, codec))
    per_second, per_processor_second = zip(*rounds, strict=True)
    texts = [text for edit in edits for text in edit]
    return {
        "edits": count,
        "different": len(set(edits)),
        "from": "QA-Feedback" if human else "made-up texts",
        "words_per_text": round(statistics.mean(len(text.split()) for text in texts), 1),
        "characters_per_text": round(statistics.mean(map(len, texts)), 1),
        "repeats": repeats,
        "edits_per_second": _medians(per_second),
        "edits_per_processor_second": _medians(per_processor_second),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument(
        "--count", type=int, default=100_000, help="edits to align (default: 100,000, about a minute a round)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds; their median counts (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    found = run(chosen.count, chosen.repeats)
    if chosen.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['edits']:,} edits from {found['from']}, {found['words_per_text']} words a text")
    rates, processor_rates = found["edits_per_second"], found["edits_per_processor_second"]
    assert isinstance(rates, dict)
    assert isinstance(processor_rates, dict)
    print(f"{'median of ' + str(found['repeats']) + ' rounds':<20} {'per second':>12} {'per processor second':>22}")
    for name, rate in rates.items():
        print(f"{name.replace('_', ' '):<20} {rate:>12,} {processor_rates[name]:>22,}")


if __name__ == "__main__":
    main()
