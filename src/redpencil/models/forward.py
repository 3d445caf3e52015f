"""Forward passes that return what the maths needs, for response tokens only."""

from typing import Any

import torch
from torch import Tensor, nn

from redpencil.maths.logprobs import token_logprobs
from redpencil.models.batches import Batch, flush_left


def response_logits(policy: nn.Module, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Logits that predict each response token, [B, T, V], in float32.

    The language-model head runs on T + 1 columns only, not on the prompt.
    """
    output = policy(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        logits_to_keep=batch.response_width + 1,
        use_cache=False,
    )
    logits: Tensor = output.logits[:, :-1].float()
    return logits / temperature


def response_logprobs(policy: nn.Module, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Log-probability of each response token, [B, T]; padding columns hold numbers without meaning."""
    return token_logprobs(response_logits(policy, batch, temperature), batch.response_ids)


def _token_scores(model: nn.Module, batch: Batch) -> Tensor:
    """One number for each column, [B, P + T], float32."""
    output = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    )
    scores: Tensor = output.logits.squeeze(-1).float()
    return scores


def token_rewards(model: nn.Module, batch: Batch) -> Tensor:
    """r_t = r_phi(s_t, a_t), [B, T]: read where the model has consumed a_t (see `maths.rewards`)."""
    return _token_scores(model, batch)[:, batch.prompt_width :]


def token_values(model: nn.Module, batch: Batch) -> Tensor:
    """V(s_t), [B, T]: read one position before a_t, so it cannot see the action it is the baseline of."""
    return _token_scores(model, batch)[:, batch.prompt_width - 1 : -1]


def sequence_rewards(model: nn.Module, batch: Batch) -> Tensor:
    """One reward for each response, [B], float32.

    Decoder classes read it at the last real token, found by the attention mask and never by looking for a pad id;
    encoder classes (BERT) pool their first token, so their rows are padded on the right.
    """
    head: Any = getattr(model, "score", None)
    if head is None:
        ids, attention = flush_left(batch)
        pooled: Tensor = model(input_ids=ids, attention_mask=attention).logits
        return pooled.squeeze(-1).float()
    backbone: Any = model.base_model
    hidden = backbone(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    columns = torch.arange(hidden.shape[1], device=hidden.device)
    last = (columns * batch.attention_mask).argmax(dim=1)
    rewards: Tensor = head(hidden[torch.arange(len(last), device=hidden.device), last])
    return rewards.squeeze(-1).float()
