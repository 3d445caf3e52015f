"""A token reward model that is made of two policies: what RTO takes for the reward of a token.

    r_t = beta (log policy(a_t | s_t) - log reference(a_t | s_t))

DPO's policy is the optimal one, at a KL penalty of weight beta, for rewards of which these are a version shaped token
by token (Rafailov et al., "From r to Q*", 2024): a policy that DPO trained on edits says of each token what the edits
say of it. RTO (Zhong et al., "DPO Meets PPO", 2024, arXiv 2404.18922) lets PPO learn from it.

The folder of such a model holds no weights. Its redpencil.json says under `log_ratio` the way to either policy from
there, so that all can be moved together, and digests of their weights; its config.json is the policy's, with the class
that says what it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from redpencil.adapters import SIDECAR, base_of, is_adapter, way_to
from redpencil.errors import RedpencilError
from redpencil.models.forward import Batch, response_logprobs
from redpencil.models.lora import weights_digest
from redpencil.text import read_json

LOG_RATIO: Final = "log_ratio"
"""The key of redpencil.json that names the two policies."""
ARCHITECTURE: Final = "LogRatioForTokenClassification"


class LogRatio(nn.Module):
    """The two policies as a token-level reward model, whose rewards `models.forward.token_rewards` asks it for."""

    def __init__(self, policy: Any, reference: Any, beta: float, folder: Path) -> None:
        super().__init__()
        self.policy, self.reference, self.beta = policy, reference, beta
        self.config = policy.config
        self.name_or_path = str(folder)

    def token_rewards(self, batch: Batch) -> Tensor:
        """Compute r_t, [B, T]; 0 on padding."""
        ratio = response_logprobs(self.policy, batch) - response_logprobs(self.reference, batch)
        return self.beta * ratio


@dataclass(frozen=True, slots=True)
class Parts:
    """The folders of the two policies, and beta."""

    policy: Path
    reference: Path
    beta: float


def parts_of(folder: Path) -> Parts | None:
    """Read what a reward model is made of; None if it is a model of its own.

    Raises:
        RedpencilError: if redpencil.json does not say it rightly.
    """
    path = folder / SIDECAR
    content = read_json(path) if path.is_file() else None
    named = content.get(LOG_RATIO) if isinstance(content, dict) else None
    if named is None:
        return None
    try:
        return Parts(folder / str(named["policy"]), folder / str(named["reference"]), float(named["beta"]))
    except (TypeError, KeyError, ValueError):
        raise RedpencilError(
            "it does not say of which policies the reward model is made",
            file=path,
            field=LOG_RATIO,
            hint="make the reward model again",
        ) from None


def written(folder: Path, parts: Parts) -> dict[str, Any]:
    """What redpencil.json of `folder` says of the policies, with digests of their weights."""
    policies = {"policy": parts.policy, "reference": parts.reference}
    ways = {name: way_to(path, folder) for name, path in policies.items()}
    return {**ways, "beta": parts.beta, "weights": {name: _digest(path) for name, path in policies.items()}}


def check_parts(folder: Path) -> None:
    """Refuse a reward model one of whose policies has other weights than when it was made, and measured.

    Raises:
        RedpencilError: naming both folders.
    """
    parts = parts_of(folder)
    if parts is None:
        return
    digests: Mapping[str, str] = read_json(folder / SIDECAR)[LOG_RATIO].get("weights", {})
    for name in ("policy", "reference"):
        part: Path = getattr(parts, name)
        if digests.get(name) != _digest(part):
            raise RedpencilError(
                f"its {name} in {part} has other weights than when the reward model was made",
                file=folder,
                hint="put them back, or make the reward model again",
            )


def _digest(folder: Path) -> str:
    """A digest of the weights of a policy, which may be an adapter and its base."""
    return weights_digest(folder) + (weights_digest(base_of(folder)) if is_adapter(folder) else "")
