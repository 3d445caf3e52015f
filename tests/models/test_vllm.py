"""Sampling from a vLLM server: a stub in a process of its own speaks its interface over a small model."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from redpencil.config.compute import SamplerConfig
from redpencil.config.methods import SamplingConfig
from redpencil.config.training import LoraConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.runtime import Runtime
from redpencil.models.samplers import make_sampler
from redpencil.models.sampling import HFSampler, Sample
from redpencil.models.saving import export
from redpencil.models.vllm import VLLMSampler

PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 5], [6, 6, 6, 6]]
GREEDY = SamplingConfig(temperature=0, response_length=8)
DRAWN = SamplingConfig(response_length=8)
Folder = Callable[..., Path]


Serve = Callable[..., Any]


@pytest.fixture
def saved(folder: Folder, runtime: Runtime, tmp_path: Path) -> Path:
    """A policy's checkpoint."""
    path = tmp_path / "policy"
    export(load_policy(folder("llama"), runtime, trained=False), path)
    return path


@pytest.fixture
def policy(saved: Path, runtime: Runtime) -> LanguageModel:
    return load_policy(saved, runtime, trained=True)


def move(policy: LanguageModel, seed: int) -> None:
    """Give it other weights, as training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.module.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)


def greedy(policy: LanguageModel) -> list[Sample]:
    return HFSampler(policy).sample(PROMPTS, GREEDY, seed=0)


def refusal(sampler: VLLMSampler, config: SamplingConfig = GREEDY) -> RedpencilError:
    with pytest.raises(RedpencilError) as caught:
        sampler.sample(PROMPTS, config, seed=0)
    assert caught.value.hint
    return caught.value


def test_greedy_answers_are_those_of_this_process_before_and_after_an_update(
    saved: Path, policy: LanguageModel, serve: Serve
) -> None:
    served = serve(saved)
    sampler = make_sampler(policy, served.config())
    assert isinstance(sampler, VLLMSampler)
    done: list[int] = []
    before = sampler.sample(PROMPTS, GREEDY, seed=0, progress=lambda count, total, _: done.append((count, total)))
    assert before == greedy(policy)
    assert done == [(count, 5) for count in range(1, 6)]
    move(policy, 1)
    sampler.sync(policy)
    after = sampler.sample(PROMPTS, GREEDY, seed=0)
    assert after == greedy(policy) != before
    assert {sample.staleness for sample in after} == {0}


def test_it_reads_and_gives_token_ids_and_names_every_option_of_the_draws(
    saved: Path, policy: LanguageModel, serve: Serve
) -> None:
    served = serve(saved)
    sampled = VLLMSampler(policy, served.config())
    sampled.sample(PROMPTS, SamplingConfig(temperature=0.7, top_p=0.9, response_length=4), seed=3)
    bodies = served.log("/v1/completions")
    assert sorted(body["prompt"] for body in bodies) == sorted(PROMPTS)
    assert len({body["seed"] for body in bodies}) == 5  # each its own
    expected = {"temperature": 0.7, "top_p": 0.9, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "max_tokens": 4}
    expected |= {"stop_token_ids": [3], "ignore_eos": True, "return_token_ids": True, "return_weight_versions": True}
    for body in bodies:
        assert expected.items() <= body.items()
        assert all(type(token) is int for token in body["prompt"])


def test_draws_depend_on_prompts_configuration_and_seed_alone(saved: Path, policy: LanguageModel, serve: Serve) -> None:
    served = serve(saved)

    def draw(seed: int, **options: Any) -> list[Sample]:
        return VLLMSampler(policy, served.config(**options)).sample([*PROMPTS, *PROMPTS], DRAWN, seed=seed)

    first = draw(1)
    assert draw(1, concurrency=1) == first
    served.fault(slow=0.05, times=4)  # another order of answers
    assert draw(1) == first
    assert draw(2) != first
    assert {sample.finished for sample in first} == {True, False}  # both kinds of ends were seen
    assert first[:5] != first[5:]  # two answers to one prompt are two draws


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"status": 429}, {"cut": True}, {"slow": 2.0}])
def test_what_fails_and_may_pass_is_asked_again_without_loss_or_doubles(
    saved: Path, policy: LanguageModel, serve: Serve, fault: dict[str, Any]
) -> None:
    served = serve(saved)
    served.fault(**fault, times=3, after=1)
    sampler = VLLMSampler(policy, served.config(timeout=1.0, concurrency=2))
    assert sampler.sample(PROMPTS, GREEDY, seed=0) == greedy(policy)


def test_a_server_that_is_killed_in_the_middle_is_waited_for_and_given_the_weights_again(
    saved: Path, policy: LanguageModel, serve: Serve
) -> None:
    served = serve(saved)
    sampler = VLLMSampler(policy, served.config(concurrency=1, patience=300))  # it takes long on busy cores
    move(policy, 2)
    sampler.sync(policy)
    served.fault(die=True, after=2)

    def again() -> None:
        served.process.wait()
        served.start(saved)  # with the weights of its folder, as vLLM starts

    thread = threading.Thread(target=again)
    thread.start()
    samples = sampler.sample(PROMPTS, GREEDY, seed=0)
    thread.join()
    assert samples == greedy(policy)
    assert len(served.log("/collective_rpc")) == 1  # into the second process; what came in between was thrown away


def test_a_server_that_never_comes_back_is_named_after_its_patience(
    saved: Path, policy: LanguageModel, serve: Serve
) -> None:
    served = serve(saved)
    sampler = VLLMSampler(policy, served.config(patience=1.0))
    served.stop()
    start = time.monotonic()
    error = refusal(sampler)
    assert (error.file, error.field) == (served.url, "compute.sampler.url")
    assert "no connection" in error.problem
    assert 0.9 < time.monotonic() - start < 5


def test_a_server_that_hangs_is_given_up(saved: Path, policy: LanguageModel, serve: Serve) -> None:
    served = serve(saved)
    served.fault(hang=True)
    error = refusal(VLLMSampler(policy, served.config(patience=0.5, timeout=0.5)))
    assert "no whole answer within 0.5 seconds" in error.problem


def test_responses_of_weights_that_it_was_not_given_are_refused_by_name(
    saved: Path, policy: LanguageModel, serve: Serve
) -> None:
    served = serve(saved)
    served.fault(version="another-run-1")
    error = refusal(VLLMSampler(policy, served.config()))
    assert "5 of 5 responses are from weights that the server was not given last" in error.problem
    assert error.file == served.url
    served.fault(version="another-run-1", times=2)  # the third answer, and all to the second request, are right
    assert VLLMSampler(policy, served.config()).sample(PROMPTS, GREEDY, seed=0) == greedy(policy)


def test_staleness_has_a_bound_and_is_told(saved: Path, policy: LanguageModel, serve: Serve) -> None:
    served = serve(saved)
    sampler = VLLMSampler(policy, served.config(max_staleness=2))
    answers = [sampler.sample(PROMPTS, GREEDY, seed=0)]
    staleness = [{sample.staleness for sample in answers[0]}]
    for step in range(4):
        move(policy, step)
        sampler.sync(policy)
        answers.append(sampler.sample(PROMPTS, GREEDY, seed=0))
        staleness.append({sample.staleness for sample in answers[-1]})
    assert staleness == [{0}, {1}, {2}, {0}, {1}]
    assert answers[0] == answers[1] == answers[2] != answers[3] == answers[4]
    assert len(served.log("/collective_rpc")) == 2
    sampler.sync(policy, exact=True)  # validation
    assert sampler.sample(PROMPTS, GREEDY, seed=0) == greedy(policy)


def test_weights_are_handed_over_once_for_several_notes_and_in_one_pause(
    saved: Path, policy: LanguageModel, serve: Serve, tmp_path: Path
) -> None:
    served = serve(saved)
    shared = tmp_path / "shared"
    sampler = VLLMSampler(policy, served.config(folder=shared))
    for _ in range(3):
        move(policy, 1)
        sampler.sync(policy)
    sampler.sample(PROMPTS, GREEDY, seed=0)
    sampler.sample(PROMPTS, GREEDY, seed=1)
    [order] = served.log("/collective_rpc")
    assert order["method"] == "reload_weights"
    assert Path(order["kwargs"]["weights_path"]).is_relative_to(shared)
    assert not list(shared.rglob("*.safetensors"))  # the server has read them
    for path in ("/pause", "/reset_prefix_cache", "/update_weight_version", "/resume"):
        assert len(served.log(path)) == 1, path


def test_a_frozen_policy_is_loaded_from_its_folder(saved: Path, runtime: Runtime, serve: Serve) -> None:
    served = serve(saved)
    policy = load_policy(saved, runtime, trained=False)
    assert VLLMSampler(policy, served.config()).sample(PROMPTS, GREEDY, seed=0) == greedy(policy)
    [order] = served.log("/collective_rpc")
    assert order["kwargs"] == {"weights_path": str(saved)}


def test_a_failed_load_of_weights_is_told_and_the_server_goes_on(
    saved: Path, policy: LanguageModel, serve: Serve
) -> None:
    served = serve(saved)
    served.fault(status=500, path="/collective_rpc", times=1)
    sampler = VLLMSampler(policy, served.config())
    error = refusal(sampler)
    assert "/collective_rpc: HTTP 500 a fault" in error.problem
    assert sampler.sample(PROMPTS, GREEDY, seed=0) == greedy(policy)  # it was not left paused


@pytest.mark.parametrize(
    ("fault", "problem", "hint"),
    [
        ({"plain": True}, "no token ids", "vLLM 0.33"),
        ({"wrong": "prompt"}, "read another prompt", "log"),
        ({"wrong": "token"}, "a token that the policy does not know", "policy's model"),
        ({"length": 1}, "a response of 1 tokens ended by 'length'", "--max-model-len"),
        ({"redirect": True}, "it points elsewhere (HTTP 307)", "the server itself"),
        ({"status": 400}, "HTTP 400 a fault", "log"),
        ({"status": 404}, "HTTP 404 a fault", "address"),
    ],
    ids=str,
)
def test_answers_that_cannot_be_learned_from_are_refused(
    saved: Path, policy: LanguageModel, serve: Serve, fault: dict[str, Any], problem: str, hint: str
) -> None:
    served = serve(saved)
    served.fault(**fault)
    error = refusal(VLLMSampler(policy, served.config()))
    assert problem in error.problem
    assert hint in (error.hint or "")
    assert error.file == served.url


def test_another_model_is_refused_by_name(saved: Path, policy: LanguageModel, serve: Serve) -> None:
    served = serve(saved, name="qwen")
    error = refusal(VLLMSampler(policy, served.config(model="llama")))
    assert error.problem == "the server has no model llama; it lists qwen"
    assert error.field == "compute.sampler.model"


def test_an_address_of_something_else_is_told(policy: LanguageModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def chat() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(100)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                connection.close()

        threading.Thread(target=chat, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = SamplerConfig.model_validate({"url": url, "patience": 0.3})
        error = refusal(VLLMSampler(policy, config))
    assert "the connection broke" in error.problem


def test_the_key_comes_from_the_environment_and_is_never_shown(
    saved: Path, policy: LanguageModel, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(saved, key="sk-very-secret-0123456789")
    config = served.config(api_key_variable="STUB_KEY")
    monkeypatch.delenv("STUB_KEY", raising=False)
    with pytest.raises(RedpencilError, match="no API key in STUB_KEY") as caught:
        VLLMSampler(policy, config)
    assert caught.value.field == "compute.sampler.api_key_variable"
    monkeypatch.setenv("STUB_KEY", "sk-other-0123456789")
    error = refusal(VLLMSampler(policy, config))
    assert "HTTP 401" in error.problem
    monkeypatch.setenv("STUB_KEY", "sk-very-secret-0123456789")
    sampler = VLLMSampler(policy, config)
    assert sampler.sample(PROMPTS, GREEDY, seed=0) == greedy(policy)
    assert "secret" not in repr(sampler.server) + repr(config)


def test_prompts_that_leave_no_room_on_the_server_are_refused_before_they_are_sent(
    saved: Path, policy: LanguageModel, serve: Serve
) -> None:
    served = serve(saved)
    error = refusal(VLLMSampler(policy, served.config()), SamplingConfig(temperature=0, response_length=60))
    assert error.field == "response_length"
    assert not served.log("/v1/completions")


def adapted(saved: Path, runtime: Runtime) -> LanguageModel:
    """A policy that trains an adapter on the saved one."""
    return load_policy(saved, runtime, trained=True, lora=LoraConfig(r=2, target_modules=("q_proj", "v_proj")))


def move_adapter(policy: LanguageModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.requires_grad:
                weight += torch.randn(weight.shape, generator=generator)


def test_an_adapter_is_loaded_under_a_name_of_its_own_for_each_update(
    saved: Path, runtime: Runtime, serve: Serve, tmp_path: Path
) -> None:
    served, policy = serve(saved), adapted(saved, runtime)
    sampler = VLLMSampler(policy, served.config(route="lora", folder=tmp_path / "shared"))
    answers = []
    for step in range(2):
        move_adapter(policy, step)
        sampler.sync(policy)
        answers.append(sampler.sample(PROMPTS, GREEDY, seed=0))
        assert answers[-1] == greedy(policy)
    assert answers[0] != answers[1]
    assert len(list((tmp_path / "shared").rglob("adapter_config.json"))) == 1  # the last one
    loads = served.log("/v1/load_lora_adapter")
    assert len({load["lora_name"] for load in loads}) == len({load["lora_path"] for load in loads}) == 2
    assert served.log("/v1/unload_lora_adapter") == [{"lora_name": loads[0]["lora_name"]}]
    served.reset(saved)  # as one that was started again: it has no adapter now
    assert sampler.sample(PROMPTS, GREEDY, seed=0) == answers[1]
    # a checkpoint of an adapter, frozen, is loaded from its folder
    export(policy, tmp_path / "adapter")
    frozen = load_policy(tmp_path / "adapter", runtime, trained=False)
    assert VLLMSampler(frozen, served.config(route="lora")).sample(PROMPTS, GREEDY, seed=0) == answers[1]
    assert served.log("/v1/load_lora_adapter")[-1]["lora_path"] == str(tmp_path / "adapter")


def test_an_adapter_is_merged_for_a_server_that_takes_whole_weights(
    saved: Path, runtime: Runtime, serve: Serve
) -> None:
    served, policy = serve(saved), adapted(saved, runtime)
    move_adapter(policy, 3)
    assert VLLMSampler(policy, served.config()).sample(PROMPTS, GREEDY, seed=0) == greedy(policy)
    assert not served.log("/v1/load_lora_adapter")


def test_the_route_of_adapters_needs_one(saved: Path, policy: LanguageModel, serve: Serve) -> None:
    error = refusal(VLLMSampler(policy, serve(saved).config(route="lora")))
    assert error.field == "compute.sampler.route"


ON_RANKS = """
import json, sys
from pathlib import Path
import torch
from redpencil.config.compute import SamplerConfig
from redpencil.config.methods import SamplingConfig
from redpencil.config.training import LoraConfig
from redpencil.models.checkpoints import load_policy
from redpencil.models.runtime import make_runtime
from redpencil.models.vllm import VLLMSampler

url, folder, out, prompts, kind = sys.argv[1:]
lora = LoraConfig(r=2) if kind == "adapter" else None
policy = load_policy(folder, make_runtime("cpu", "float32"), trained=True, lora=lora)
sampler = VLLMSampler(policy, SamplerConfig(url=url, timeout=300, patience=300))
answers = []
for step in range(2):
    for temperature in (0, 1):
        config = SamplingConfig(temperature=temperature, response_length=8)
        answers.append([sample.ids for sample in sampler.sample(json.loads(prompts), config, seed=step)])
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.requires_grad:
                weight *= 1.5
    sampler.sync(policy)
Path(f"{out}-{policy.runtime.rank}").write_text(json.dumps(answers))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("whole", marks=pytest.mark.long), "adapter"]
)  # merged by the first alone
def test_two_ranks_ask_for_their_shares_and_get_what_one_gets(
    saved: Path, serve: Serve, tmp_path: Path, kind: str
) -> None:
    served = serve(saved)

    def run(processes: int) -> list[Any]:
        out = tmp_path / str(processes)
        shared = {**os.environ, "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", ON_RANKS, served.url, str(saved), str(out), json.dumps(PROMPTS), kind],
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(processes)
        ]
        try:
            assert [process.wait(timeout=200) for process in started] == [0] * processes
        finally:
            for process in started:
                process.kill()
        return [json.loads(Path(f"{out}-{rank}").read_text()) for rank in range(processes)]

    [alone] = run(1)
    loads, asked = len(served.log("/collective_rpc")), len(served.log("/v1/completions"))
    assert (loads, asked) == (2, 4 * len(PROMPTS))
    assert run(2) == [alone, alone]
    assert len(served.log("/collective_rpc")) == 2 * loads  # by the first rank alone
    assert len(served.log("/v1/completions")) == 2 * asked


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])
