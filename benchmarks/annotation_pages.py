"""Fill small projects with invented work, and take the screenshots of docs/collecting.md from them.

    python benchmarks/annotation_pages.py --out docs/images

Needs Debian's chromium.
"""

import argparse
import io
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

sys.path.insert(0, str(Path(__file__).parent))

from PIL import Image
from playwright.sync_api import sync_playwright
from sqlalchemy import Engine

from annotation_servers import Server, free_port
from redpencil.records import Response
from redpencil.web import work
from redpencil.web.auth import Role, add_person
from redpencil.web.database import open_database, writing
from redpencil.web.items import import_comparisons, import_responses
from redpencil.web.project import ProjectConfig, write_project

CHROMIUM: Final = "/usr/bin/chromium"
LARGEST: Final = 150_000
"""Bytes of a picture."""
GUIDELINES: Final = """
# Correct, and change as little as you can

- Put right what is **wrong, misleading or rude**. Leave style alone.
- Take out what the question did not ask for.
- Add a fact only where the answer is wrong without it.
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A question, an answer with faults, and what people made of it; `suggestion` is an LLM's."""

    question: str
    answer: str
    edits: tuple[str | None, ...]
    suggestion: str | None = None
    context: str = ""


BASIL: Final = Piece(
    "How do I keep the basil on my windowsill alive through the winter?",
    "Basil loves warmth and light, so:\n\n"
    "1. Put it on a **north-facing** windowsill.\n"
    "2. Water it from above, every day, until the soil is soaked.\n"
    "3. Pinch off the tips before it flowers.\n\n"
    "Keep it away from draughts. Honestly, not everybody should have plants.",
    (),
    "Basil loves warmth and light, so:\n\n"
    "1. Put it on a **south-facing** windowsill.\n"
    "2. Water it from above whenever the soil is dry.\n"
    "3. Pinch off the tips before it flowers.\n\n"
    "Keep it away from draughts. Honestly, not everybody should have plants.",
    "The question came in from the help desk of a garden centre, in November.",
)
PIECES: Final = (
    Piece(
        "Which planet is the largest of the solar system?",
        "Saturn is the largest planet. It is famous for its rings, which were first seen in 1610.",
        (
            "Jupiter is the largest planet.",
            "Jupiter is the largest planet. It is famous for its great red spot.",
            "Jupiter is the largest planet. Saturn is famous for its rings, which were first seen in 1610.",
        ),
    ),
    Piece(
        "How long do I boil an egg for a soft yolk?",
        "Boil it for ten minutes. Then rinse it with cold water so that it stops cooking.",
        (
            "Boil it for six minutes. Then rinse it with cold water so that it stops cooking.",
            "Boil it for six minutes. Then rinse it with cold water.",
            "Boil it for five to six minutes. Then rinse it with cold water so that it stops cooking.",
        ),
    ),
    Piece("What is the boiling point of water at sea level?", "It is 100 degrees Celsius.", (None, None, None)),
    Piece(
        "Why do leaves turn yellow in autumn?",
        "Trees paint them. As days get shorter the green chlorophyll breaks down and yellow carotenoids show.",
        (
            "As days get shorter the green chlorophyll breaks down and yellow carotenoids show.",
            "As days get shorter the green chlorophyll breaks down and yellow carotenoids show.",
            "As days get shorter the green chlorophyll breaks down and the yellow carotenoids below it show.",
        ),
    ),
    Piece(
        "How do I get a wine stain out of a linen shirt?",
        "Rub it hard with hot water. Sprinkle salt on it, wait, and rinse it with cold water.",
        (
            "Dab it with cold water. Sprinkle salt on it, wait, and rinse it with cold water.",
            "Do not rub it. Sprinkle salt on it, wait, and rinse it with cold water.",
            "Dab it with a cloth. Sprinkle salt on it, wait, and rinse it with cold water.",
        ),
    ),
    Piece("Who painted the Mona Lisa?", "Leonardo da Vinci painted it, from about 1503 on.", (None, None, None)),
    Piece(
        "What should a beginner knit first?",
        "Start with socks on five thin needles. A scarf in garter stitch is done by anybody.",
        (
            "Start with a scarf in garter stitch.",
            "Start with a scarf in garter stitch, on two thick needles.",
            "Start with a scarf in garter stitch.",
        ),
    ),
    Piece(
        "How far is the moon?",
        "On average the moon is 384,400 miles away, which light crosses in little more than a second.",
        (
            "On average the moon is 384,400 kilometres away, which light crosses in little more than a second.",
            "On average the moon is 384,400 km away, which light crosses in little more than a second.",
            "On average the moon is 384,400 kilometres away, which light crosses in little more than a second.",
        ),
    ),
    Piece(
        "Can I reuse the water that pasta was boiled in?",
        "No, it is toxic. It thickens sauces because there is starch in it.",
        (
            "Yes. It thickens sauces because there is starch in it.",
            "Yes, it thickens sauces because there is starch in it.",
            "Yes. It thickens sauces because there is starch in it.",
        ),
    ),
)
"""Each is there three times over, as asked by three people."""
CHOICES: Final = (
    "How do I start a sourdough?",
    "Stir flour and water in equal parts, keep it warm, feed it every day. After a week it bubbles and smells sour.",
    "A sourdough is a fascinating thing! People have baked with it for thousands of years, and there are many ways to "
    "start one. You might want to ask a baker in your neighbourhood for a spoonful of theirs.",
)


PEOPLE: Final = {"Ana": Role.EDITOR, "Ben": Role.EDITOR, "Chika": Role.EDITOR, "Rita": Role.REVIEWER}
TITLE: Final = "Household questions"


def new_project(place: str, editors_per_item: int, now: float) -> tuple[Engine, dict[str, str]]:
    """A project with people; gives the tokens of their links."""
    engine = open_database(place)
    with writing(engine) as connection:
        limits = {"kept_soft": 0.6, "kept_hard": 0.2}
        config = ProjectConfig(title=TITLE, guidelines=GUIDELINES, editors_per_item=editors_per_item, **limits)
        write_project(connection, config)
    return engine, {name: add_person(engine, name, role, now=now) for name, role in PEOPLE.items()}


def make_desk(place: str, now: float) -> dict[str, str]:
    """A response that nobody has edited yet, with what an LLM suggests."""
    engine, tokens = new_project(place, 3, now)
    meta = {"instruction": BASIL.question, "input": BASIL.context}
    basil = Response("basil", f"{BASIL.question}\n\n{BASIL.context}", BASIL.answer, meta=meta)
    import_responses(engine, [basil], {"basil": str(BASIL.suggestion)})
    engine.dispose()
    return tokens


def make_pair(place: str, now: float) -> dict[str, str]:
    """Two answers to one question, to compare."""
    engine, tokens = new_project(place, 1, now)
    question, first, second = CHOICES
    import_comparisons(engine, [Response("c", question, first)], [Response("c", question, second)])
    engine.dispose()
    return tokens


def make_team(place: str, now: float) -> dict[str, str]:
    """Three editors and the work of some days."""
    engine, tokens = new_project(place, 2, now - 6 * 86400)
    thrice = [(piece, f"q{3 * n + part}") for n, piece in enumerate(PIECES) for part in range(3)]
    import_responses(
        engine, (Response(number, piece.question, piece.answer, model="policy-2") for piece, number in thrice)
    )
    edits = {piece.answer: piece.edits for piece in PIECES}
    chance = random.Random(7)
    for day in range(4, -1, -1):
        for hour in range(7, 0, -1):
            person = chance.randrange(3)
            at = now - day * 86400 - hour * 3600 + chance.uniform(0, 1800)
            task = work.next_task(engine, person + 1, now=at)
            if task is None:
                continue
            text, active_s = edits[task.response][person], chance.lognormvariate(4.0, 0.5)
            sent = work.Submission("edited" if text else "no_edit_needed", text, active_s=active_s)
            if chance.random() < 0.06:
                sent = work.Submission("skipped", active_s=active_s)
            work.submit(engine, person + 1, task.assignment_id, task.version, sent, now=at + active_s)
    work.next_task(engine, 1, now=now)
    engine.dispose()
    return tokens


class Camera:
    """Opens pages of one project as its people and takes pictures of them."""

    def __init__(self, browser: Any, place: str, tokens: dict[str, str], out: Path) -> None:
        self.browser, self.tokens, self.out = browser, tokens, out
        self.server = Server(place, free_port(), Path(f"{place}.log"))
        self.url = f"http://127.0.0.1:{self.server.port}"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()

    @contextmanager
    def page(self, name: str, width: int, height: int, **options: Any) -> Iterator[Any]:
        """A page of this size, signed in as this person."""
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.goto(f"{self.url}/join/{self.tokens[name]}")
        page.get_by_role("button", name="Sign in").click()
        page.locator("#desk, #empty, #live").filter(visible=True).wait_for()
        if page.locator("#guidelines[open]").count():
            page.keyboard.press("Escape")
        yield page
        context.close()

    def take(self, page: Any, name: str) -> None:
        """Write a picture with few colours, which makes it small."""
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        path = self.out / f"{name}.png"
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size > LARGEST:
            raise SystemExit(f"{path} has {path.stat().st_size} bytes; {LARGEST} are wanted at most")
        print(f"{path}: {path.stat().st_size // 1000} kB")


def picture_editing(camera: Camera, person: str, name: str, width: int, height: int, **options: Any) -> None:
    """An edit under way: one suggested change taken, a sentence struck out by hand, and saved."""
    with camera.page(person, width, height, **options) as page:
        page.get_by_role("button", name="Take", exact=True).first.click()
        page.locator("#response").evaluate(
            """(area, rude) => {
                const from = area.value.indexOf(rude);
                area.focus();
                area.setSelectionRange(from, from + rude.length);
            }""",
            BASIL.answer[BASIL.answer.index(" Honestly") :],
        )
        page.keyboard.press("Delete")
        page.get_by_text("Saved").first.wait_for()
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        camera.take(page, name)


def main(arguments: list[str]) -> None:
    """Make the projects, serve them, take the pictures."""
    parser = argparse.ArgumentParser(description="Take the screenshots of docs/collecting.md.")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    now = time.time()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        place = f"{folder}/desk.db"
        with Camera(browser, place, make_desk(place, now), options.out) as camera:
            picture_editing(camera, "Ana", "annotate-edit", 1280, 1120)
            picture_editing(camera, "Ben", "annotate-edit-dark", 1280, 1120, color_scheme="dark")
            picture_editing(camera, "Chika", "annotate-edit-phone", 390, 844)
        place = f"{folder}/pair.db"
        pair = Camera(browser, place, make_pair(place, now), options.out)
        with pair as camera, camera.page("Ana", 1280, 640) as page:
            page.locator("#tally").wait_for()
            camera.take(page, "annotate-compare")
        place = f"{folder}/team.db"
        team = Camera(browser, place, make_team(place, now), options.out)
        with team as camera, camera.page("Rita", 1280, 900) as page:
            page.goto(f"{camera.url}/dashboard")
            camera.take(page, "annotate-dashboard")
            page.goto(f"{camera.url}/disputes")
            page.get_by_role("link", name="Begin with the first").click()
            page.wait_for_url("**/disputes/*")
            camera.take(page, "annotate-dispute")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
