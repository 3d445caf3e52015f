"""The pages: who sees which, how people come in and go out."""

import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from redpencil.records import Edit, Response
from redpencil.web.app import create_app
from redpencil.web.auth import ADDRESS_LIMIT, add_person, person_by_name, revoke
from redpencil.web.database import list_events, reading, writing
from redpencil.web.items import import_comparisons, import_gold_items, import_responses
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.routes.pages import to_duration
from redpencil.web.schema import assignment

SignIn = Callable[[str, str], TestClient]
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'{{ 7 * 7 }}"
PAGES = {
    "editor": ("/work", "/mine", "/guidelines"),
    "reviewer": ("/dashboard", "/disputes", "/disputes/1", "/items"),
    "admin": ("/people", "/project"),
}


@pytest.fixture
def sign_in(sqlite_engine: Engine) -> SignIn:
    import_responses(sqlite_engine, [Response("r0", HOSTILE, f"{HOSTILE} words", meta={"input": HOSTILE})])
    app = create_app(sqlite_engine)

    def join(name: str, role: str) -> TestClient:
        client = TestClient(app, follow_redirects=False)
        client.post(f"/join/{add_person(sqlite_engine, name, role)}")
        client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
        return client

    return join


def submit(client: TestClient, text: str) -> None:
    task = client.post("/api/next").json()
    body = {"version": task["version"], "text": text, "outcome": "edited", "reason": HOSTILE}
    client.post(f"/api/assignments/{task['assignment_id']}/submit", json=body).raise_for_status()


def test_every_page_is_open_to_whom_it_should_and_shows_texts_as_texts(sign_in: SignIn, sqlite_engine: Engine) -> None:
    with writing(sqlite_engine) as connection:
        write_project(connection, ProjectConfig(title=HOSTILE, guidelines=HOSTILE, tags=(HOSTILE,), editors_per_item=2))
    for name in (f"{HOSTILE} 1", f"{HOSTILE} 2"):
        submit(sign_in(name, "editor"), f"{HOSTILE} {name}")
    import_responses(sqlite_engine, [Response("r1", HOSTILE, f"{HOSTILE} words")])
    allowed: tuple[str, ...] = ()
    for role, pages in PAGES.items():
        allowed += pages
        client = sign_in(role, role)
        for path in sum(PAGES.values(), ()):
            answer = client.get(path)
            assert answer.status_code == (200 if path in allowed else 403), (role, path)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert troubles(answer.text) == []


class Parser(HTMLParser):
    """Collects what a strict page must not hold: inline code and styles, and addresses of other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.troubles: list[object] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        inline = tag == "script" and "src" not in given and given.get("type") != "application/json"
        elsewhere = [given[name] for name in ("src", "href", "action") if "//" in (given.get(name) or "")]
        if inline or elsewhere or tag in ("style", "img") or any(n.startswith("on") or n == "style" for n in given):
            self.troubles.append((tag, attrs))


def troubles(page: str) -> list[object]:
    parser = Parser()
    parser.feed(page)
    return parser.troubles


def test_strangers_are_sent_to_a_page_that_says_what_to_do(sign_in: SignIn, sqlite_engine: Engine) -> None:
    stranger = TestClient(create_app(sqlite_engine), follow_redirects=False)
    for path in sum(PAGES.values(), ()):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/signed-out")
    assert "invite link" in stranger.get("/signed-out").text
    assert sign_in("Ann", "editor").get("/signed-out").headers["location"] == "/"


def test_looking_at_an_invite_link_does_nothing_and_tells_nothing(sqlite_engine: Engine) -> None:
    client = TestClient(create_app(sqlite_engine), follow_redirects=False)
    token = add_person(sqlite_engine, "Ann", "editor")
    real, made_up = client.get(f"/join/{token}"), client.get("/join/made-up")
    assert real.status_code == made_up.status_code == 200
    assert real.text.replace(token, "") == made_up.text.replace("made-up", "")
    assert not client.cookies
    assert client.head(f"/join/{token}").status_code == 200
    assert client.post(f"/join/{token}").headers["location"] == "/"
    assert client.get("/api/me").json()["name"] == "Ann"


def test_a_link_signs_in_on_several_devices_and_to_sign_out_ends_all(sqlite_engine: Engine) -> None:
    app = create_app(sqlite_engine)
    token = add_person(sqlite_engine, "Ann", "editor")
    laptop, phone = (TestClient(app, follow_redirects=False) for _ in range(2))
    for device in (laptop, phone):
        assert device.post(f"/join/{token}").status_code == 303
    token = laptop.get("/api/me").json()["csrf"]
    assert phone.get("/api/me").json()["csrf"] == token, "so that a tab goes on when its person signs in anew"
    assert laptop.post("/sign-out", data={"csrf": "another"}).status_code == 403
    assert laptop.post("/sign-out").status_code == 403
    assert laptop.get("/sign-out").status_code == 405
    assert laptop.post("/sign-out", data={"csrf": token}).headers["location"] == "/signed-out"
    assert [device.get("/api/me").status_code for device in (laptop, phone)] == [401, 401]


def test_the_cookie_is_closed_to_scripts_and_to_other_sites(sqlite_engine: Engine) -> None:
    token = add_person(sqlite_engine, "Ann", "editor")
    cookies = []
    for site, url in (
        ("http://testserver", None),
        ("https://testserver", None),
        ("http://testserver", "https://e.org"),
    ):
        client = TestClient(create_app(sqlite_engine, base_url=url), base_url=site, follow_redirects=False)
        cookies.append(client.post(f"/join/{token}").headers["set-cookie"])
    for cookie in cookies:
        assert "; HttpOnly" in cookie
        assert "; SameSite=lax" in cookie
        assert "Domain" not in cookie
    assert ["; Secure" in cookie for cookie in cookies] == [False, True, True]


def test_another_site_can_neither_join_nor_change_anything(sign_in: SignIn, sqlite_engine: Engine) -> None:
    token = add_person(sqlite_engine, "Mallory", "editor")
    ann = sign_in("Ann", "admin")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://testserver:8009"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert ann.post(f"/join/{token}", headers=headers).status_code == 403
        assert ann.post("/api/people", json={"name": "x"}, headers=headers).status_code == 403
        assert ann.post("/sign-out", headers=headers).status_code == 403
    assert ann.get("/api/me").json()["name"] == "Ann"
    here = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert ann.post("/api/people", json={"name": "x"}, headers=here).status_code == 200
    proxied = TestClient(create_app(sqlite_engine, base_url="https://e.org/"), follow_redirects=False)
    assert proxied.post(f"/join/{token}", headers={"Origin": "https://e.org"}).status_code == 303


def test_guessing_links_is_stopped_and_says_for_how_long(sqlite_engine: Engine) -> None:
    client = TestClient(create_app(sqlite_engine), follow_redirects=False)
    token = add_person(sqlite_engine, "Ann", "editor")
    for i in range(ADDRESS_LIMIT):
        assert client.post(f"/join/guess-{i}").status_code == 403
    answer = client.post("/join/one-more")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 600
    assert "Ask an admin of the project for your link" in answer.text
    assert not client.cookies
    assert client.post(f"/join/{token}").status_code == 303, "who has a link gets in whatever others have tried"


def test_who_is_revoked_is_out_at_once_and_joining_is_in_the_log(sign_in: SignIn, sqlite_engine: Engine) -> None:
    ann = sign_in("Ann", "editor")
    assert ann.get("/").status_code == 200
    with reading(sqlite_engine) as connection:
        person = person_by_name(connection, "Ann")
        assert list_events(connection)[0].action == "joined"
    assert person is not None
    revoke(sqlite_engine, person.id)
    assert ann.get("/").headers["location"] == "/signed-out"
    assert ann.post("/api/next").status_code == 401


def test_the_working_page_fits_the_task(sign_in: SignIn, sqlite_engine: Engine) -> None:
    ann = sign_in("Ann", "editor")
    assert 'id="response"' in ann.get("/").text
    task = ann.post("/api/next").json()
    path = f"/work?assignment={task['assignment_id']}"
    assert ann.get(path).status_code == ann.get(path.replace("work", "")).status_code == 200
    other = sign_in("Bob", "editor").get(path)
    assert (other.status_code, 'href="/mine"' in other.text) == (403, True)
    for wrong in ("0", "x", "-1", "9" * 400, "\u0663", ""):
        assert ann.get("/work", params={"assignment": wrong}).status_code == 404
    submit(ann, "other words")
    pair = [Response("c", "Which?", text) for text in ("one", "two")]
    import_comparisons(sqlite_engine, pair[:1], pair[1:])
    assert ann.get("/").text != ann.get(path).text
    assert "/static/compare.js" in ann.get("/").text


@pytest.mark.parametrize("role", ["editor", "reviewer", "admin"])
def test_to_look_at_the_start_takes_nothing_from_anybody(sign_in: SignIn, sqlite_engine: Engine, role: str) -> None:
    eve = sign_in("Eve", role)
    for path in ("/", "/work"):
        assert eve.head(path).status_code == eve.get(path).status_code
    assert eve.get("/").headers.get("location") == (None if role == "editor" else "/dashboard")
    assert 'id="response"' in eve.get("/work").text
    with reading(sqlite_engine) as connection:
        assert connection.execute(select(func.count()).select_from(assignment)).scalar_one() == 0
    eve.post("/api/next")
    assert eve.get("/", params={"assignment": "1"}).status_code == 200


def test_the_guidelines_are_named_on_the_working_page_as_they_are(sign_in: SignIn, sqlite_engine: Engine) -> None:
    ann = sign_in("Ann", "editor")
    names = []
    for guidelines in ("", "Be brief.", "Be kind.", "Be brief."):
        with writing(sqlite_engine) as connection:
            write_project(connection, ProjectConfig(guidelines=guidelines))
        desk = html.unescape(ann.get("/work").text.split("data-project='")[1].split("'")[0])
        names.append(json.loads(desk)["guidelines"])
    assert names[0] == ""
    assert names[1] == names[3] != names[2]


def test_ones_own_page_goes_on_to_what_is_earlier(
    sign_in: SignIn, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_responses(sqlite_engine, [Response(f"more {n}", f"Question {n}.", "some words") for n in range(4)])
    ann = sign_in("Ann", "editor")
    for _ in range(5):
        submit(ann, "other words")
    monkeypatch.setattr("redpencil.web.work.HISTORY_PAGE", 2)
    shown, path = [], "/mine"
    for _ in range(3):
        page = ann.get(path).text
        shown += re.findall(r'data-submission="(\d+)"', page)
        path = next(iter(re.findall(r'href="(/mine\?before=\d+)"', page)), "")
    assert shown == ["5", "4", "3", "2", "1"]
    assert path == ""
    assert "There is nothing earlier" in ann.get("/mine?before=1").text
    assert ann.get("/mine?before=x").status_code == 422


def test_what_a_reviewer_has_settled_is_not_offered_to_be_taken_back(sign_in: SignIn) -> None:
    ann, rita = sign_in("Ann", "editor"), sign_in("Rita", "reviewer")
    submit(ann, "other words")
    assert "Take back" in ann.get("/mine").text
    detail = rita.get("/api/disputes/1").json()
    rita.post("/api/disputes/1", json={"version": detail["version"], "outcome": "no_edit_needed"}).raise_for_status()
    page = ann.get("/mine").text
    assert "Take back" not in page
    assert "Settled by a reviewer" in page
    assert ann.get("/api/history").json()[0]["decided"] is True


def test_only_an_admin_sees_names_at_a_decision(sign_in: SignIn) -> None:
    submit(sign_in("Ann Other", "editor"), "other words")
    rita, adam = sign_in("Rita", "reviewer"), sign_in("Adam", "admin")
    assert "Ann Other" not in adam.get("/disputes/1").text
    detail = rita.get("/api/disputes/1").json()
    rita.post("/api/disputes/1", json={"version": detail["version"], "outcome": "no_edit_needed"}).raise_for_status()
    assert "Ann Other" in adam.get("/disputes/1").text
    assert "Ann Other" not in rita.get("/disputes/1").text


def test_items_are_found_page_by_page(sign_in: SignIn, sqlite_engine: Engine) -> None:
    import_responses(sqlite_engine, [Response(f"more {n}", f"Question {n}.", "some words") for n in range(60)])
    ann, rita = sign_in("Ann", "editor"), sign_in("Rita", "reviewer")
    submit(ann, "other words")
    page = rita.get("/items").text
    assert 'href="/disputes/1"' in page
    assert 'href="/disputes/2"' not in page, "nobody has done it yet"
    following = re.search(r'href="(/items\?[^"]*page=2)"', page)
    assert following is not None
    page = rita.get(html.unescape(following[1])).text
    assert page.count('<span class="id">') == 11
    assert "page=3" not in page
    assert rita.get("/items", params={"outcome": "edited", "id": "R0"}).text.count('<span class="id">') == 1
    assert "No item matches" in rita.get("/items", params={"outcome": "tie"}).text
    assert rita.get("/items", params={"person": "x"}).status_code == 422


def test_an_editor_cannot_tell_that_some_answers_are_known(sign_in: SignIn, sqlite_engine: Engine) -> None:
    """Nor whose response it is, by anything that the pages or the API give to an editor."""
    with writing(sqlite_engine) as connection:
        write_project(connection, ProjectConfig(known_answer_share=1.0, editors_per_item=2))
    import_gold_items(sqlite_engine, [Edit("k", "Q?", "one two", "one 2 known", meta={"model": "secret-model"})])
    first, second = ([Response("c", "Q?", f"some {n}", model=f"secret-{n}")] for n in ("this", "that"))
    import_comparisons(sqlite_engine, first, second)
    ben = sign_in("Ben", "editor")
    seen = []
    for decision in ({"outcome": "no_edit_needed"}, {"outcome": "skipped"}, {"preference": "tie"}):
        seen.append(ben.get("/"))
        seen.append(ben.post("/api/next"))
        task = seen[-1].json()
        body = {"version": task["version"], **decision}
        seen.append(ben.post(f"/api/assignments/{task['assignment_id']}/submit", json=body))
        assert seen[-1].status_code == 200
        seen.append(ben.get(f"/api/assignments/{task['assignment_id']}"))
    seen += [ben.get(path) for path in ("/mine", "/guidelines", "/api/history", "/api/me")]
    for answer in seen:
        assert "known" not in answer.text
        assert "secret" not in answer.text


def test_ones_own_page_shows_what_is_not_handed_in(sign_in: SignIn) -> None:
    ann = sign_in("Ann", "editor")
    assert "Not handed in" not in ann.get("/mine").text
    task = ann.post("/api/next").json()
    path = f"/api/assignments/{task['assignment_id']}"
    ann.put(f"{path}/draft", json={"text": HOSTILE, "version": task["version"], "active_s": 1})
    for standing, words in (("yours", "In work"), ("free", "Free again")):
        page = ann.get("/mine").text
        assert f'data-standing="{standing}"' in page
        assert words in page
        assert f'href="/work?assignment={task["assignment_id"]}"' in page
        assert troubles(page) == []
        ann.post(f"{path}/release")
    assert sign_in("Bob", "editor").post("/api/next").json()["prompt"] == task["prompt"]
    assert "Gone to others" in ann.get("/mine").text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((None, "\u2013"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (107, "1 min 47 s"), (599.4, "9 min 59 s")),
        *((599.6, "10 min"), (3_569, "59 min"), (3_570, "1 h"), (3_599, "1 h"), (11_100, "3 h 5 min")),
    ],
)
def test_a_duration_in_words(seconds: float | None, words: str) -> None:
    assert to_duration(seconds) == words


@pytest.mark.parametrize("path", ["/disputes/999999", "/disputes/" + "9" * 400, "/disputes/x", "/nowhere"])
def test_what_is_not_there_is_a_page_too(sign_in: SignIn, path: str) -> None:
    answer = sign_in("Eve", "admin").get(path)
    assert answer.status_code == 404
    assert "<h1>" in answer.text
