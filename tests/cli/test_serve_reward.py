"""The command that serves rewards, as a process of its own."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from typing import Any

import pytest


@pytest.mark.slow
def test_it_serves_a_checkpoint_until_it_is_stopped(tiny_run: Any) -> None:
    [checkpoint] = sorted(tiny_run.folder.rglob("reward-token*/checkpoint"))[:1]
    command = [sys.executable, "-c", "from redpencil.cli.start import main; main()", "serve-reward", str(checkpoint)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--host", "0.0.0.0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
    )
    try:
        assert process.stdout is not None
        warning, line = process.stdout.readline(), process.stdout.readline()
        assert "--api-key-variable" in warning
        found = re.search(r"http://0\.0\.0\.0:\d+", line)
        assert found, line
        body = json.dumps({"prompts": ["tell me about france ."], "responses": ["it is red ."]}).encode()
        with urllib.request.urlopen(f"{found[0]}/rewards", body, timeout=60) as reply:
            answer = json.load(reply)
        assert len(answer["rewards"][0]) == len(answer["tokens"][0]) > 3
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_key_that_is_not_there_is_named(redpencil: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    outcome = redpencil("serve-reward", tmp_path, "--api-key-variable", "NO_SUCH_KEY")
    assert outcome.code == 1
    assert "no API key in NO_SUCH_KEY" in outcome.err
