"""A real server in a process of its own, and a real browser."""

import contextlib
import multiprocessing
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from redpencil.records import Response
from redpencil.web.auth import Role, add_person
from redpencil.web.database import open_database, writing
from redpencil.web.items import import_comparisons, import_responses
from redpencil.web.project import ProjectConfig, write_project

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[1] / "vendor" / "axe.min.js"
SERVE = """
import os
from redpencil.web.server import serve
log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
serve(place, port=port, say=lambda line: print(line, flush=True))
"""


@cache
def _forks() -> multiprocessing.context.ForkServerContext:
    """Server processes are forked from one that has imported everything, which takes most of the time of a start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["redpencil.web.server", "redpencil.web.app", "uvicorn.protocols.http.auto"])
    return context


@dataclass
class Service:
    """A project on SQLite and the server process that serves it; both can be looked at and killed."""

    place: Path
    port: int
    log: Path
    process: BaseProcess | None = None
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        names = {"place": str(self.place), "port": self.port, "log": str(self.log)}
        self.process = _forks().Process(target=exec, args=(SERVE, names), daemon=True)
        self.process.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return
            if not self.process.is_alive():
                break
            time.sleep(0.02)
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")

    def kill(self) -> None:
        """As a crash would: no signal handler runs."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process.close()
            self.process = None

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, by id."""
        from sqlalchemy import select

        from redpencil.web import schema

        of = schema.metadata.tables[table]
        engine = open_database(self.place)
        with engine.connect() as connection:
            found = [dict(row) for row in connection.execute(select(of).order_by(of.c.id)).mappings()]
        engine.dispose()
        return found


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes a project with people ("ana" and "ben" edit, "rita" reviews, "adam" is an admin) and serves it."""
    made: list[Service] = []

    def make(
        responses: Iterable[Response] = (),
        *,
        suggestions: dict[str, str] | None = None,
        compare: tuple[list[Response], list[Response]] | None = None,
        **settings: Any,
    ) -> Service:
        place = tmp_path / f"edits-{len(made)}.db"
        engine = open_database(place)
        with writing(engine) as connection:
            write_project(connection, ProjectConfig(**settings))
        import_responses(engine, responses, suggestions)
        if compare:
            import_comparisons(engine, *compare)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        service = Service(place, port, tmp_path / f"server-{len(made)}.log")
        for name, role in (("ana", Role.EDITOR), ("ben", Role.EDITOR), ("rita", Role.REVIEWER), ("adam", Role.ADMIN)):
            service.tokens[name] = add_person(engine, name, role)
        engine.dispose()
        made.append(service)
        service.start()
        return service

    yield make
    for service in made:
        service.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's /usr/bin/chromium (apt-get install chromium)")
    with playwright.sync_playwright() as engine:
        found = engine.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield found
        found.close()


@dataclass
class Window:
    """A person's browser; `page` is its first tab. It notes what must not happen: foreign requests and errors."""

    context: Any
    page: Any
    service: Service
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("request", lambda request: self._note(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if self._is_ours(message) else None)

    def _note(self, url: str) -> None:
        if not re.match(rf"{re.escape(self.service.url)}/|data:|blob:", url):
            self.foreign.append(url)

    @staticmethod
    def _is_ours(message: Any) -> bool:
        return message.type == "error" and "Failed to load resource" not in message.text

    def tab(self, path: str = "/") -> Any:
        """Another tab of the same browser."""
        page = self.context.new_page()
        self.watch(page)
        page.goto(self.service.url + path)
        return page


@pytest.fixture
def sign_in(browser: Any) -> Iterator[Callable[..., Window]]:
    """Opens a browser of its own for a person, signed in by their link; at the end nothing may have gone wrong."""
    windows: list[Window] = []

    def open_window(service: Service, name: str = "ana", **options: Any) -> Window:
        context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 900}), **options)
        context.set_default_timeout(30_000)
        window = Window(context, context.new_page(), service)
        window.watch(window.page)
        windows.append(window)
        joined = context.request.post(f"{service.url}/join/{service.tokens[name]}", max_redirects=0)
        assert joined.status == 303
        window.page.goto(service.url)
        window.page.locator("#desk, #empty, #live").filter(visible=True).wait_for()
        return window

    yield open_window
    for window in windows:
        assert window.foreign == []
        assert window.errors == []
        window.context.close()


@pytest.fixture
def until() -> Callable[[Any, str], None]:
    """Waits until an expression is true in a page. Playwright's own way would need a looser policy of the page."""

    def wait(page: Any, expression: str) -> None:
        deadline = time.monotonic() + 30
        while not page.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            page.wait_for_timeout(20)

    return wait


@pytest.fixture
def axe() -> Callable[..., list[str]]:
    """What axe-core finds wrong with a page, each with the elements. The page's policy is not loosened for it."""
    source = AXE.read_text(encoding="utf-8")

    def violations(page: Any, **options: Any) -> list[str]:
        if not page.evaluate("'axe' in window"):
            page.evaluate(source)
        run = "(options) => axe.run(document, {resultTypes: ['violations'], ...options})"
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes']]}"
            for one in page.evaluate(run, options)["violations"]
        ]

    return violations


@pytest.fixture
def look(axe: Callable[..., list[str]]) -> Callable[[Any], None]:
    """Looks at a page as it is now: on a laptop and a phone, in light and dark, on a tablet and at 400 % zoom.

    axe-core must find nothing and nothing may scroll sideways. Going through the states of a page once for all looks
    takes a third of the time of going through them for each.
    """

    def at(page: Any, width: int, height: int, scheme: str) -> None:
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"scrolls sideways by {wide} at a width of {width}"

    def all_ways(page: Any) -> None:
        for width, height in ((768, 1024), (320, 256)):
            at(page, width, height, "light")
        at(page, 390, 844, "dark")
        assert axe(page) == []
        at(page, 390, 844, "light")
        assert axe(page, runOnly=["color-contrast"]) == []
        at(page, 1280, 900, "dark")
        assert axe(page, runOnly=["color-contrast"]) == []
        at(page, 1280, 900, "light")
        assert axe(page) == []

    return all_ways
