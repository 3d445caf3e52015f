"""A service that gives the rewards of a reward model by HTTP, for trainers that run elsewhere.

    POST /rewards   {"prompts": [[ids], ...], "responses": [[ids], ...]}, or texts in place of ids
                    -> {"rewards": [[number of each token], ...]}, standardised by the model's card, or "raw": true
    POST /pooling   the rewards of all tokens of {"input": [ids]}, as vLLM gives them with the task token_classify
    POST /classify  the reward of a sequence model, as vLLM gives it
    GET  /v1/models, /health

Requests that wait are scored in one batch.
"""

import hmac
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import torch
from torch import Tensor

from redpencil.errors import RedpencilError
from redpencil.integrations.reward_client import vocabulary_digest
from redpencil.maths.ppo import standardise
from redpencil.models.checkpoints import RewardModel
from redpencil.models.forward import collate, sequence_rewards
from redpencil.models.sampling import check_vocabulary
from redpencil.records import Response
from redpencil.text import valid_text
from redpencil.training.scoring import (
    BATCH_SIZE,
    check_fits,
    check_rewards,
    encode_samples,
    score_sequences,
    score_tokens,
)

MOST_BYTES: Final = 64_000_000
_IDLE_S: Final = 60
"""Seconds after which a connection that says nothing is closed."""
Answer = dict[str, Any]


class _RefusalError(Exception):
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


class RewardService:
    """Answers requests for the rewards of one reward model."""

    def __init__(self, reward: RewardModel, key: str = "") -> None:
        self.reward, self.key = reward, key
        self.vocabulary = vocabulary_digest(reward.model.codec.tokenizer.get_vocab())
        self._waiting: SimpleQueue[tuple[list[Any], list[Any], Future[list[Any]]]] = SimpleQueue()
        self._model = threading.Lock()
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def paths(self) -> dict[str, Callable[[Answer], Answer]]:
        """What answers each path."""
        pooled = "/pooling" if self.reward.card.level == "token" else "/classify"
        return {"/rewards": self.rewards, pooled: self.pooled}

    def models(self) -> Answer:
        """List the model as vLLM does."""
        model = self.reward.model
        card = {"id": model.name, "object": "model", "root": str(Path(model.name).absolute()), "parent": None}
        return {"object": "list", "data": [{**card, "max_model_len": model.context}]}

    def rewards(self, body: Answer) -> Answer:
        """Rewards of responses: token ids, or texts through the model's own tokenizer and prompt template."""
        card, raw = self.reward.card, body.get("raw", False)
        if body.get("vocabulary", self.vocabulary) != self.vocabulary:
            raise _RefusalError(409, "the reward model does not read the policy's tokens: their vocabularies differ")
        prompts, responses = self._encoded(body)
        found = self._scored(prompts, responses)
        if not raw:
            found = [standardise(row, card.center, card.scale) for row in found]
        answer = {"rewards": [row.tolist() for row in found], "level": card.level, "raw": bool(raw)}
        return answer | ({} if _are_ids(body["prompts"]) else {"tokens": [list(ids) for ids in responses]})

    def pooled(self, body: Answer) -> Answer:
        """The numbers of the model's heads at each token that was sent, or of a sequence model for all of them."""
        if body.get("use_activation") is not False:
            raise _RefusalError(400, "rewards have no activation: send use_activation=false")
        given = body.get("input")
        rows: list[Any] = given if isinstance(given, list) and _are_ids(given) else [given]
        if not _are_ids(rows):
            raise _RefusalError(400, "`input` is a list of token ids, or several")
        data = []
        for index, ids in enumerate(rows):
            self._check([ids], [[]])
            numbers = self._numbers(ids).tolist()
            if self.reward.card.level == "token":
                data.append({"index": index, "object": "pooling", "data": numbers})
            else:
                data.append({"index": index, "label": "LABEL_0", "probs": numbers, "num_classes": 1})
        return {"object": "list", "model": self.reward.model.name, "data": data}

    @torch.no_grad()
    def _numbers(self, ids: Sequence[int]) -> Tensor:
        model = self.reward.model
        batch = collate([ids], [()], model.codec.pad_id, model.runtime.device)
        with self._model, model.runtime.autocast():
            if self.reward.card.level == "sequence":
                return sequence_rewards(model.module, batch).cpu()
            output = model.module(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids
            )
            numbers: Tensor = output.logits[0, : len(ids)].float().cpu()
            return numbers

    def _encoded(self, body: Answer) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]:
        prompts, responses = body.get("prompts"), body.get("responses")
        if not isinstance(prompts, list) or not isinstance(responses, list) or len(prompts) != len(responses):
            raise _RefusalError(400, "`prompts` and `responses` are lists of one length")
        if not _are_ids(prompts) or not _are_ids(responses):
            if not all(isinstance(text, str) for text in (*prompts, *responses)):
                raise _RefusalError(400, "`prompts` and `responses` are lists of token ids, or texts")
            finished = body.get("finished", [True] * len(prompts))
            if not isinstance(finished, list) or len(finished) != len(prompts):
                raise _RefusalError(400, "`finished` has one entry for each response")
            rows = [
                Response(str(index), valid_text(prompt), valid_text(response), finished=bool(end))
                for index, (prompt, response, end) in enumerate(zip(prompts, responses, finished, strict=True))
            ]
            encoded = encode_samples(rows, self.reward.model.codec)
            prompts, responses = [ids for ids, _ in encoded], [ids for _, ids in encoded]
        self._check(prompts, responses)
        return prompts, responses

    def _check(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> None:
        """Refuse what the model cannot read, before it meets the rows of others in a batch."""
        if not all(prompts):
            raise _RefusalError(400, "a prompt is empty")
        model = self.reward.model
        try:
            if prompts:
                check_fits(model.context, model.readings, prompts, responses)
                check_vocabulary(
                    model, [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
                )
        except RedpencilError as error:
            raise _RefusalError(400, error.problem) from None

    def _scored(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[Tensor]:
        future: Future[list[Any]] = Future()
        self._waiting.put((list(prompts), list(responses), future))
        return future.result()

    def _work(self) -> None:
        """Score what waits, as much at once as a batch holds."""
        while True:
            jobs = [self._waiting.get()]
            while sum(len(prompts) for prompts, _, _ in jobs) < BATCH_SIZE:
                try:
                    jobs.append(self._waiting.get_nowait())
                except Empty:
                    break
            try:
                found = self._score([ids for job in jobs for ids in job[0]], [ids for job in jobs for ids in job[1]])
            except BaseException as error:
                for *_, future in jobs:
                    future.set_exception(error)
                continue
            for prompts, _, future in jobs:
                future.set_result(found[: len(prompts)])
                found = found[len(prompts) :]

    def _score(self, prompts: list[Any], responses: list[Any]) -> list[Tensor]:
        score = score_tokens if self.reward.card.level == "token" else score_sequences
        with self._model:
            found = list(score(self.reward.model, prompts, responses))
        for row in found:
            check_rewards(self.reward, row.reshape(-1))
        return found


def _are_ids(rows: Any) -> bool:
    """Tell whether it is a list of lists of token ids."""
    return isinstance(rows, list) and all(
        isinstance(row, list) and all(type(token) is int and token >= 0 for token in row) for row in rows
    )


class _Handler(BaseHTTPRequestHandler):
    service: RewardService
    timeout = _IDLE_S

    def log_message(self, *_: Any) -> None:
        """Print nothing: requests hold the texts of users."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self._reply(200, {"status": "ok"})
        elif self.path == "/v1/models" and self._is_allowed():
            self._reply(200, self.service.models())
        else:
            self._reply(404, {"error": {"message": "no such path", "code": 404}})

    def do_POST(self) -> None:
        try:
            status, content = 200, self._answer()
        except _RefusalError as error:
            status, content = error.status, {"error": {"message": str(error), "code": error.status}}
        except Exception as error:  # such as a full memory: whoever asks hears of it, and the next is answered
            problem = error.problem if isinstance(error, RedpencilError) else type(error).__name__
            status, content = 500, {"error": {"message": problem, "code": 500}}
        self._reply(status, content)

    def _answer(self) -> Answer:
        answer = self.service.paths.get(self.path)
        if not self._is_allowed():
            raise _RefusalError(401, "a key is needed")
        if answer is None:
            paths = ", ".join(self.service.paths)
            raise _RefusalError(404, f"no such path; a {self.service.reward.card.level} reward model has: {paths}")
        return answer(self._body())

    def _is_allowed(self) -> bool:
        given = self.headers.get("Authorization", "").encode()
        return not self.service.key or hmac.compare_digest(given, f"Bearer {self.service.key}".encode())

    def _body(self) -> Answer:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > len(str(MOST_BYTES)) or int(length) > MOST_BYTES:
            raise _RefusalError(413, f"a body has a Content-Length of at most {MOST_BYTES:,} bytes")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise _RefusalError(400, "the body is not a JSON object")
        return body

    def _reply(self, status: int, content: Answer) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def bind_service(service: RewardService, host: str, port: int) -> ThreadingHTTPServer:
    """Open a service at an address; `serve_forever` answers.

    Raises:
        RedpencilError: if the address is taken, or is not this machine's.
    """
    handler = type("Handler", (_Handler,), {"service": service})
    try:
        server = ThreadingHTTPServer((host, port), handler)
    except (OSError, OverflowError) as error:
        raise RedpencilError(
            f"cannot listen on {host}:{port} ({error})", field="--port", hint="choose another --port or --host"
        ) from None
    server.daemon_threads = True
    return server
