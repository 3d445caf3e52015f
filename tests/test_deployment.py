"""The image and the compose file fit the command that they run. Neither is built here: that would need a network."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

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


def pins(name: str) -> dict[str, tuple[str, list[str]]]:
    """The versions and hashes in a file of requirements, by their names in lower case."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        match = re.match(r"([\w.-]+)==([^ ;]+)", line)
        if match:
            found[normal(match[1])] = (match[2], re.findall(r"--hash=sha256:([0-9a-f]{64})(?= |$)", line))
        else:
            assert not line.strip() or line.startswith("#"), line
    return found


def bounds() -> dict[str, Requirement]:
    """The requirements in pyproject.toml, those of its extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {normal(Requirement(line).name): Requirement(line) for line in lines}


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
    installed = {"redpencil", *pins("requirements-image.lock")}
    wanted = needed("redpencil", "web") - {"torch", "transformers", "safetensors"}
    heavy = {name for top in ("torch", "transformers", "safetensors") for name in needed(top)}
    assert wanted - heavy <= installed
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
    assert {"src", "recipes", "pyproject.toml", "requirements-image.lock"} <= set(copied)
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


LOCKS = ("requirements.lock", "requirements-image.lock", "requirements-audit.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_file_that_is_installed_is_known_by_its_hash_and_has_the_tested_version(lock: str) -> None:
    tested, locked = pins("constraints.txt"), pins(lock)
    assert len(locked) > 20
    for name, (version, hashes) in locked.items():
        assert hashes, name
        assert len(set(hashes)) == len(hashes), name
        assert name not in tested or tested[name][0] == version, name
    for name, requirement in bounds().items():
        if name in locked:
            assert Version(locked[name][0]) in requirement.specifier, name
    if lock == "requirements.lock":
        assert tested.keys() <= locked.keys()
        assert bounds().keys() - {"redpencil"} <= locked.keys()


def test_versions_with_known_holes_are_excluded() -> None:
    told = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in told} >= {"transformers", "torch", "starlette", "python-multipart"}
    # The first versions without the holes that were found in their advisories.
    for name, safe in {
        "transformers": "5.3",
        "torch": "2.10",
        "starlette": "1.3.1",
        "python-multipart": "0.0.26",
    }.items():
        assert Version(dict(told)[name]) >= Version(safe)
    for name, safe in told:
        (lowest,) = [each.version for each in bounds()[name].specifier if each.operator == ">="]
        assert Version(lowest) >= Version(safe), name


def test_what_others_publish_is_named_by_digest_and_may_do_the_least() -> None:
    images = [*re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE), DATABASE["image"]]
    assert len(images) == 3
    assert all(re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image) for image in images)
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert "permissions" not in job
            assert job["timeout-minutes"] <= 60
            for step in job["steps"]:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + "0" * 40))
                if step.get("uses", "").startswith("actions/checkout"):
                    assert step["with"]["persist-credentials"] is False
        assert len(re.findall(r"uses: \S+ # v\d+\.\d+\.\d+$", text, re.MULTILINE)) == text.count("uses: ")
        assert "pull_request_target" not in text


def test_the_makefile_installs_by_hash_where_it_is_asked_to() -> None:
    for words, by_hash in (([], False), (["HASHES=1"], True)):
        done = subprocess.run(
            ["make", "--dry-run", "--always-make", "check", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("--require-hashes -r requirements.lock" in done.stdout) == by_hash
        assert ("-c constraints.txt torch==" in done.stdout) == (not by_hash)
    steps = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["gates"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make HASHES=1 check", "make HASHES=1 test"]
    assert "--require-hashes" in DOCKERFILE


def make(*words: str, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run make as from a terminal, whatever make runs these tests, and whatever measures their coverage."""
    inside = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    outside = {k: v for k, v in os.environ.items() if k not in inside and not k.startswith(("COV_", "COVERAGE"))}
    return subprocess.run(
        ["make", *words],
        cwd=folder,
        env=outside,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_an_audit_without_a_network_says_that_nothing_was_looked_up(tmp_path: Path) -> None:
    done = make("audit", f"HOLES={(tmp_path / 'nothing').as_uri()}")
    assert done.returncode == 0
    assert "audit: skipped, nothing was looked up" in done.stdout
    assert done.stdout.count("\n") == 1
    told = make("--dry-run", "audit-now").stdout.splitlines()
    assert [line.split()[-3:] for line in told if "/pip-audit " in line] == [
        ["-r", lock, "--strict"] for lock in ("requirements.lock", "requirements-image.lock")
    ]


def test_the_faults_are_those_of_their_folder_and_the_recovery_of_postgresql() -> None:
    told = make("--dry-run", "faults").stdout.split("-m pytest")
    _, *paths = re.findall(r"tests/\S+", told[1].replace("\\", " "))
    for path in paths:
        file, _, name = path.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
    assert any("postgresql_recovers" in path for path in paths)
    assert told[2].split() == ["-m", "long", "tests", "--ignore=tests/faults"]


@pytest.mark.slow
@pytest.mark.parametrize("failing", [[], ["tests/web"]])
def test_all_parts_of_the_tests_run_and_one_that_fails_fails_all(tmp_path: Path, failing: list[str]) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "src/redpencil/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    folders = [path.name for path in (ROOT / "tests").iterdir() if list(path.glob("test_*.py"))]
    for folder in folders:
        (tmp_path / "tests" / folder).mkdir(parents=True)
        text = f"import redpencil\ndef test_it(): assert {f'tests/{folder}' not in failing}\n"
        (tmp_path / "tests" / folder / "test_it.py").write_text(text)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/src exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".installed-test").touch()
    done = make("coverage", folder=tmp_path)
    assert (done.returncode == 0) == (not failing), done.stdout
    assert done.stdout.count("1 failed") == len(failing)
    assert sum(int(count) for count in re.findall(r"(\d+) passed", done.stdout)) == len(folders) - len(failing)
    assert "100%" in done.stdout  # what all covered, together
