"""The choice of what samples from a policy: this process, or a server."""

from pathlib import Path

from redpencil.config.compute import SamplerConfig
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.sampling import HFSampler, Sampler
from redpencil.models.vllm import VLLMSampler


def make_sampler(policy: LanguageModel, config: SamplerConfig | None = None, kept: Path | None = None) -> Sampler:
    """Choose what samples from a policy: the server that a recipe names, or this process.

    `kept` is a folder for what this process samples; see `HFSampler`.

    Raises:
        RedpencilError: if the environment variable of the server's API key holds none.
    """
    return HFSampler(policy, kept) if config is None else VLLMSampler(policy, config)
