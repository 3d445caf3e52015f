"""The tables of ablations: what they say, what they mark, and that no text escapes."""

from pathlib import Path
from typing import Any

from redpencil.report.ablation import (
    groups,
    lead,
    notes,
    render_html,
    render_markdown,
    seeds,
    write_html,
    write_markdown,
)
from redpencil.report.markup import DASH, MINUS
from redpencil.results import AblationResults


def measure(value: float, low: float | None, high: float | None, *per_seed: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "per_seed": list(per_seed), "standard_error": None}


def row(rate: float, gap: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "keys": {},
        "folder": "g/v",
        "same_as": None,
        "compared_with": None if gap is None else "eq4",
        "measures": {
            "win_rate": measure(rate, rate - 3, rate + 3, rate - 1, rate + 1),
            "mean_length": measure(24.25, 20, 28.5, 24, 24.5),
            "accuracy_edits": measure(80, 70, 104, 75, 85),
            "accuracy_comparisons": measure(60, 50, 70, 55, 65),
            "accuracy_comparisons_clean": measure(66, 60, 72, 65, 67),
            "auroc": measure(0.7777, 0.5, 1.4, 0.7, 0.8),
        },
        "differences": {} if gap is None else {"win_rate": gap, "auroc": measure(0.1, 0.05, 0.15, 0.1, 0.1)},
        "diagnostics": {},
        **more,
    }


def ablations(*, seeds: tuple[int, ...] = (41, 42), **variants: dict[str, Any]) -> AblationResults:
    return AblationResults.model_validate(
        {
            "name": "mine",
            "arm": "token",
            "seeds": seeds,
            "sft": measure(33.5, 30, 37, 33, 34),
            "groups": {"loss": variants},
            "environment": {"cpus": 2, "platform": "Linux", "versions": {"torch": "2.13"}, "git_commit": "abc"},
        }
    )


KEYS = {
    "reward_models.token_edits.reward.loss": "eq3",
    "arms.token.ppo.center_rewards": True,
    "world.edit_slip": 0.1,
    "arms.token": "kept",
}
FOUND = ablations(
    eq4=row(50, same_as="base", diagnostics={"reward_accuracy": [41, 42], "kl": [42]}),
    eq3=row(45, measure(-5, -8, -2, -6, -4), keys=KEYS),
    other=row(51, measure(1, -2, 4, 0, 2), same_as="loss/eq3"),
)


def test_the_rows_of_the_policy() -> None:
    (group,) = groups(FOUND)
    table = group.policies
    assert table.header == ("Variant", "Win rate, %", "Difference, points", "Mean length, words", "Diagnostics")
    eq4, eq3, other = table.rows
    assert [cell.text for cell in eq4] == ["eq4", "50.0", DASH, "24.2", "reward accuracy 2, kl 1"]
    assert eq4[0].small == "the base"
    assert [cell.text for cell in eq3] == ["eq3", "45.0", f"{MINUS}5.0", "24.2", DASH]
    assert (eq3[1].small, eq3[2].small) == ("42.0 to 48.0", f"{MINUS}8.0 to {MINUS}2.0")
    assert eq3[0].small == "reward.loss=eq3, ppo.center_rewards=true, world.edit_slip=0.1, arms.token=kept"
    assert (other[2].text, other[0].small) == ("+1.0", "the same runs as loss/eq3")


def test_only_a_difference_that_is_clear_of_0_is_marked() -> None:
    (group,) = groups(FOUND)
    assert [cells[2].kind for cells in group.policies.rows] == ["absent", "own", ""]
    assert group.findings == (f"eq3 against eq4: {MINUS}5.0 points ({MINUS}8.0 to {MINUS}2.0).",)
    none = ablations(eq4=row(50), eq3=row(45, measure(-5, -8, 2, -6, -4)), one=row(45, measure(-5, None, None, -5)))
    assert groups(none)[0].findings == ("No difference in win rate from 'eq4' is clear of 0.",)


def test_the_rows_of_the_reward_model() -> None:
    (group,) = groups(FOUND)
    assert group.rewards is not None
    assert group.rewards.header == (
        "Variant", "Accuracy on edits, %", "On clean preferences, %", "AUROC: flawed tokens",
    )  # fmt: skip
    eq4, eq3, _ = group.rewards.rows
    assert [cell.text for cell in eq4] == ["eq4", "80.0", "66.0", "0.778"]
    assert (eq4[1].small, eq4[3].small) == ("70.0 to 100.0", "0.500 to 1.000")
    assert [cell.kind for cell in eq3] == ["", "", "", "own"]


def test_what_the_answers_still_need_is_beside_the_win_rate() -> None:
    needs = {"gleu": measure(45.25, 44, 46.5, 45, 45.5), "needed_accepted": measure(40, -1, 104, 30, 50)}
    needs |= {"needed_words": measure(12.5, 11, 14, 12, 13)}
    first, second = row(50), row(51, measure(1, -2, 4, 0, 2))
    for one in (first, second):
        one["measures"] |= needs
    second["differences"] |= {"gleu": measure(2, 1, 3, 1.5, 2.5), "needed_words": measure(-1, -3, 1, -2, 0)}
    results = ablations(a=first, b=second)
    (group,) = groups(results)
    assert group.answers is not None
    assert group.answers.header == ("Variant", "GLEU", "Accepted as they are, %", "Words changed in 100")
    a, b = group.answers.rows
    assert [cell.text for cell in a] == ["a", "45.2", "40.0", "12.5"]
    assert [cell.small for cell in a[1:]] == ["44.0 to 46.5", "0.0 to 100.0", "11.0 to 14.0"]
    assert [cell.kind for cell in b] == ["", "own", "", ""]
    assert [table.caption for table in group.tables] == [
        *("loss: the policy", "loss: what its answers still need", "loss: its reward model"),
    ]
    assert "Words changed in 100" in render_html(results)
    assert "Words changed in 100" in render_markdown(results, "redpencil ablate mine.yaml")
    assert groups(FOUND)[0].answers is None  # of an older version


def test_files_have_noisy_preferences_alone_and_some_arms_no_reward_model() -> None:
    plain = row(50)
    del plain["measures"]["accuracy_comparisons_clean"]
    (group,) = groups(ablations(a=plain, b=plain))
    assert group.rewards is not None
    assert "On preferences, %" in group.rewards.header
    plain["measures"] = {"win_rate": plain["measures"]["win_rate"]}
    (group,) = groups(ablations(a=plain, b=plain))
    assert group.rewards is None
    assert len(group.tables) == 1


def test_a_single_seed_is_told_as_such() -> None:
    one = ablations(seeds=(41,), eq4=row(50), eq3=row(45, measure(-5, -8, -2, -5)))
    assert lead(one) == ("2 variants in 1 group, seed 41. Policy: token. The SFT policy wins 33.5 % (30.0 to 37.0).")
    assert any("one seed says nothing" in note for note in notes(one))
    assert any("over 2 seeds" in note and "Of 2 comparisons" in note for note in notes(FOUND))


def test_the_markdown_page(tmp_path: Path) -> None:
    write_markdown(FOUND, tmp_path / "page.md", "redpencil ablate mine.yaml")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert text == render_markdown(FOUND, "redpencil ablate mine.yaml")
    assert f"| eq4 (the base) | 50.0 (47.0 to 53.0) | {DASH} | 24.2 (20.0 to 28.5) | reward accuracy 2, kl 1 |" in text
    assert f"| **{MINUS}5.0** ({MINUS}8.0 to {MINUS}2.0) |" in text
    assert "| loss: eq3 | 44.0 | 46.0 |" in text
    assert "- Commit: abc" in text
    assert text.endswith("```\nredpencil ablate mine.yaml\n```\n")


def test_the_seeds_are_all_there() -> None:
    table = seeds(FOUND)
    assert table.header == ("Variant", "seed 41", "seed 42")
    assert [[cell.text for cell in cells] for cells in table.rows] == [
        ["loss: eq4", "49.0", "51.0"], ["loss: eq3", "44.0", "46.0"], ["loss: other", "50.0", "52.0"]
    ]  # fmt: skip


def test_the_html_page_asks_nothing_of_any_host_and_escapes(tmp_path: Path) -> None:
    hostile = FOUND.model_copy(update={"name": "<script>x</script>", "groups": {"<b>|": FOUND.groups["loss"]}})
    write_html(hostile, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == render_html(hostile)
    assert "<script>" not in page
    assert "<b>" not in page
    assert "http://" not in page
    assert page.count("<table") == 3
    assert f'class="own">{MINUS}5.0<small>{MINUS}8.0 to {MINUS}2.0</small>' in page
    assert "\\<b\\>\\|" in render_markdown(hostile, "x")


def test_results_without_provenance_still_make_pages() -> None:
    without = FOUND.model_copy(update={"environment": {}})
    assert "How it was made" in render_markdown(without, "x")
    assert "How it was made" in render_html(without)
