"""The image and the compose file fit the command that they run. Neither is built here: that would need a network."""

import fnmatch
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from redpencil.cli import annotate
from redpencil.cli.annotate import PORT
from redpencil.cli.main import load_command

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICE, DATABASE = COMPOSE["services"]["redpencil"], COMPOSE["services"]["database"]
WITHOUT = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from redpencil.cli.main import main
sys.argv[0] = "redpencil"
main()
"""


def instruction(name: str) -> list[str]:
    """The words of the last instruction of this name in the Dockerfile."""
    return list(json.loads(re.findall(rf"^{name} (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1]))


def requirements() -> list[str]:
    """What the image installs, by the script in the Dockerfile."""
    (script,) = re.findall(r"<<'LIST' > requirements.txt\n(.*?)^LIST$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@cache
def needed(name: str, extra: str = "") -> frozenset[str]:
    """A distribution and all that it needs, by their names in lower case."""
    found = {name}
    for text in metadata.requires(name) or []:
        requirement = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", text)
        assert requirement is not None
        wanted = re.search(r"""extra == ["']([\w-]+)["']""", text)
        if wanted is None or wanted[1] == extra:
            other = normal(requirement[1])
            if is_installed(other):
                found |= needed(other, requirement[2] or "")
    return frozenset(found)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_the_image_has_all_that_the_service_imports(tmp_path: Path) -> None:
    installed = {"redpencil"}
    for line in requirements():
        found = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line)
        assert found is not None
        installed |= needed(normal(found[1]), found[2] or "")
    assert not installed & {"torch", "transformers"}
    modules = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {normal(owner) for owner in owners} & installed
    }
    assert "torch" in modules
    row = {"id": "1", "prompt": "p", "response": "one two"}
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    script = WITHOUT.format(missing=modules)
    for words in ("--responses r.jsonl --invite ana --status", "--export e.jsonl"):
        command = [sys.executable, "-c", script, "annotate", "edits.db", *words.split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    serve = [sys.executable, "-c", script, "annotate", "edits.db", "--host", "no such host.invalid"]
    done = subprocess.run(serve, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "cannot listen on no such host.invalid" in done.stderr, done.stderr
    audit = [sys.executable, "-c", script, "audit", "--help"]
    assert subprocess.run(audit, capture_output=True, check=False).returncode == 0


def test_what_is_copied_into_the_image_is_there_and_not_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert {"src", "recipes", "pyproject.toml"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        *_, last = (rule for rule in rules if fnmatch.fnmatch(source, rule.removeprefix("!")))
        assert last == f"!{source}"
    for secret in (".git", ".venv", "runs", "data", ".env"):
        assert [rule for rule in rules if fnmatch.fnmatch(secret, rule.removeprefix("!"))] == ["*"]


def parsed(words: list[str]) -> dict[str, Any]:
    """What the command makes of its words."""
    assert words[:2] == ["redpencil", "annotate"]
    context = load_command("annotate").make_context("annotate", words[2:])
    context.close()
    return dict(context.params)


def test_the_image_serves_its_volume_to_the_outside() -> None:
    entry = instruction("ENTRYPOINT")
    alone = parsed(entry + instruction("CMD"))
    (volume,) = re.findall(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE)
    assert alone["place"].startswith(f"{volume}/")
    assert (alone["host"], alone["workers"]) == ("0.0.0.0", 1)
    assert alone["port"] is None
    port = PORT
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [str(port)]
    assert f"http://127.0.0.1:{port}/healthz" in DOCKERFILE
    assert re.search(r"^USER (?!root)", DOCKERFILE, re.MULTILINE)
    together = parsed(entry + SERVICE["command"])
    assert together["place"] is None
    assert together["workers"] > 1
    assert SERVICE["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_compose_file_gives_the_service_its_database() -> None:
    environment = SERVICE["environment"]
    assert {annotate.DATABASE, annotate.BASE_URL} <= set(environment)
    user, host, name = re.findall(r"postgresql://(\w+)@(\w+)/(\w+)$", environment[annotate.DATABASE])[0]
    assert host in COMPOSE["services"]
    assert (DATABASE["environment"]["POSTGRES_USER"], DATABASE["environment"]["POSTGRES_DB"]) == (user, name)
    assert (
        environment["PGPASSWORD"]
        == DATABASE["environment"]["POSTGRES_PASSWORD"]
        == ("${POSTGRES_PASSWORD:?choose a password}")
    )
    assert SERVICE["depends_on"] == {host: {"condition": "service_healthy"}}
    assert DATABASE["healthcheck"]["test"][1:] == ["pg_isready", "--username", user, "--dbname", name]
    assert "ports" not in DATABASE


def test_the_commands_told_in_the_compose_file_parse() -> None:
    told = re.findall(
        r"^#  +docker compose run --rm redpencil (.*?)(?:  +#.*)?$", (ROOT / "compose.yaml").read_text(), re.M
    )
    assert told
    for words in told:
        assert parsed([*instruction("ENTRYPOINT"), *shlex.split(words)])["no_serve"]
