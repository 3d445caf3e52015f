"""UltraFeedback: the best completion against the worst."""

from collections.abc import Callable
from typing import Any

from redpencil.formats.preference_pairs import TIE
from redpencil.formats.ultrafeedback import UNRATED
from redpencil.records import Preference


def completion(text: str, **scores: Any) -> dict[str, Any]:
    return {"model": f"m-{text}", "response": text, **scores}


def item(*completions: dict[str, Any]) -> dict[str, Any]:
    return {"source": "s", "instruction": "Why?", "completions": list(completions)}


def test_the_best_against_the_worst(one: Callable[..., Any]) -> None:
    row = item(*(completion(text, overall_score=score) for text, score in zip("abcd", (5, 9.0, "2", 9), strict=True)))
    found = one(row, "ultrafeedback")
    assert (found.prompt, found.first, found.second, found.preference) == ("Why?", "b", "c", Preference.FIRST)
    assert (found.meta["scored_by"], found.meta["scores"]) == ("overall_score", [9.0, 2.0])
    assert found.meta["completions"] == row["completions"]
    worst = one(row, "ultrafeedback", "responses", drop=frozenset({"source"}))
    assert (worst.response, worst.model, "source" in worst.meta) == ("c", "m-c", False)


def test_other_ratings_where_there_is_no_overall_score(one: Callable[..., Any]) -> None:
    fine = item(
        completion("a", overall_score=None, **{"fine-grained_score": 3.0}),
        completion("b", overall_score=float("nan"), **{"fine-grained_score": 4.5}),
    )
    assert (one(fine, "ultrafeedback").first, one(fine, "ultrafeedback").meta["scored_by"]) == (
        "b",
        "fine-grained_score",
    )
    # Means: a (5 + 2) / 2 = 3.5; b 3, since N/A does not count; c (4 + 4 + 1) / 3 = 3.
    ratings = item(
        completion("a", annotations={"honesty": {"Rating": "5"}, "helpfulness": [{"Rating": "2"}]}),
        completion("b", annotations={"honesty": {"Rating": "3"}, "truthfulness": {"Rating": "N/A"}}),
        completion("c", annotations={"honesty": [{"Rating": 4}, {"Rating": 4}], "helpfulness": {"Rating": "1"}}),
    )
    found = one(ratings, "ultrafeedback")
    assert (found.first, found.second, found.meta["scores"]) == ("a", "b", [3.5, 3.0])


def test_ties_and_unrated_rows_are_counted(read: Callable[..., Any]) -> None:
    tie = item(completion("a", overall_score=4), completion("b", overall_score=4), completion("c", overall_score=4))
    (found,) = read([tie], "ultrafeedback").records
    assert (found.first, found.second, found.preference) == ("a", "b", Preference.TIE)
    rows = [tie, item(), item(completion("a", overall_score=4), completion("b"))]
    assert dict(read(rows, "ultrafeedback", "edits").tally.nothing) == {TIE: 1, UNRATED: 2}


def test_binarised(one: Callable[..., Any]) -> None:
    user = {"role": "user", "content": "Why?"}
    row = {
        "prompt": "Why?",
        "chosen": [user, {"role": "assistant", "content": "So."}],
        "rejected": [user, {"role": "assistant", "content": "No."}],
        "score_chosen": 8.0,
        "score_rejected": 5.0,
    }
    found = one(row, "ultrafeedback")
    assert (found.prompt, found.first, found.preference) == ("Why?", "So.", Preference.FIRST)
    assert found.meta == {"score_chosen": 8.0, "score_rejected": 5.0}
    assert one({**row, "score_rejected": 8}, "ultrafeedback").preference is Preference.TIE


def test_mistakes_are_named(refused: Callable[..., Any]) -> None:
    assert refused({"instruction": "Why?", "completions": "x"}, "ultrafeedback").field == "completions"
    error = refused(item(completion("a", overall_score="good"), completion("b", overall_score=1)), "ultrafeedback")
    assert (error.field, "a number" in error.problem) == ("overall_score", True)


def test_a_ten_that_the_ratings_contradict_does_not_count(one: Callable[..., Any]) -> None:
    def rated(text: str, overall: float, *ratings: str) -> dict[str, Any]:
        return completion(
            text, overall_score=overall, annotations={str(n): {"Rating": r} for n, r in enumerate(ratings)}
        )

    # The bad one has the mean (1 + 2) / 2, the good one (4 + 4) / 2.
    wrong = one(item(rated("bad", 10, "1", "2"), rated("good", 7, "4", "4")), "ultrafeedback")
    assert (wrong.first, wrong.meta["scored_by"], wrong.meta["scores"]) == ("good", "annotations", [4.0, 1.5])
    true = one(item(rated("best", 10, "4", "5"), rated("good", 7, "5", "5")), "ultrafeedback")
    assert (true.first, true.meta["scored_by"]) == ("best", "overall_score")
