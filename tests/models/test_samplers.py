"""The choice of a sampler."""

from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.config.compute import SamplerConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import load_policy
from redpencil.models.runtime import Runtime
from redpencil.models.samplers import make_sampler
from redpencil.models.sampling import HFSampler
from redpencil.models.vllm import VLLMSampler


def test_a_server_is_asked_where_a_recipe_names_one(
    folder: Callable[..., Path], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(folder("llama"), runtime, trained=False)
    assert make_sampler(policy) == HFSampler(policy)
    config = SamplerConfig.model_validate({"url": "http://localhost:1", "api_key_variable": "NO_SUCH_KEY"})
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(RedpencilError, match="no API key in NO_SUCH_KEY"):
        make_sampler(policy, config)
    sampler = make_sampler(policy, config.model_copy(update={"api_key_variable": None}))
    assert isinstance(sampler, VLLMSampler)
    assert sampler.codec is policy.codec
