"""The page of an edit audit: every number, hostile text, nothing to show, and no request to any host."""

import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from redpencil.audit.audit import Audit, GrowthBin, audit_edits
from redpencil.audit.findings import findings
from redpencil.records import Edit, EditOutcome
from redpencil.report.audit import (
    DRAWN_EDITORS,
    SHOWN_EDITORS,
    audit_tables,
    editors_chart,
    growth_label,
    kept_chart,
    lead,
    length_chart,
    places_chart,
    render_audit,
    summary,
    write_audit,
)
from redpencil.svg import Chart

CHROMIUM = Path("/usr/bin/chromium")
EVIL = "<script>alert(1)</script><img src=http://host/x onerror=alert(2)> & 'quoted' \"so\""


def row(number: int, original: str, edited: str, editor: str = "ann", **fields: Any) -> Edit:
    return Edit(str(number), f"prompt {number}", original, edited, editor=editor, **fields)


def audit(*rows: Edit, **options: Any) -> Audit:
    return audit_edits(lambda: rows, **options)


ROWS = (
    *(row(n, f"item{n} is red and round", f"item{n} is blue and round") for n in range(6)),
    *(row(n, f"item{n} is red.", f"item{n} is red. I hope this helps.", "bob") for n in range(6, 10)),
    row(10, "one two three", "ONE two three", "bob", meta={"spans": [{"start": 0, "end": 3}]}),
    row(11, "a", "a", "bob", outcome=EditOutcome.FAILED),
    row(12, "a", "a", "bob", outcome=EditOutcome.UNCHANGED, meta={"retry": {"kept": [0.1, 0.9]}}),
)


class Page(HTMLParser):
    """The text of each table by its id; tags that are left open."""

    VOID = ("meta", "link", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.described = 0
        self.current = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.add(tag)
        self.ids += [known["id"] or ""] if "id" in known else []
        self.described += known.get("role") == "img" and bool(known.get("aria-label"))
        if tag not in self.VOID:
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
        if self.current:
            self.texts[self.current] = self.texts.get(self.current, "") + data + "|"


def cells(page: Page, table: str) -> list[str]:
    return [cell.strip() for cell in page.texts[f"table-{table}"].split("|") if cell.strip()]


def test_every_number_of_the_tables_appears() -> None:
    page = Page(render_audit(audit(*ROWS), ["edits.jsonl"]))
    assert cells(page, "outcomes")[4:10] == ["edited", "11", "85 %", "unchanged", "1", "8 %"]
    # kept 4/5 six times, 4/4 four times, 2/3 once: (4.8 + 4 + .667) / 11
    assert cells(page, "numbers")[10:13] == ["Kept share, %", "86.1", "66.7"]
    kinds = cells(page, "kinds")
    assert kinds[7:13] == ["Insertions", "4", "0", "20", "36 %", "36 %"]
    assert kinds[19:25] == ["Substitutions", "7", "7", "7", "64 %", "64 %"]
    assert cells(page, "ends")[4:7] == ["Only append", "4", "36 %"]
    assert "Only append" not in cells(page, "length")
    rules = cells(page, "rules")
    assert rules[rules.index("cosmetic") :][2:4] == ["1", "9 %"]
    assert cells(page, "editors")[8:15] == ["bob", "1 unchanged, 1 failed", "7", "5", "93 %", "+4.0", "80 %"]
    assert cells(page, "spans")[7:11] == ["1 response", "1.000", "1.000", "1.000"]
    assert "responses edited in different ways by one editor" in cells(page, "repeats")


def test_findings_come_first_with_their_advice() -> None:
    found = audit(*ROWS)
    page = html.unescape(render_audit(found, ["edits.jsonl"])).replace("\u00a0", " ")
    said = findings(found)
    assert {finding.attention for finding in said} == {True, False}
    places = [page.index(finding.sentence) for finding in said]
    assert places == sorted(places)
    assert max(places) < page.index('id="h-outcomes"')
    assert all(re.sub(r"`([^`]+)`", r"<code>\1</code>", finding.advice) in page for finding in said)
    assert "<code>redpencil edit</code>" in page
    assert "`" not in page
    assert lead(said) in page


def test_sentences() -> None:
    assert lead(()) == "Nothing in these edits calls for attention."
    assert lead(findings(audit())) == "1 finding needs attention."
    assert summary(audit(ROWS[0])) == (
        "1 row, 1 edit by 1 editor. The edits keep 80 % of the words on average; the median is 80 %."
    )
    assert summary(audit()) == "0 rows, 0 edits by 0 editors."


def test_charts_and_screen_readers() -> None:
    page = Page(render_audit(audit(*ROWS), ["edits.jsonl"]))
    assert page.described == 4
    assert len(page.ids) == len(set(page.ids))


def test_hostile_text_is_escaped_everywhere() -> None:
    rows = (
        Edit(EVIL, EVIL, f"{EVIL} a b", f"{EVIL} a", editor=EVIL),
        Edit("2", EVIL, "a b", f"{EVIL} a", editor=EVIL * 3),
        Edit("3", EVIL, f"{EVIL} a", f"{EVIL} a b", editor="other"),
    )
    page = render_audit(audit(*rows), [EVIL])
    assert Page(page).tags & {"script", "img", "onerror"} == set()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_names_no_host() -> None:
    page = render_audit(audit(*ROWS), ["edits.jsonl"])
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,", "#main"]


@pytest.mark.parametrize("rows", [(), (row(1, "a", "a", outcome=EditOutcome.FAILED),), (row(1, "", ""),)])
def test_no_edits(rows: tuple[Edit, ...]) -> None:
    page = render_audit(audit(*rows), [])
    assert Page(page).described == 0
    assert "holds an edit" in page
    assert 'id="h-changes"' not in page


def test_many_editors_are_cut_and_it_says_so() -> None:
    rows = [row(n, "a b", "a c", f"editor {n}") for n in range(SHOWN_EDITORS + 3)]
    table = audit_tables(audit(*rows))["editors"]
    assert table is not None
    assert (len(table.rows), table.notes) == (SHOWN_EDITORS, ("3 more in the JSON.",))


def test_the_same_edits_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_audit(audit(*ROWS), tmp_path / name, ["edits.jsonl"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_half_a_character_does_not_stop_the_page(tmp_path: Path) -> None:
    write_audit(audit(row(1, "a \ud800", "b \ud800")), tmp_path / "a", [])
    assert "h-examples" in (tmp_path / "a").read_text(encoding="utf-8")


@pytest.mark.external
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_browser_asks_no_host_and_a_phone_need_not_scroll_sideways(tmp_path: Path, width: int, scheme: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's /usr/bin/chromium (apt-get install chromium)")
    long = "x" * 300
    rows = (*ROWS, Edit("9", f"{EVIL} {long}", f"{long} a", f"{long} b {EVIL}", editor=long))
    out = tmp_path / "audit.html"
    write_audit(audit(*rows), out, [f"{long}.jsonl"])
    asked: list[str] = []
    said: list[str] = []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(out.as_uri())
        fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [out.as_uri()]
    assert said == []
    assert fits


def test_thousands_are_apart() -> None:
    words = " ".join(f"w{n}" for n in range(1500))
    tables = audit_tables(audit(row(1, "one", f"one {words}")))
    assert tables["numbers"] is not None
    assert tables["length"] is not None
    assert tables["numbers"].rows[1][1].text == "+1,500.0"
    assert tables["length"].notes[0].startswith("Together +1,500 words (+150,000.0 %).")


def test_the_table_of_the_end_fills_the_gap_that_one_editor_leaves() -> None:
    alone = [row(n, f"item{n} is red.", f"item{n} is red. I hope this helps.") for n in range(3)]
    page = render_audit(audit(*alone), [])
    assert page.index('id="table-ends"') < page.index('id="table-numbers"')
    page = render_audit(audit(*ROWS), [])
    assert page.index('id="table-ends"') > page.index('id="table-length"')


TWO = (
    Edit("1", "p", "a1 b1 c1 d1", "a1 x c1 d1", editor="ann"),
    Edit("2", "p", "a1 b1", "a1 b1 c1 d1", editor="<bob> & co"),
)


def bars(chart: Chart) -> list[float]:
    root = ET.fromstring(chart.svg)
    return [float(bar.attrib["height"]) for bar in root.iter("rect")]


@pytest.mark.parametrize("draw", [kept_chart, length_chart, places_chart, editors_chart])
def test_charts_are_valid_and_use_the_page_s_colours(draw: Callable[[Audit], Chart | None]) -> None:
    chart = draw(audit(*TWO))
    assert chart is not None
    assert ET.fromstring(chart.svg).tag == "svg"
    assert "var(--series-" in chart.svg
    assert not re.search(r"#[0-9a-f]{6}|font-family|http|id=", chart.svg)


def test_bars_are_as_high_as_their_numbers() -> None:
    # one edit keeps .75, one all: two bars of the same height
    heights = bars(kept_chart(audit(*TWO)))
    assert [height > 0 for height in heights] == [place in (7, 9) for place in range(10)]
    assert heights[7] == heights[9]
    assert "70 to 80 percent kept: 50.0" in kept_chart(audit(*TWO)).description


def test_places_by_hand() -> None:
    # tenths of 4 words: 0 2 5 7; of 2: 0 5. Removed and added: the second of four words. Behind the last: 2 words.
    story = places_chart(audit(*TWO)).description
    assert "tenth 1: 0 removed, 0 added; tenth 2: 0 removed, 0 added; tenth 3: 100 removed, 100 added" in story
    assert "tenth 10: 0 removed, 200 added" in story


def test_lengths_by_hand() -> None:
    assert "0 words: 50.0, +1 to +9 words: 50.0" in length_chart(audit(*TWO)).description


def test_editors_need_company_and_are_escaped() -> None:
    assert editors_chart(audit(TWO[0])) is None
    chart = editors_chart(audit(*TWO))
    assert chart is not None
    assert "&lt;bob&gt; &amp; co" in chart.svg
    assert "<bob> & co: 100 percent kept, 100 percent only append" in chart.description
    many = audit(*(Edit(str(n), "p", "a b", "a c", editor=f"{n}" * 50) for n in range(DRAWN_EDITORS + 5)))
    chart = editors_chart(many)
    assert chart is not None
    assert chart.svg.count("<rect") == 2 * DRAWN_EDITORS


@pytest.mark.parametrize(
    ("low", "high", "label"),
    [
        (None, -40, "\u2264\u221240"),
        (-39, -10, "\u221239 to \u221210"),
        (0, 0, "0"),
        (1, 9, "+1 to +9"),
        (40, None, "\u2265+40"),
    ],
)
def test_labels_of_growth(low: int | None, high: int | None, label: str) -> None:
    assert growth_label(GrowthBin(low, high, 1)) == label
