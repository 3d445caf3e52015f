"""Where and in what portions stages compute, and the servers that sample and score: no part of any fingerprint."""

import re
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from redpencil.sections import Section, hinted, without_secrets

RewardLevel = Literal["token", "sequence"]
Attention = Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"]


class ServerConfig(Section):
    """A server that computes rewards, vLLM or `redpencil serve-reward` (docs/engines.md)."""

    url: str = Field(
        description="Address of the server, such as http://localhost:8000, without the /v1 of its interface for OpenAI."
    )
    model: str | None = Field(
        None,
        description="Name under which the server has the model. Default: the one that it serves, if there is only one.",
    )
    api_key_variable: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*$",
        description="Environment variable with the server's API key. The key itself never stands in a recipe.",
    )
    concurrency: int = Field(64, gt=0, le=1024, description="Requests in progress at once, of each process.")
    timeout: float = Field(600, gt=0, le=86_400, description="Longest wait for one answer, in seconds.")
    patience: float = Field(
        600,
        ge=0,
        le=86_400,
        description="Seconds for which a request that failed is made again, as while the server starts anew.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, data: Any) -> Any:
        return without_secrets(
            cls, data, "leave it out, and name the environment variable that holds it in api_key_variable"
        )

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if "@" in url:
            raise hinted("a recipe holds no secrets", "leave user and password out; see api_key_variable")
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url) or not url.isprintable():
            raise hinted("this is not the address of a server", "such as http://localhost:8000")
        return url.rstrip("/").removesuffix("/v1")


class SamplerConfig(ServerConfig):
    """A vLLM server that samples the responses of policies in place of this process (docs/engines.md)."""

    route: Literal["disk", "lora"] = Field(
        "disk",
        description="How it gets new weights: disk, a checkpoint in `folder`; lora, an adapter there, for a policy "
        "with `lora`.",
    )
    folder: Path | None = Field(
        None,
        description="Folder that the server reads at the same path, for the weights. Default: the one for temporary "
        "files, where the server runs on this machine.",
    )
    max_staleness: int = Field(
        0,
        ge=0,
        description="Updates of the policy that the weights which draw a rollout may lack. The server gets new weights "
        "when it would lack more. What older weights drew is sampled again. Validation is always exact.",
    )


class ComputeConfig(Section):
    """Where and in what portions stages compute. Changing these keys never makes a finished stage run again."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps; auto takes a CUDA GPU if there is one.")
    threads: int | None = Field(
        1,
        gt=0,
        le=1024,
        description="CPU threads of each stage. One is fastest for small models; two on busy cores can be 20x slower.",
    )
    jobs: int | None = Field(
        None,
        gt=0,
        description="Independent stages that run at once. Default: CPU cores, or GPUs, divided by what one takes: "
        "threads times processes cores, or processes GPUs.",
    )
    processes: int = Field(1, gt=0, description="Processes that share the work of one stage; on GPUs each has its own.")
    fsdp: int | bool = Field(
        False,
        ge=0,
        description="Shard weights, gradients and optimiser states of each model over processes (FSDP2). true: over "
        "all of a machine, with a copy on each machine; a number: over so many; false: each process holds all.",
    )
    fsdp_offload: bool = Field(
        False,
        description="With fsdp: keep the weights of frozen models in main memory, from where each use fetches them.",
    )
    tp_size: int = Field(
        1, gt=0, description="Processes that compute each row together (tensor parallelism): 1, or all, without fsdp."
    )
    micro_batch_size: int | None = Field(
        8,
        gt=0,
        description="Rows that one forward pass of a training stage takes; gradients are accumulated over a batch. "
        "Lower it when memory runs out; null takes the whole batch at once, which is faster for small models.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Keep only what enters each layer of a trained model, and compute the rest once more for the "
        "gradient: a fraction of the memory, a third more work.",
    )
    attn_implementation: Attention | None = Field(
        None,
        description="Attention as transformers names it. flash and flex need a GPU. Default: sdpa, or eager for models "
        "without it.",
    )
    generation_batch_size: int | None = Field(
        None,
        gt=0,
        description="Prompts that a model answers at once, a local editor or judge included; another number can draw "
        "other responses. Default: sampling.batch_size, and all rollouts of a step.",
    )
    save_every: int | None = Field(
        None,
        gt=0,
        description="Optimiser or rollout steps between saved training states, from which a stopped stage resumes. "
        "Default: none are saved.",
    )
    sampler: SamplerConfig | None = Field(
        None, description="A vLLM server that samples responses. Default: this process samples them."
    )
    reward_servers: dict[RewardLevel, ServerConfig] = Field(
        default_factory=dict,
        description="Servers that compute the rewards of rollouts, vLLM or `redpencil serve-reward`, by the level of "
        "the reward model, token or sequence. Default: this process computes them.",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:(0|[1-9]\d?))?", device):
            raise hinted(f"unknown device {device!r}", "auto, cpu, cuda, cuda:N such as cuda:0, or mps")
        return device

    @model_validator(mode="after")
    def _device_for_each(self) -> Self:
        if self.processes > 1 and self.device not in ("auto", "cpu", "cuda"):
            raise hinted(
                f"device {self.device!r} is one, and {self.processes} processes need one each",
                "set compute.device to cuda, cpu or auto, or compute.processes to 1",
            )
        return self


MOVED: Final = ("device", "threads", "jobs")
"""The keys of `compute` that a recipe had at its top level before version 0.2, and still may."""
