"""Turn JFLEG's parallel files into the data of recipes/jfleg.yaml: a sentence of a learner is prompt and response.

The development set is cut into sentences whose corrections are demonstrations, sentences whose corrections are edits of
the unchanged sentence, and sentences to validate on; the test set is to evaluate on. Prompts carry all corrections.
"""

import argparse
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

PEOPLE: Final = 4
DEMONSTRATED: Final = 250
VALIDATION: Final = 100

Row = tuple[str, str, list[str]]


def sentences(folder: Path, split: str) -> list[Row]:
    """Read (id, sentence, its corrections) of a split."""

    def lines(name: str) -> list[str]:
        return [" ".join(line.split()) for line in (folder / f"{split}.{name}").read_text("utf-8").splitlines()]

    corrections = [lines(f"ref{person}") for person in range(PEOPLE)]
    rows = zip(lines("src"), *corrections, strict=True)
    return [(f"{split}-{number}", sentence, list(own)) for number, (sentence, *own) in enumerate(rows, 1)]


def demonstrations(rows: Iterable[Row]) -> Iterator[Mapping[str, Any]]:
    """Each correction as the answer to its sentence."""
    for name, sentence, own in rows:
        for person, text in enumerate(own):
            yield {"id": f"{name}-{person}", "prompt": sentence, "response": text}


def edits(rows: Iterable[Row]) -> Iterator[Mapping[str, Any]]:
    """Each correction as an edit of its sentence."""
    for name, sentence, own in rows:
        for person, text in enumerate(own):
            names = {"id": f"{name}-{person}", "annotator": f"person {person}"}
            yield {**names, "prompt": sentence, "original": sentence, "edited": text}


def prompts(rows: Iterable[Row]) -> Iterator[Mapping[str, Any]]:
    """Each sentence with its corrections."""
    for name, sentence, own in rows:
        yield {"id": name, "prompt": sentence, "meta": {"references": own}}


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file of rows."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="has dev.src, dev.ref0, ... and test.src, test.ref0, ...")
    parser.add_argument("--out", type=Path, default=Path("runs/jfleg-data"))
    chosen = parser.parse_args()
    developed = sentences(chosen.folder, "dev")
    random.Random(0).shuffle(developed)
    shown, learned = developed[:DEMONSTRATED], developed[DEMONSTRATED:-VALIDATION]
    chosen.out.mkdir(parents=True, exist_ok=True)
    write(chosen.out / "sft.jsonl", demonstrations(shown))
    write(chosen.out / "edits.jsonl", edits(learned))
    write(chosen.out / "prompts.jsonl", prompts(learned))
    write(chosen.out / "validation.jsonl", prompts(developed[-VALIDATION:]))
    write(chosen.out / "evaluation.jsonl", prompts(sentences(chosen.folder, "test")))


if __name__ == "__main__":
    main()
