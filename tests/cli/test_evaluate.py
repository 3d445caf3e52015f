"""`evaluate`: win rates, judges, reward models and efficiency."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from redpencil.records import Comparison, Edit, Preference, Response, read_jsonl, write_jsonl
from redpencil.text import read_json
from redpencil.web import work
from redpencil.web.database import open_database, writing
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.schema import person


def curve(folder: Path, *win_rates: float | None) -> Path:
    folder.mkdir()
    rows = [
        {"step": step, "seconds": 2.0 * step} | ({} if rate is None else {"eval/win_rate": rate})
        for step, rate in enumerate(win_rates)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_efficiency_by_hand(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    # The sequence arm is best, 50, at step 4; the token arm first has as much at step 2: in 2/4 of the steps.
    token = curve(tmp_path / "token", 40, None, 51, 45, 60)
    sequence = curve(tmp_path / "sequence", 40, 44, 48, 49, 50)
    arguments = ("evaluate", "efficiency", "--token", token, "--sequence", sequence)
    assert json.loads(redpencil(*arguments, "--json").out) == {
        "efficiency": {
            "token_step": 2, "sequence_step": 4, "ratio": 0.5, "token_seconds": 4.0, "sequence_seconds": 8.0,
        }
    }  # fmt: skip
    assert "at step 4 (8 s), at step 2 (4 s): in 0.50 of the steps" in redpencil(*arguments).out
    swapped = redpencil("evaluate", "efficiency", "--token", sequence, "--sequence", token)
    assert "never reaches" in swapped.out


def test_efficiency_needs_curves(mistake: Callable[..., str], tmp_path: Path) -> None:
    sequence = curve(tmp_path / "sequence", 40, 44)
    start = ("evaluate", "efficiency", "--sequence", sequence, "--token")
    assert "nowhere: no such folder" in mistake(*start, tmp_path / "nowhere")
    assert "[eval/win_rate]: its metrics.jsonl holds no win rate" in mistake(*start, curve(tmp_path / "x", None))
    for row in ('{"eval/win_rate": 1}', '{"step": "x", "seconds": 1, "eval/win_rate": 1}'):
        (tmp_path / "x" / "metrics.jsonl").write_text(row)
        assert "metrics.jsonl:1 [step]: it is not a number" in mistake(*start, tmp_path / "x")


ALPACA_EVAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "alpaca_eval"


def judgements(path: Path, *preferences: str, ids: str = "abcdefgh", **more: str) -> Path:
    rows = [
        {"id": name, "prompt": "p", "first": "one two", "second": "three", "preference": preference, **more}
        for name, preference in zip(ids, preferences, strict=False)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_one_policy_is_one_object_by_hand(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    # 1, 1, .5, 0: mean .625; deviations .375, .375, -.125, -.625: squares sum to .6875; /3 = .2292, /4 = .0573,
    # root .2394. The fifth has no verdict.
    path = judgements(tmp_path / "ours.jsonl", "first", "first", "tie", "second", "none")
    found = json.loads(redpencil("evaluate", "win-rate", path, "--json").out)
    assert (found["win_rate"], found["n"], found["unparsed"]) == (62.5, 4, 1)
    assert (found["wins"], found["losses"], found["draws"]) == (2, 1, 1)
    assert found["standard_error"] == pytest.approx(23.94, abs=0.01)
    assert (found["mean_words"], found["mean_length_reference"]) == (2, 5)
    assert found["length_controlled"] is None
    assert found["warnings"] == ["ours: 1 of 5 comparisons have no verdict"]


def test_several_policies_are_paired_and_ranked_by_hand(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    # Against 0, 1, .5, .5 in the order of ours the differences are 1, 0, 0, -.5: mean .125, squares about it sum to
    # .7656 + .0156 + .0156 + .3906 = 1.1875; /3/4 = .0990, root .3146.
    ours = judgements(tmp_path / "ours.jsonl", "first", "first", "tie", "second")
    theirs = judgements(tmp_path / "theirs.jsonl", "tie", "tie", "first", "second", ids="dcba")
    found = json.loads(redpencil("evaluate", "win-rate", ours, theirs, "--json").out)
    assert [found["policies"][name]["win_rate"] for name in ("ours", "theirs")] == [62.5, 50]
    difference = found["differences"]["ours minus theirs"]
    assert (difference["value"], difference["better"], difference["worse"], difference["p_value"]) == (12.5, 1, 1, 1)
    assert difference["standard_error"] == pytest.approx(31.46, abs=0.01)
    assert [row["name"] for row in found["ranking"]] == ["ours", "theirs", "the reference"]
    shown = redpencil("evaluate", "win-rate", ours, theirs).out
    assert "62.5 [" in shown
    assert "ours minus theirs: +12.5 points (95 %" in shown
    assert "2/1/1" in shown


def test_a_policy_that_is_another_ones_reference_is_ranked_once(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    one = judgements(tmp_path / "one.jsonl", "first", "tie", policy="a", reference="base")
    two = judgements(tmp_path / "two.jsonl", "first", "first", policy="b", reference="a")
    ranking = json.loads(redpencil("evaluate", "win-rate", one, two, "--json").out)["ranking"]
    assert [(row["name"], row["matches"]) for row in ranking] == [("two", 2), ("one", 4), ("base (reference)", 2)]


def test_one_judgement_has_no_standard_error(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    found = json.loads(redpencil("evaluate", "win-rate", judgements(tmp_path / "one.jsonl", "first"), "--json").out)
    assert (found["win_rate"], found["standard_error"], found["low"]) == (100, None, None)


def test_files_of_one_name_are_told_apart(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        judgements(tmp_path / name / "token.jsonl", "first", "tie")
    paths = [tmp_path / name / "token.jsonl" for name in ("a", "b")]
    found = json.loads(redpencil("evaluate", "win-rate", *paths, "--json").out)
    assert list(found["policies"]) == [str(path) for path in paths]


def test_kinds_of_prompts_by_any_key(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "ours.jsonl"
    rows = [*judgements(tmp_path / "x.jsonl", "first", "tie", topic="tea").read_text().splitlines()]
    rows += judgements(tmp_path / "y.jsonl", "second", ids="z", topic="milk").read_text().splitlines()
    path.write_text("\n".join(rows))
    found = json.loads(redpencil("evaluate", "win-rate", path, "--by", "topic", "--json").out)["categories"]
    assert {kind: row["win_rate"] for kind, row in found.items()} == {"tea": 75, "milk": 0}
    assert json.loads(redpencil("evaluate", "win-rate", path, "--json").out)["categories"] == {}
    assert "ours.jsonl [level]: no row has this key" in mistake("evaluate", "win-rate", path, "--by", "level")
    assert "tea" in redpencil("evaluate", "win-rate", path, "--by", "topic").out


def test_what_files_do_not_allow_is_said_and_the_rest_told(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    ours = judgements(tmp_path / "ours.jsonl", "first", "tie", policy="a", reference="base")
    other = judgements(tmp_path / "other.jsonl", "first", "tie", ids="ax", policy="b", reference="base", prompt="q")
    found = json.loads(redpencil("evaluate", "win-rate", ours, other, "--json").out)
    assert [row["win_rate"] for row in found["policies"].values()] == [75, 75]
    assert found["differences"] == {}
    assert len(found["ranking"]) == 3
    (warning,) = found["warnings"]
    assert warning.startswith("ours and other cannot be paired: judged on different prompts")
    apart = judgements(tmp_path / "apart.jsonl", "tie", "tie", policy="c", reference="d", second="four")
    found = json.loads(redpencil("evaluate", "win-rate", ours, apart, "--json").out)
    assert (found["ranking"], found["differences"]) == ([], {})
    assert "different references" in found["warnings"][0]
    assert found["warnings"][1].startswith("no ranking: apart and base (reference) are not linked")


def test_files_with_other_ids_are_paired_by_prompt(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    files = []
    for name, ids, prompts, verdicts in (
        ("ours", "ab", ("Name a colour.", "Name a fruit."), ("first", "second")),
        ("theirs", "xy", ("Name a fruit.", "Name a colour."), ("tie", "second")),
    ):
        path = tmp_path / f"{name}.jsonl"
        rows = [
            {"id": id_, "prompt": prompt, "first": "one", "second": "two", "preference": verdict, "policy": name}
            for id_, prompt, verdict in zip(ids, prompts, verdicts, strict=True)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files.append(path)
    found = json.loads(redpencil("evaluate", "win-rate", *files, "--json").out)
    # colour: 1 against 0; fruit: 0 against .5
    assert found["differences"]["ours minus theirs"]["value"] == pytest.approx(25)
    assert "ours and theirs: 2 of 2 rows were matched by prompt, as their ids differ" in found["warnings"]


def test_policies_against_different_references_are_not_paired(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    one = judgements(tmp_path / "one.jsonl", "first", "first", policy="a", reference="base")
    two = judgements(tmp_path / "two.jsonl", "tie", "tie", policy="b", reference="a", second="one two")
    found = json.loads(redpencil("evaluate", "win-rate", one, two, "--json").out)
    assert found["differences"] == {}


def test_a_policy_that_meets_itself_is_not_a_verdict_on_its_rank(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    judgements(tmp_path / "a.jsonl", "first", "tie", policy="a", reference="base")
    judgements(tmp_path / "b.jsonl", "first", ids="x", policy="a", reference="a")
    path.write_text((tmp_path / "a.jsonl").read_text() + (tmp_path / "b.jsonl").read_text())
    two = judgements(tmp_path / "two.jsonl", "first", "tie", policy="b", reference="base")
    ranking = json.loads(redpencil("evaluate", "win-rate", path, two, "--json").out)["ranking"]
    assert {row["name"]: row["matches"] for row in ranking} == {"one": 2, "two": 2, "base (reference)": 4}


def test_names_that_coincide_do_not_merge_players(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    def players(*paths: Path) -> dict[str, int]:
        ranking = json.loads(redpencil("evaluate", "win-rate", *paths, "--json").out)["ranking"]
        return {row["name"]: row["matches"] for row in ranking}

    # A file that is called as references are, and two files of one policy, of which a reference could be either.
    other = judgements(tmp_path / "other.jsonl", "first", "tie")
    assert players(judgements(tmp_path / "reference.jsonl", "first", "tie"), other) == {
        "reference": 2, "other": 2, "the reference": 4
    }  # fmt: skip
    one, two = (judgements(tmp_path / f"{n}.jsonl", "first", "tie", policy="m", reference="base") for n in "ab")
    three = judgements(tmp_path / "c.jsonl", "tie", "tie", policy="k", reference="m")
    found = json.loads(redpencil("evaluate", "win-rate", one, two, three, "--json").out)
    assert found["ranking"] == []
    assert any("m (reference)" in warning or "c are not linked" in warning for warning in found["warnings"])


def test_mistakes_name_the_file_and_the_hint(mistake: Callable[..., str], tmp_path: Path) -> None:
    ours = judgements(tmp_path / "ours.jsonl", "first", "tie")
    twice = judgements(tmp_path / "twice.jsonl", "first", "tie", ids="aa")
    assert "twice.jsonl [id]: two verdicts of one annotator have the id 'a'" in mistake("evaluate", "win-rate", twice)
    none = judgements(tmp_path / "none.jsonl", "none", "none")
    assert "none.jsonl: none of the 2 comparisons has a verdict" in mistake("evaluate", "win-rate", none)
    assert "no such format: 'csv' hint: one of redpencil, alpaca-eval" in mistake(
        "evaluate", "win-rate", ours, "--format", "csv"
    )


def edits_of(path: Path, *rows: tuple[str, str, str], **more: Any) -> Path:
    lines = [
        {"id": str(n), "prompt": prompt, "original": original, "edited": edited, **more}
        for n, (prompt, original, edited) in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_edits_still_needed_by_hand(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    rows = [("p", "a b c d", "a x c d"), ("q", "a b c d e f", "a b c d e f g h"), ("r", "a b", "a b")]
    before = edits_of(tmp_path / "before.jsonl", *rows)
    after = edits_of(tmp_path / "after.jsonl", *((prompt, text, text) for prompt, text, _ in rows[:2]))
    other = edits_of(tmp_path / "other.jsonl", ("s", "a", ""))
    found = json.loads(redpencil("evaluate", "edits", before, after, other, "--json").out)
    policy = found["policies"]["before"]
    assert policy["accepted"]["value"] == pytest.approx(100 / 3)
    assert policy["edits"]["value"] == pytest.approx(100 * 2 / 12)
    assert policy["words"]["value"] == pytest.approx(100 * 3 / 12)
    assert (policy["answers"], policy["prompts"]) == (3, 3)
    assert list(found["differences"]) == ["after minus before"]
    difference = found["differences"]["after minus before"]
    assert (difference["accepted"]["value"], difference["prompts"]) == (100, 2)
    assert difference["words"]["value"] == pytest.approx(-30)
    assert found["warnings"] == [
        f"other and {name} cannot be paired: they share no prompt" for name in ("before", "after")
    ]
    said = redpencil("evaluate", "edits", before, after)
    assert "33.3" in said.out
    assert "-30.0" in said.out


def test_white_space_counts_where_the_recipe_says_so(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    path = edits_of(tmp_path / "code.jsonl", ("p", "if x:\n  y", "if x:\n    y"))
    for keys, accepted in (((), 100), (("--set", "align.restore_spacing=false"), 0)):
        found = json.loads(redpencil("evaluate", "edits", path, "--json", *keys).out)
        assert found["policies"]["code"]["accepted"]["value"] == accepted


def test_edits_that_say_nothing_are_named(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tmp_path: Path
) -> None:
    failed = edits_of(tmp_path / "failed.jsonl", ("p", "a b", "a b"), outcome="failed")
    assert "failed.jsonl: none of 1 answers has an edit" in mistake("evaluate", "edits", failed)
    assert "failed.jsonl: it is named twice" in mistake("evaluate", "edits", failed, failed)
    two_people = tmp_path / "two.jsonl"
    two_people.write_bytes(
        b"".join(edits_of(tmp_path / "x", ("p", "a b", text)).read_bytes() for text in ("a c", "a b"))
    )
    found = json.loads(redpencil("evaluate", "edits", two_people, "--json").out)
    assert found["policies"]["two"]["accepted"]["value"] == 50
    assert found["warnings"] == ["two: 1 of 2 edits are further ones of an answer, and count as if of another"]
    cut = edits_of(tmp_path / "cut.jsonl", ("p", "a b", "a b"), meta={"finished": False})
    found = json.loads(redpencil("evaluate", "edits", cut, "--json").out)
    assert found["policies"]["cut"]["accepted"]["value"] == 0
    assert found["warnings"] == ["cut: 1 of 1 answers were cut off and are not accepted"]


@pytest.mark.parametrize("model", ["alpaca-7b", "alpaca-farm-ppo-human"])
def test_the_published_leaderboard_to_1e_9(redpencil: Callable[..., Any], model: str) -> None:
    path = ALPACA_EVAL / f"{model}.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    with (ALPACA_EVAL / "leaderboard.csv").open(newline="") as file:
        published = {row[""]: row for row in csv.DictReader(file)}[model]
    found = json.loads(redpencil("evaluate", "win-rate", path, "--format", "alpaca-eval", "--json").out)
    for key in ("win_rate", "standard_error"):
        assert found[key] == pytest.approx(float(published[key]), abs=1e-9)
    names = {"wins": "n_wins", "losses": "n_wins_base", "draws": "n_draws", "n": "n_total"}
    assert {ours: found[ours] for ours in names} == {ours: int(published[theirs]) for ours, theirs in names.items()}
    assert list(found["categories"]) == ["helpful_base", "koala", "oasst", "selfinstruct", "vicuna"]
    far = [line for line in found["warnings"] if "at equal length" in line]
    assert bool(far) == (model == "alpaca-farm-ppo-human")


QA = Path(__file__).parents[3] / "shared" / "data" / "qa_feedback" / "feedback.json"


def rows(path: Path, *preferences: str, first: str = "one two", second: str = "three") -> Path:
    found = [Comparison(f"q{n}", f"prompt {n}", first, second, Preference(told)) for n, told in enumerate(preferences)]
    write_jsonl(path, found)
    return path


def test_one_judge_is_one_object_and_several_stand_under_their_names(
    redpencil: Callable[..., Any], tmp_path: Path
) -> None:
    people = rows(tmp_path / "people.jsonl", "first", "second", "tie", "tie")
    one = rows(tmp_path / "one.jsonl", "first", "first", "tie", "second")
    other = rows(tmp_path / "other.jsonl", "none", "second", "tie", "tie")
    found = json.loads(redpencil("evaluate", "judge", one, "--against", people, "--json").out)
    assert (found["agreement"]["value"], found["agreement"]["n"], found["comparisons"]) == (50, 4, 4)
    assert found["longer"]["value"] == pytest.approx(200 / 3)  # first twice, second once; the first is longer
    assert found["people_longer"]["value"] == 50
    both = json.loads(redpencil("evaluate", "judge", one, other, "--against", people, "--json").out)["judges"]
    assert (list(both), both["other"]["agreement"]["n"], both["other"]["unparsed"]["value"]) == (
        ["one", "other"], 3, 25,
    )  # fmt: skip
    table = redpencil("evaluate", "judge", one, other, "--against", people).out
    assert all(text in table for text in ("agreement", "kappa", "flips", "longer", "unparsed", "$ for 1,000"))


def test_without_people_the_rest_is_measured(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    one = rows(tmp_path / "one.jsonl", "first", "none")
    found = json.loads(redpencil("evaluate", "judge", one, "--json").out)
    assert (found["agreement"], found["no_verdict"]["value"]) == (None, 50)


def test_what_does_not_match_is_said(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tmp_path: Path
) -> None:
    one = rows(tmp_path / "one.jsonl", "first")
    more = rows(tmp_path / "more.jsonl", "first", "first")
    assert "one: 1 pairs of" in redpencil("evaluate", "judge", one, "--against", more).err
    write_jsonl(tmp_path / "else.jsonl", [Comparison("z", "p", "a", "b", Preference.FIRST)])
    told = redpencil("evaluate", "judge", one, "--against", tmp_path / "else.jsonl").err
    assert "warning: one: no verdict can be compared with a person's" in told
    texts = rows(tmp_path / "texts.jsonl", "first", first="other")
    assert "one.jsonl [id]: the judge and people judged different" in mistake(
        "evaluate", "judge", one, "--against", texts
    )


def test_real_people_and_rules_by_the_commands(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    if not QA.exists():
        pytest.skip("the real data is not there: ../shared/data/qa_feedback")
    people = tmp_path / "people.jsonl"
    redpencil("import", QA, "--format", "qa-feedback", "--as", "comparisons", "--out", people)
    redpencil("judge", "--comparisons", people, "--judge", "longer", "--out", tmp_path / "longer.jsonl")
    found = json.loads(redpencil("evaluate", "judge", tmp_path / "longer.jsonl", "--against", people, "--json").out)
    # Counted from the raw JSON, see tests/evaluation/test_judge_quality.py.
    assert found["agreement"]["value"] == pytest.approx(100 * 653 / 1500)
    assert found["agreement_without_ties"]["value"] == pytest.approx(100 * 644 / 1301)


def test_comparisons_of_the_annotation_service_are_judgements(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    database = tmp_path / "judged.db"
    for name in ("ours", "theirs"):
        write_jsonl(tmp_path / name, [Response(f"p{n}", f"Q{n}", f"{name} {n}", model=name) for n in range(20)])
    no_serve = ("annotate", database, "--no-serve")
    assert redpencil(*no_serve, "--compare", tmp_path / "ours", tmp_path / "theirs").code == 0
    compare(database, Ada=15)
    assert redpencil(*no_serve, "--export-comparisons", tmp_path / "people.jsonl").code == 0
    exported = list(read_jsonl(tmp_path / "people.jsonl", Comparison))
    # The person saw half of the pairs the other way round, and took ours 15 times; the file has ours first.
    assert {row.meta["annotation"]["shown_first"] for row in exported} == {"first", "second"}
    assert all(row.first.startswith("ours") and row.meta["first_model"] == "ours" for row in exported)
    rate = json.loads(redpencil("evaluate", "win-rate", tmp_path / "people.jsonl", "--json").out)
    assert (rate["wins"], rate["losses"], rate["win_rate"]) == (15, 5, 75)
    redpencil(
        *("judge", "--policy", tmp_path / "ours", "--reference", tmp_path / "theirs", "--judge", "shorter"),
        *("--out", tmp_path / "shorter.jsonl"),
    )
    arguments = ("evaluate", "judge", tmp_path / "shorter.jsonl", "--against", tmp_path / "people.jsonl", "--json")
    found = json.loads(redpencil(*arguments).out)
    assert (found["compared"], found["agreement"]["value"]) == (20, 75)
    themselves = json.loads(redpencil("evaluate", "judge", tmp_path / "people.jsonl", "--json").out)
    # With 15 of 20 for ours, who stood first won where ours did and was taken, or theirs did and was.
    first = sum(row.preference.value == row.meta["annotation"]["shown_first"] for row in exported)
    assert themselves["first_position"]["value"] == pytest.approx(100 * first / 20)
    assert themselves["seconds"] == pytest.approx(sum(row.meta["annotation"]["seconds"] for row in exported) / 20)


def test_several_people_of_the_annotation_service_are_people(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    database = tmp_path / "judged.db"
    for name in ("ours", "theirs"):
        write_jsonl(tmp_path / name, [Response(f"p{n}", f"Q{n}", f"{name} {n}", model=name) for n in range(20)])
    no_serve = ("annotate", database, "--no-serve")
    assert redpencil(*no_serve, "--compare", tmp_path / "ours", tmp_path / "theirs").code == 0
    compare(database, Ada=15, Ben=5)
    people = tmp_path / "people.jsonl"
    assert redpencil(*no_serve, "--export-comparisons", people).code == 0
    assert len(list(read_jsonl(people, Comparison))) == 40
    redpencil("judge", "--comparisons", people, "--judge", "shorter", "--out", tmp_path / "shorter.jsonl")
    found = json.loads(redpencil("evaluate", "judge", tmp_path / "shorter.jsonl", "--against", people, "--json").out)
    # Ours is the shorter one. Ada agrees in 15 of 20 and Ben in 5, both in the first 5: by prompt these are 5 times 2
    # of 2, 10 times 1 and 5 times 0; the residual sums 1, 0 and -1 make the variance 20/19 * 10 / 40^2.
    assert (found["comparisons"], found["compared"], found["agreement"]["value"]) == (20, 40, 50)
    assert found["agreement"]["standard_error"] == pytest.approx(100 * (20 / 19 * 10 / 1600) ** 0.5)
    themselves = json.loads(redpencil("evaluate", "judge", people, "--against", people, "--json").out)
    assert (themselves["comparisons"], themselves["compared"]) == (40, 40)
    assert themselves["agreement"]["value"] == 50  # Ada and Ben say the same of the first 5 and the last 5


def compare(database: Path, **ours_first: int) -> None:
    """Everybody takes ours in their first so many pairs and theirs in the others."""
    engine = open_database(str(database))
    with writing(engine) as connection:
        new = person.insert().values(role="editor", created=0.0).returning(person.c.id)
        ids = {name: connection.execute(new.values(name=name)).scalar_one() for name in ours_first}
        write_project(connection, ProjectConfig(editors_per_item=len(ids)))
    for name, editor in ids.items():
        for _ in range(20):
            task = work.next_task(engine, editor, now=0.0)
            assert task is not None
            ours = task.response.startswith("ours")
            wanted = int(task.response.split()[1]) < ours_first[name]
            choice = "first" if ours == wanted else "second"
            work.submit(engine, editor, task.assignment_id, 0, work.Submission(choice), now=10.0)
    engine.dispose()


NAMES = ("token_edits", "sequence_edits", "sequence_comparisons")


def models(run: Path, *names: str) -> list[Any]:
    return [part for name in names for part in ("--model", run / f"reward-{name}" / "checkpoint")]


def test_the_accuracy_matrix_is_that_of_the_run(redpencil: Callable[..., Any], tiny_run: Any) -> None:
    run = tiny_run.folder
    tests = [part for name in ("edits", "comparisons") for part in ("--pairs", run / "align" / f"{name}_test.jsonl")]
    outcome = redpencil("evaluate", "reward", *models(run, *NAMES), *tests, "--json")
    found, expected = json.loads(outcome.out)["reward_accuracy"], read_json(run / "results.json")["reward_accuracy"]
    assert list(found) == [*(f"reward-{name}" for name in NAMES), "shorter_wins", "longer_wins"]
    for name, row in expected.items():
        if name == "artefacts":  # pairs have no texts
            continue
        for kind in ("edits", "comparisons"):
            cell = found[name if name.endswith("_wins") else f"reward-{name}"][f"{kind}_test"]
            assert {key: cell[key] for key in row[kind]} == row[kind]
            assert 0 <= cell["low"] <= cell["value"] <= cell["high"] <= 100
    shorter, longer = (found[f"{name}_wins"]["edits_test"]["value"] for name in ("shorter", "longer"))
    assert longer == pytest.approx(100 - shorter)


def test_texts_give_what_the_run_found(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    run, page = tiny_run.folder, tmp_path / "page.html"
    annotations = run / "annotations"
    arguments = (
        *("evaluate", "reward", *models(run, *NAMES), "--edits", annotations / "edits_test.jsonl", "--recipe", tiny),
        *("--comparisons", annotations / "comparisons_test.jsonl", "--html", page),
    )
    found, expected = json.loads(redpencil(*arguments, "--json").out), read_json(run / "results.json")
    for name in NAMES:
        for kind in ("edits", "comparisons"):
            cell = found["reward_accuracy"][f"reward-{name}"][f"{kind}_test"]
            assert cell["value"] == expected["reward_accuracy"][name][kind]["value"]
    localised = found["localisation"]["reward-token_edits"]["edits_test"]["edited"]
    assert localised["auroc"] == pytest.approx(expected["localisation"]["token_edits"]["edited_auroc"], abs=1e-6)
    assert list(found["localisation"]) == list(found["drift"]) == ["reward-token_edits"]
    assert found["models"]["reward-sequence_comparisons"] == {"level": "sequence", "trained_on": "comparisons"}
    edits = {row.id: row for row in read_jsonl(annotations / "edits_test.jsonl", Edit)}
    for model in found["worst_pairs"].values():
        for pairs in model["edits_test"].values():
            assert all(pair["margin"] < 0 and pair["edited"] == edits[pair["id"]].edited for pair in pairs)
    text = page.read_text(encoding="utf-8")
    assert "reward-token_edits" in text
    assert "Worst pairs of edits_test" in text


def test_what_the_terminal_shows(redpencil: Callable[..., Any], tiny_run: Any, tiny: Path) -> None:
    run = tiny_run.folder
    shown = redpencil(
        *("evaluate", "reward", *models(run, "token_edits"), "--recipe", tiny),
        *("--edits", run / "annotations" / "edits_test.jsonl"),
    ).out
    for title in (
        "Pairs ranked right, %",
        "Calibration",
        "Localisation",
        "Drift of unchanged tokens",
        "By type of edit",
    ):
        assert f"\n{title}" in shown
    assert "The shorter text wins" in shown
    assert "Within a" in shown
    if "Worst pairs" in shown:
        assert "[-" in shown or "{+" in shown


def test_rows_of_rewardbench(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tiny_run: Any, tmp_path: Path
) -> None:
    run, path = tiny_run.folder, tmp_path / "filtered.json"
    rows = [
        {
            "prompt": row.prompt,
            "chosen": row.first,
            "chosen_model": "a",
            "rejected": row.second,
            "rejected_model": "b",
            "subset": ("alpacaeval-easy", "math-prm", "hep-cpp", "donotanswer", "llmbar-natural")[n % 5],
            "id": 1,
        }
        for n, row in enumerate(read_jsonl(run / "annotations" / "comparisons_test.jsonl", Comparison))
    ]
    path.write_text(json.dumps(rows))
    arguments = ("evaluate", "reward", *models(run, "token_edits"), "--rewardbench", path)
    bench = json.loads(redpencil(*arguments, "--json").out)["reward_bench"]["reward-token_edits"]["filtered"]
    assert list(bench["sections"]) == ["Chat", "Chat Hard", "Safety", "Reasoning"]
    assert bench["score"] == pytest.approx(sum(bench["sections"].values()) / 4)
    assert bench["sections"]["Chat"] == bench["subsets"]["alpacaeval-easy"]["value"]
    assert "RewardBench score" in redpencil(*arguments).out
    del rows[1]["subset"]
    path.write_text(json.dumps(rows))
    assert "subset" in mistake(*arguments)
    for wrong in ({"prompt": "p"}, {**rows[0], "chosen": 7}):
        path.write_text(json.dumps([wrong]))
        told = mistake(*arguments)
        assert "hint: give rows as RewardBench has them: prompt, chosen" in told
        assert "--" not in told


def test_rows_of_rewardbench_2(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tiny_run: Any, tmp_path: Path
) -> None:
    run, path = tiny_run.folder, tmp_path / "two.jsonl"
    rows = list(read_jsonl(run / "annotations" / "comparisons_test.jsonl", Comparison))
    texts = [row.first for row in rows if row.first != rows[0].first][:4]
    asked = rows[0].prompt
    bench: list[dict[str, Any]] = [
        {"id": str(n), "prompt": asked, "chosen": [text], "rejected": [*texts[:n], *texts[n + 1 :]], "subset": "Math"}
        for n, text in enumerate(texts)
    ]
    bench.append({"id": "ref:1", "prompt": asked, "chosen": texts[:1], "rejected": texts[1:2], "subset": "Ties"})
    bench.append({"id": "tied:1", "prompt": asked, "chosen": texts[:2], "rejected": texts[2:], "subset": "Ties"})
    bench.append({"id": "9", "prompt": asked, "chosen": ["word " * 5000], "rejected": texts[1:], "subset": "Focus"})
    path.write_text("".join(json.dumps(row) + "\n" for row in bench))
    arguments = ("evaluate", "reward", *models(run, "token_edits"), "--rewardbench", path)
    found = json.loads(redpencil(*arguments, "--json").out)["reward_bench_2"]["reward-token_edits"]["two"]
    # Each of four answers was once the right one, so one row in four is right.
    assert (found["subsets"]["Math"]["value"], found["subsets"]["Math"]["n"]) == (pytest.approx(25), 4)
    assert (found["ties"]["n"], found["ties"]["ref"] in (0, 50, 100), found["score"]) == (1, True, None)
    shown = redpencil(*arguments).out
    assert "RewardBench 2, % of rows ranked right" in shown
    assert "Ties: several right answers" in shown
    path.write_text(json.dumps({**bench[-2], "id": "7"}))
    assert f"{path} [id]: a row of the subset Ties has the id '7'" in mistake(*arguments)
    first = {**bench[0], "chosen": "a", "rejected": "b"}
    path.write_text("".join(json.dumps(row) + "\n" for row in (first, bench[1])))
    assert "files of their own" in mistake(*arguments)
    path.write_text(json.dumps({**bench[0], "rejected": "b"}))
    told = mistake(*arguments)
    assert "RewardBench 2 has: prompt, lists of chosen" in told
    assert "--" not in told
    path.write_bytes(b'{"prompt": "\xff"}')
    told = mistake(*arguments)
    assert "not valid UTF-8" in told
    assert told.rstrip().endswith("hint: convert the file to UTF-8")


def test_a_model_that_does_not_say_how_it_learned_prompts_reads_its_chat_template(
    redpencil: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    bare = shutil.copytree(tiny_run.folder / "reward-token_edits" / "checkpoint", tmp_path / "bare")
    (bare / "redpencil.json").unlink()
    edits = tiny_run.folder / "annotations" / "edits_test.jsonl"
    arguments = ("evaluate", "reward", "--model", bare, "--edits", edits, "--json")

    def brier() -> float:
        return float(json.loads(redpencil(*arguments).out)["calibration"]["bare"]["edits_test"]["brier"])

    plain = brier()
    (bare / "chat_template.jinja").write_text("<bos> {{ messages[0]['content'] }} <answer>")
    chat = brier()
    assert chat != plain
    (bare / "redpencil.json").write_text('{"prompt_template": "<bos> {prompt} <answer>"}')
    assert brier() == chat


def test_test_sets_of_one_name_are_told_apart(redpencil: Callable[..., Any], tiny_run: Any, tmp_path: Path) -> None:
    run, other = tiny_run.folder, tmp_path / "edits_test.jsonl"
    shutil.copy(run / "align" / "edits_test.jsonl", other)
    paths = [run / "align" / "edits_test.jsonl", other]
    tests = [part for path in paths for part in ("--pairs", path)]
    found = json.loads(redpencil("evaluate", "reward", *models(run, "token_edits"), *tests, "--json").out)
    assert list(found["tests"]) == [str(path) for path in paths]


def test_models_without_sense_are_named(mistake: Callable[..., str], tiny_run: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_run.folder / "reward-token_edits" / "checkpoint", broken)
    weights = load_file(broken / "model.safetensors")
    weights["score.weight"].fill_(3e38)  # finite, and no reward of it is
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    pairs = tiny_run.folder / "align" / "edits_test.jsonl"
    told = mistake("evaluate", "reward", "--model", broken, "--pairs", pairs)
    assert "broken: the reward model gives a response of edits_test the reward" in told


def test_accuracy_needs_a_reward_model_and_pairs_that_fit(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tiny_run: Any, tmp_path: Path
) -> None:
    run = tiny_run.folder
    pairs, policy = run / "align" / "edits_test.jsonl", run / "sft" / "checkpoint"
    assert "is not a reward model" in mistake("evaluate", "reward", "--model", policy, "--pairs", pairs)
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"id": "x", "prompt_ids": [1], "rejected_ids": [9999], "chosen_ids": [2]}))
    start = ("evaluate", "reward", *models(run, "token_edits"))
    assert "bad.jsonl: pair 'x'" in mistake(*start, "--pairs", bad)
    bad.write_text(json.dumps({"id": "1", "prompt": "p", "original": "a", "edited": "a"}))
    assert "bad.jsonl: it holds no pair to score (1" in mistake(*start, "--edits", bad)
    assert "would change the finished stage" in mistake(*start, "--pairs", pairs, "--html", pairs)
    copied = shutil.copy(pairs, tmp_path / "pairs.jsonl")
    assert "is also an input" in mistake(*start, "--pairs", copied, "--html", copied)
    refused = redpencil(*start)
    assert refused.code == 2
    assert "give --edits, --comparisons, --rewardbench or" in " ".join(refused.err.replace("│", " ").split())


def test_trivial_rules_stand_beside_the_model_and_a_warning_behind(
    redpencil: Callable[..., Any], word_reward: Callable[..., Path], tmp_path: Path
) -> None:
    # Each edit takes `oh` out from behind and ends in white space, two edits of each prompt.
    rows = [
        {
            "id": str(n),
            "prompt": f"What {'is  ' * (n % 2)}{'IS ' * (1 - n % 2)} {n // 2} ?",
            "original": "it is red oh",
            "edited": "it is red very very ",
        }
        for n in range(40)
    ]
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = (
        "evaluate",
        "reward",
        "--model",
        word_reward(1),
        "--model",
        word_reward(-1),
        "--edits",
        tmp_path / "e.jsonl",
    )
    keep = ("--set", "align.restore_spacing=false")
    outcome = redpencil(*arguments, *keep, "--json")
    found = json.loads(outcome.out)
    assert found["tests"]["e"]["prompts"] == 20
    accuracy = {
        name: row["e"]["value"] for name, row in found["reward_accuracy"].items() if "wins" in name or "loses" in name
    }
    assert accuracy == {
        "shorter_wins": 0,
        "longer_wins": 100,
        "white_space_wins": 100,
        "white_space_loses": 0,
        "white_space_wins_then_shorter": 100,
        "white_space_loses_then_shorter": 0,
    }
    names = {(row["model"], row["name"]) for row in found["warnings"]}
    assert {name for _, name in names} >= {"points_wrong", "trivial_rule"}
    assert "WARNING: reward" in outcome.err
    assert ": it points the wrong way: the tokens that were edited away" in outcome.err
    # Where the training edits are known, artefacts are learned from them: here the shorter text wins.
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps(row | {"original": "it is red oh it", "edited": "it"}) + "\n" for row in rows)
    )
    learned = json.loads(redpencil(*arguments, *keep, "--training-edits", tmp_path / "t.jsonl", "--json").out)
    assert [source["reward_accuracy"]["artefacts"]["e"]["value"] for source in (found, learned)] == [100, 0]
    # With the original's white space there is nothing to see.
    restored = json.loads(redpencil(*arguments, "--json").out)["reward_accuracy"]
    assert [name for name in restored if "wins" in name or "loses" in name] == ["shorter_wins", "longer_wins"]
