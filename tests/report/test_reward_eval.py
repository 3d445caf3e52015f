"""The page of a reward-model evaluation: numbers, charts, hostile text, nothing to show, no request to any host."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redpencil.evaluation.edit_features import EditFeatures, all_features
from redpencil.evaluation.reward_eval import (
    Marks,
    ModelEvals,
    RewardEvals,
    Scores,
    TestSet,
    evaluate_rewards,
    summarise_test,
)
from redpencil.records import Edit, Pair
from redpencil.report.reward_eval import (
    DRAWN_HISTOGRAMS,
    calibration_charts,
    edit_tests,
    group_table,
    lead,
    margin_charts,
    render_reward_eval,
    reward_eval_tables,
    size_chart,
    summary,
    write_reward_eval,
)

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[1] / "web" / "vendor" / "axe.min.js"
EVIL = "<script>alert(1)</script><img src=http://host/x onerror=alert(2)> & 'quoted' \"so\""


def held_edits(count: int = 30, text: str = "it") -> TestSet:
    ends = ("is blue .", "is red", "is very very red .", "was red and round . yes .")
    edits = [Edit(str(n), f"prompt {n} {text}", f"{text} is red .", f"{text} {ends[n % 4]}") for n in range(count)]
    pairs = [
        Pair(str(n), (1,), (1, 2, 3, 4), (1, 2, 5, 4), (False, False, True, False), (False, False, True, False),
             ((0, 0), (1, 1), (3, 3)))
        for n in range(count)
    ]  # fmt: skip
    labels = [Marks(np.array([False, n % 3 == 0, True, False]), {}) for n in range(count)]
    return TestSet(
        "held",
        "edits",
        pairs,
        edits=edits,
        features=all_features(edits, pairs),
        labels=labels,
        skipped={"unchanged": 4},
    )


def evaluation(text: str = "it", names: tuple[str, ...] = ("token", "sequence"), count: int = 30) -> RewardEvals:
    edits = held_edits(count, text)
    bench = TestSet("bench", "rewardbench", edits.pairs, subsets=["hep-cpp", "donotanswer", "odd"] * (count // 3))
    found = {}
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        rejected, chosen = rng.normal(-0.2, 1, (count, 4)), rng.normal(0.2, 1, (count, 4))
        tokens = () if name == "sequence" else (list(chosen), list(rejected))
        scores = Scores(chosen.mean(axis=1), rejected.mean(axis=1), *tokens)
        readings = {test.name: evaluate_rewards(test, scores, examples=2) for test in (edits, bench)}
        level = "sequence" if name == "sequence" else "token"
        found[name] = ModelEvals(level, "edits" if number == 0 else "comparisons", readings)
    return RewardEvals(found, {"held": summarise_test(edits), "bench": summarise_test(bench)})


class Page(HTMLParser):
    """The text of each table by its id; ids; tags that are left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.current = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.add(tag)
        self.ids += [known["id"] or ""] if "id" in known else []
        assert not any(name.startswith("on") for name in known)
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)
        if tag == "table":
            self.current = known.get("id") or ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags |= {tag, *(name for name, _ in attrs if name.startswith("on"))}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.current = ""

    def handle_data(self, data: str) -> None:
        if self.current and data.strip():
            self.texts[self.current] = self.texts.get(self.current, "") + data.strip() + "|"


def test_the_figures_of_the_tables_appear() -> None:
    found = evaluation()
    page = Page(render_reward_eval(found)).texts
    one = found.models["token"].readings["held"]
    assert f"|token|token model, trained on edits|{one.accuracy.value:.1f}|" in page["table-accuracy"]
    shorter, bench = found.tests["held"].rules["shorter_wins"], one.calibration
    assert (
        f"|The shorter text wins|{shorter.value:.1f}|{shorter.low:.1f} to {shorter.high:.1f}|" in page["table-accuracy"]
    )
    assert f"|{bench.expected_error:.3f}|{bench.expected_error_by_count:.3f}|" in page["table-calibration"]
    assert one.edited is not None
    assert one.error_spans is not None
    assert one.drift is not None
    assert one.length_difference is None or f"{one.length_difference.pearson:.3f}"[-3:] in page["table-correlation"]
    assert f"|edited away|{one.edited.auroc:.3f}|" in page["table-localisation"]
    assert f"|marked as errors by people|{one.error_spans.auroc:.3f}|" in page["table-localisation"]
    assert f"|{one.drift.mean:.3f}|{one.drift.relative:.3f}|" in page["table-drift"]
    for group in one.by_type:
        assert f"|{group.name}|{group.accuracy.n} edits|{group.accuracy.value:.1f} %|" in page["table-type-1"]
    scored = found.models["token"].readings["bench"].reward_bench
    assert scored is not None
    assert f"|Plain mean of the subsets|{scored.mean_of_subsets:.1f}|" in page["table-rewardbench"]
    assert "|RewardBench score|\N{EN DASH}|\N{EN DASH}|" in page["table-rewardbench"]


def test_a_sequence_model_stands_in_no_table_of_tokens() -> None:
    tables = reward_eval_tables(evaluation())
    for name in ("localisation", "drift"):
        table = tables[name]
        assert table is not None
        people = {"A person"} if name == "localisation" else set()  # who edited what others did
        assert {row[0].text for row in table.rows} == {"token"} | people
    alone = reward_eval_tables(evaluation(names=("sequence",)))
    assert (alone["localisation"], alone["drift"]) == (None, None)
    assert "h-tokens" not in render_reward_eval(evaluation(names=("sequence",)))


def test_one_class_alone_is_a_dash() -> None:
    edits = held_edits()
    pairs = [
        Pair(p.id, p.prompt_ids, p.rejected_ids, p.chosen_ids, (False,) * 4, p.chosen_changed) for p in edits.pairs
    ]
    held = TestSet("held", "edits", pairs, edits=edits.edits, features=edits.features, labels=[None] * 30)
    rows = [np.arange(4.0)] * 30
    scores = Scores(np.arange(30.0), np.zeros(30), rows, rows)
    models = {"m": ModelEvals("token", "x", {"held": evaluate_rewards(held, scores, examples=1)})}
    table = reward_eval_tables(RewardEvals(models, {"held": summarise_test(held)}))["localisation"]
    assert table is not None
    row = table.rows[0]
    assert [cell.text for cell in row[2:]] == ["edited away", *("\N{EN DASH}",) * 4, "0.000", "120", "30"]


def test_own_kind_is_shaded_and_skipped_rows_are_told() -> None:
    table = reward_eval_tables(evaluation())["accuracy"]
    assert table is not None
    assert [[cell.kind for cell in row[1:]] for row in table.rows] == [["own", ""], *[["", ""]] * 3]
    assert table.notes[-1] == "Left out of held: 4 unchanged."
    assert any(note.startswith("Shaded") for note in table.notes)


def test_sentences() -> None:
    found = evaluation()
    assert summary(found) == "2 models, 2 test sets, 60 pairs."
    best = max(found.models, key=lambda name: found.models[name].readings["held"].accuracy.value)
    accuracy = found.models[best].readings["held"].accuracy
    assert lead(found).startswith(
        f"{best} ranks {accuracy.value:.1f} % of held right ({accuracy.low:.1f} to {accuracy.high:.1f}); "
        "the rule that the "
    )
    assert edit_tests(found) == ["held"]


def test_groups_that_a_model_does_not_have_are_dashes() -> None:
    found = evaluation()
    table = group_table(found, "held", "position")
    assert table.header == ("First change in", "token", "Margin", "sequence", "Margin")
    first, other = found.models["token"].readings["held"], held_edits(3)
    short = evaluate_rewards(other, Scores(np.ones(3), np.zeros(3)), examples=0)
    models = {"a": ModelEvals("token", "x", {"held": first}), "b": ModelEvals("token", "x", {"held": short})}
    rows = group_table(RewardEvals(models, {"held": summarise_test(other)}), "held", "size").rows
    assert any(row[3].kind == "absent" for row in rows)


def test_worst_pairs_are_redlines_from_the_worst_on() -> None:
    found = evaluation()
    page = render_reward_eval(found)
    worst = found.models["token"].readings["held"].worst
    assert worst
    for pairs in worst.values():
        assert [pair.margin for pair in pairs] == sorted(pair.margin for pair in pairs)
        for pair in pairs:
            assert f"id {pair.id}" in page
    assert "<del>" in page
    assert "<ins>" in page


def test_nothing_of_the_data_becomes_markup(tmp_path: Path) -> None:
    found = evaluation(EVIL, names=(EVIL, "sequence"))
    write_reward_eval(found, tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not page.tags & {"script", "img", "iframe", "onerror"}
    assert len(page.ids) == len(set(page.ids))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]


def test_the_same_readings_give_the_same_page_without_addresses() -> None:
    page = render_reward_eval(evaluation())
    assert page == render_reward_eval(evaluation())
    assert not re.findall(r"https?://", page)
    assert "{{" not in page


@pytest.mark.external
def test_a_browser_finds_nothing_wrong(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's /usr/bin/chromium (apt-get install chromium)")
    long, out = "x" * 200, tmp_path / "page.html"
    write_reward_eval(evaluation(f"{long} {EVIL}", names=("token", f"{long}-sequence", "other")), out)
    asked: list[str] = []
    said: list[str] = []
    wide: list[int] = []
    wrong: list[str] = []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
            page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            page.goto(out.as_uri())
            wide.append(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            wrong += [f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}" for one in found]
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [out.as_uri()] * 4
    assert (said, wrong) == ([], [])
    assert max(wide) <= 0


def test_control_characters_are_shown() -> None:
    page = render_reward_eval(evaluation("it\x00 \N{RIGHT-TO-LEFT OVERRIDE}\x1bx"))
    assert "it\N{SYMBOL FOR NULL}" in page
    assert not re.search("[\x00-\x08\x0b-\x1f]", page)
    assert "[U+202E]\N{SYMBOL FOR ESCAPE}x" in page


def plain_evaluation(count: int = 40, models: int = 2, **changes: Any) -> RewardEvals:
    edits = [Edit(str(n), "p", f"a {n}", f"b {n}") for n in range(count)]
    pairs = [Pair(str(n), (1,), (1, 2), (3, 4), (True, False), (True, False), ((1, 1),)) for n in range(count)]
    features = [EditFeatures("mixed", 0.1 + 0.02 * (n % 20), 2, "first third", 2, 0) for n in range(count)]
    held = TestSet(
        "held", "edits", pairs, **{"edits": edits, "features": features, "labels": [None] * count, **changes}
    )
    found = {}
    for number in range(models):
        rng = np.random.default_rng(number)
        scores = Scores(rng.normal(0.5, 1, count), np.zeros(count))
        found[f"m{number}"] = ModelEvals("sequence", "edits", {"held": evaluate_rewards(held, scores, examples=2)})
    return RewardEvals(found, {"held": summarise_test(held)})


def test_each_bin_and_model_has_a_mark() -> None:
    found = plain_evaluation()
    (chart,) = calibration_charts(found)
    for index, model in enumerate(found.models.values()):
        bins = model.readings["held"].calibration.bins_by_count
        assert len(re.findall(rf'fill="var\(--series-{index}\)"', chart.svg)) == len(bins)
        for one in bins:
            assert f"{100 * one.confidence:.1f} sure, {100 * one.accuracy:.1f} right" in chart.description
    assert chart.svg.count("stroke-dasharray") == 2  # the diagonal, and the second model's line


def test_wrong_margins_have_another_colour() -> None:
    found = plain_evaluation(models=1)
    (chart,) = margin_charts(found)
    histogram = found.models["m0"].readings["held"].margins
    wrong = sum(high <= 0 for high in histogram.edges[1:])
    assert chart.svg.count('fill="var(--series-1)"') == wrong > 0
    assert chart.svg.count('fill="var(--series-0)"') == len(histogram.counts) - wrong
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" rx', chart.svg)]
    most = max(histogram.counts)
    assert heights == pytest.approx([max(heights) * count / most for count in histogram.counts], abs=0.06)


def test_not_more_histograms_than_a_page_can_hold() -> None:
    assert len(margin_charts(plain_evaluation(models=DRAWN_HISTOGRAMS + 3))) == DRAWN_HISTOGRAMS


def test_accuracy_by_size() -> None:
    found = plain_evaluation()
    chart = size_chart(found, "held")
    assert chart is not None
    for group in found.models["m0"].readings["held"].by_size:
        assert f"{group.name} {group.accuracy.value:.1f}" in chart.description
        assert f">{group.name}</text>" in chart.svg
    same = [EditFeatures("mixed", 0.5, 2, "first third", 2, 0)] * 40
    assert size_chart(plain_evaluation(features=same), "held") is None


@pytest.mark.parametrize("margin", [0.0, 1e-9, 50.0])
def test_margins_that_are_all_alike(margin: float) -> None:
    pairs = [Pair(str(n), (1,), (1, 2), (3, 4)) for n in range(3)]
    held = TestSet("held", "pairs", pairs)
    reading = evaluate_rewards(held, Scores(np.full(3, margin), np.zeros(3)), examples=0)
    found = RewardEvals({"m": ModelEvals("token", "x", {"held": reading})}, {"held": summarise_test(held)})
    for chart in (*calibration_charts(found), *margin_charts(found)):
        assert "nan" not in chart.svg
        assert "inf" not in chart.svg
