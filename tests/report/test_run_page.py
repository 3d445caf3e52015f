"""report.html: every number, hostile text, absent parts, and no request to any host."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from redpencil.errors import RedpencilError
from redpencil.report.run_data import read_run
from redpencil.report.run_page import (
    TEMPLATES,
    _mean_line,
    learning_curves,
    legend,
    series_of,
    template,
    win_rate_chart,
    write_report,
)
from redpencil.svg import Chart

Write = Callable[[dict[str, Any]], Path]
CHROMIUM = Path("/usr/bin/chromium")


class Tables(HTMLParser):
    """The text of each table by its id, and the tags that are left open."""

    VOID = ("meta", "link", "br")

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.open: list[str] = []
        self.current = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.current = dict(attrs).get("id") or ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.current = ""

    def handle_data(self, data: str) -> None:
        if self.current:
            self.texts[self.current] = self.texts.get(self.current, "") + data + "|"


def read(page: Path) -> Tables:
    parser = Tables()
    parser.feed(page.read_text(encoding="utf-8"))
    assert parser.open == []
    return parser


def cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.split("|") if cell.strip()]


def test_every_number_of_the_tables_appears(run_folder: Path, results: dict[str, Any]) -> None:
    tables = read(write_report(run_folder)).texts
    for row in results["win_rate"].values():
        found = cells(tables["table-1"])
        assert f"{row['value']:.1f}" in found
        assert f"{row['mean_length']:.1f}" in found
        assert f"{row['wins']} / {row['losses']} / {row['draws']}" in found
        low, high = (row["value"] + sign * 1.959964 * row["standard_error"] for sign in (-1, 1))
        assert f"{low:.1f} to {high:.1f}" in found
    for row in results["win_rate_difference"].values():
        assert f"{row['value']:+.1f}" in cells(tables["table-gaps"])
    for trained in results["reward_accuracy"].values():
        for estimate in trained.values():
            assert f"{estimate['value']:.1f}" in cells(tables["table-2"])
    for value in results["localisation"]["token_edits"].values():
        assert f"{value:.3f}" in cells(tables["table-localisation"])
    third = cells(tables["table-3"])
    assert {"10", "20", "30", "0.50", "0.33", "18.4 s", "35.2 s", "52.1 s", "24.8 s", "27.6 s"} <= set(third)
    for row in results["flaws"].values():
        for value in row.values():
            assert f"{value:.1f}" in cells(tables["table-flaws"])
    for name, row in results["stages"].items():
        assert name in cells(tables["table-stages"])
        assert f"{row['seconds']:.1f} s" in cells(tables["table-stages"])


def test_the_paper_s_figures_stand_in_their_rows(run_folder: Path) -> None:
    tables = read(write_report(run_folder)).texts
    plus_minus = "\N{PLUS-MINUS SIGN}"
    for arm, printed in (("token", "51.6"), ("edits", "51.2"), ("preference", "46.5")):
        assert f"{printed} {plus_minus} 1.8" in cells(tables["table-1"]), arm
    assert f"85.2 {plus_minus} 1.8" in cells(tables["table-2"])
    assert f"58.2 {plus_minus} 1.8" in cells(tables["table-2"])
    assert {"4 h against 2 h", "0.2 h against 0.3 h"} <= set(cells(tables["table-3"]))


def test_own_kind_cells_are_marked(run_folder: Path) -> None:
    page = write_report(run_folder).read_text(encoding="utf-8")
    assert re.findall(r'<td class="own">([\d.]+)<', page) == ["88.1", "80.0", "62.2"]


def test_several_seeds(study_folder: Path) -> None:
    out = write_report(study_folder)
    tables = read(out).texts
    results = json.loads((study_folder / "results.json").read_text())
    for row in results["summary"]["win_rate"].values():
        assert f"{row['value']:.1f}" in cells(tables["table-1"])
        assert f"{row['low']:.1f} to {row['high']:.1f}" in cells(tables["table-1"])
    for run in results["runs"].values():
        for row in run["win_rate"].values():
            assert f"{row['value']:.1f}" in cells(tables["table-seeds"])
    page = out.read_text(encoding="utf-8")
    assert "t-intervals of the mean over 5 seeds" in page
    assert "against edits, by seed: 0.50, 0.40, 0.70, 0.30, never." in page
    assert "over prompts only" not in page


def test_one_seed_says_that_its_intervals_are_over_prompts_only(run_folder: Path) -> None:
    assert "One seed: intervals are over prompts only" in write_report(run_folder).read_text(encoding="utf-8")


def test_the_same_numbers_give_the_same_file(run_folder: Path) -> None:
    first = write_report(run_folder).read_bytes()
    assert write_report(run_folder).read_bytes() == first


def hostile(folder: Path) -> None:
    evil = "<script>alert(1)</script><img src=http://host/x onerror=alert(2)>"
    file = folder / "annotations" / "edits_test.jsonl"
    row = {"id": "1", "prompt": evil, "original": f"{evil} a b", "edited": f"{evil} a", "editor": evil}
    file.write_text(json.dumps(row) + "\n")
    file = folder / "evaluate" / "report_data.json"
    heatmap = {"model": evil, "prompt": evil, "label": evil, "tokens": [evil], "rewards": [-1.0], "flaws": [evil]}
    file.write_text(json.dumps({"format": 2, "heatmaps": [heatmap]}))
    results = json.loads((folder / "results.json").read_text())
    results["name"] = evil
    results["warnings"] = [evil]
    results["recipe_sha256"] = evil
    for section in ("win_rate", "flaws", "reward_accuracy", "stages", "localisation"):
        results[section][evil] = next(iter(results[section].values()))
    results["flaws"][evil] = {evil: 1.0}
    (folder / "results.json").write_text(json.dumps(results))


def test_hostile_text_is_escaped_everywhere(run_folder: Path) -> None:
    hostile(run_folder)
    out = write_report(run_folder)
    page = out.read_text(encoding="utf-8")
    read(out)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_names_no_host(run_folder: Path) -> None:
    page = write_report(run_folder).read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    assert "//" not in "".join(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "default-src 'none'" in page
    assert "/home/someone" not in page


def browser_requests(page_file: Path, width: int, scheme: str) -> tuple[list[str], bool]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's /usr/bin/chromium (apt-get install chromium)")
    asked: list[str] = []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    return asked, fits


@pytest.mark.external
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_browser_asks_no_host_and_a_phone_need_not_scroll_sideways(
    study_folder: Path, width: int, scheme: str
) -> None:
    hostile(study_folder / "seed-11")
    out = write_report(study_folder)
    asked, fits = browser_requests(out, width, scheme)
    assert [url for url in asked if not url.startswith("data:")] == [out.as_uri()]
    assert fits


@pytest.mark.parametrize(
    ("key", "sentence", "heading"),
    [
        ("flaws", "No flaw counts", "h-flaws"),
        ("efficiency", "No training efficiency", "h-none"),
        ("reward_accuracy", "No reward accuracy", "h-none"),
        ("localisation", "No localisation", "h-none"),
        ("stages", "No stage times", "h-cost"),
        ("win_rate_difference", "No paired differences", "h-none"),
    ],
)
def test_what_a_run_does_not_have_is_named(
    run_folder: Path, results: dict[str, Any], key: str, sentence: str, heading: str
) -> None:
    assert sentence not in write_report(run_folder).read_text(encoding="utf-8")
    without = {name: value for name, value in results.items() if not name.startswith("efficiency_")} | {key: {}}
    if key == "efficiency":
        without[key] = None
    (run_folder / "results.json").write_text(json.dumps(without))
    page = write_report(run_folder).read_text(encoding="utf-8")
    assert sentence in page
    assert f'id="{heading}"' not in page


def test_a_run_without_anything_makes_a_page_that_says_what_is_absent(tmp_path: Path) -> None:
    bare = {
        "format": 2, "name": "bare", "seed": 3, "win_rate": {}, "win_rate_difference": {}, "reward_accuracy": {},
        "localisation": {}, "flaws": None, "recipe_sha256": "0f", "methods": {}, "warnings": [], "stages": {},
    }  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(bare))
    out = write_report(tmp_path)
    page = out.read_text(encoding="utf-8")
    assert read(out).texts == {}
    assert page.count("<li>No ") == 10
    assert "cannot be judged without: token, edits, preference" in page


def test_a_folder_without_results_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"no results\.json"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_control_characters_are_shown_and_markup_stays_markup() -> None:
    page = template("reward_eval.html.j2").environment.from_string("{{ a }}{{ b }}{{ c }}")
    assert page.render(a="<\x00>\n", b=Markup("<b>\x1b</b>"), c=3) == (
        "&lt;\N{SYMBOL FOR NULL}&gt;\n<b>\N{SYMBOL FOR ESCAPE}</b>3"
    )


def texts(chart: Chart) -> list[str | None]:
    return [element.text for element in ET.fromstring(chart.svg).iter("text")]


def test_one_chart_for_each_quantity(run_folder: Path) -> None:
    charts = learning_curves(read_run(run_folder))
    assert [chart.title.split()[0] for chart in charts] == ["Win", "KL", "Length", "Reward"]
    for chart in charts:
        assert {"token", "edits", "preference", "training step"} <= set(texts(chart))
        assert "token from" in chart.description


def test_a_curve_of_several_seeds_has_their_mean_and_each_of_them(study_folder: Path) -> None:
    chart = learning_curves(read_run(study_folder))[0]
    assert chart.svg.count('opacity="0.4"') == 3 * 5
    assert chart.description.endswith("Means over seeds.")


def test_a_mean_is_over_the_steps_that_all_seeds_have() -> None:
    assert _mean_line([{0: 1.0, 1: 2.0, 2: 9.0}, {0: 3.0, 1: 6.0}]) == {0: 2.0, 1: 4.0}
    assert _mean_line([{0: 1.0}, {5: 2.0}]) == {0: 1.0}


def test_arms_of_the_paper_keep_their_colours() -> None:
    assert series_of("preference", ["preference"]) == series_of("preference", ["token", "edits", "preference"]) == 2
    assert series_of("mine", ["preference", "mine"]) == 3
    lines = [row["line"] for row in legend(["token", "edits", "preference", "mine"])]
    assert len(set(lines)) == 4


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x_1$", "\u6f22\u5b57", "a & b"])
def test_names_of_arms_may_be_anything(write_run: Write, results: dict[str, Any], name: str) -> None:
    for section in ("win_rate", "methods"):
        results[section][name] = results[section].pop("token")
    run = read_run(write_run(results))
    assert name in texts(learning_curves(run)[0])
    chart = win_rate_chart(run)
    assert chart is not None
    assert name.replace("_", " ") in texts(chart)


def test_win_rates_have_intervals_and_the_papers_figures(run_folder: Path, results: dict[str, Any]) -> None:
    chart = win_rate_chart(read_run(run_folder))
    assert chart is not None
    assert chart.svg.count('fill="var(--page)"') == 3  # the paper has no SFT policy
    assert f"token {results['win_rate']['token']['value']:.1f} percent" in chart.description


def test_nothing_to_draw(write_run: Write, results: dict[str, Any]) -> None:
    folder = write_run(results | {"win_rate": {}})
    for arm in ("token", "edits", "preference"):
        (folder / f"ppo-{arm}" / "metrics.jsonl").write_text('{"step": 0, "seconds": 0, "kl": NaN}\n', encoding="utf-8")
    run = read_run(folder)
    assert learning_curves(run) == []
    assert win_rate_chart(run) is None


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATES.glob("*.html.j2") if "macros" not in path.name))
def test_every_page_says_that_it_loads_nothing_and_runs_no_foreign_script(name: str) -> None:
    page = (TEMPLATES / name).read_text(encoding="utf-8")
    found = re.search('<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert found is not None
    assert found[1].startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert "base-uri 'none'; form-action 'none'" in found[1]
    before = page[: found.start()]
    assert "<script" not in before
    assert "<style" not in before
