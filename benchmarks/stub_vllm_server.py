"""A server that speaks the part of vLLM's HTTP interface that redpencil uses, over a small model on the CPU.

Paths, fields and refusals are those of vLLM 0.33 (vllm/entrypoints). It computes with transformers, one request after
the other. `POST /reset` with `folder`, `name`, `key` and `pooling` starts anew with what it says. `POST /stub` with a
JSON object sets faults:

    status: 500          answer so, with `times` left (default: for ever)
    cut: true            send half of the body
    hang: true           send nothing for an hour
    slow: 0.2            wait before each answer
    die: true            end the process in the middle of an answer
    version: "other"     say that these weights drew every answer
    length: 3            cut every response at so many tokens, as a short --max-model-len does
    redirect: true       point elsewhere
    plain: true          leave out what older versions leave out
    wrong: "prompt"      say that another prompt was read; or "token": a token beyond the vocabulary
    after: N             begin after N requests
    path: "/pooling"     the requests that it is about; default: /v1/completions
"""

import argparse
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from redpencil.config.methods import SamplingConfig
from redpencil.models.checkpoints import LanguageModel, load_head, load_policy
from redpencil.models.forward import collate
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler
from redpencil.models.sidecar import reward_level

RUNTIME = Runtime(torch.device("cpu"), torch.float32)


class Stub:
    """The model, its weights' label, adapters by name, and what goes wrong."""

    def __init__(self, folder: Path, name: str = "policy", key: str = "", pooling: str = "") -> None:
        self.folder, self.name, self.key, self.pooling = folder, name, key, pooling
        self.model = self.load(folder)
        self.version, self.paused = "default", False
        self.adapters: dict[str, str] = {}
        self.fault: dict[str, Any] = {}
        self.log: list[dict[str, Any]] = []
        self.requests = 0
        self.lock = threading.Lock()

    def load(self, folder: Path) -> LanguageModel:
        if self.pooling:
            level = reward_level(folder)
            return load_head(folder, level, RUNTIME, trained=False, zero_head=False)
        return load_policy(folder, RUNTIME, trained=False)

    def due(self, path: str) -> dict[str, Any]:
        """What goes wrong with this request."""
        fault = self.fault
        if not fault or path.partition("?")[0] != fault.get("path", "/v1/completions"):
            return {}
        if fault.get("after", 0) > 0:
            fault["after"] -= 1
            return {}
        if "times" in fault:
            if fault["times"] <= 0:
                return {}
            fault["times"] -= 1
        return fault

    def models(self) -> dict[str, Any]:
        card = {"id": self.name, "object": "model", "root": str(self.folder), "parent": None}
        card["max_model_len"] = self.model.context
        more = [{"id": name, "root": path, "parent": self.name} for name, path in self.adapters.items()]
        return {"object": "list", "data": [card, *more]}

    def complete(self, body: dict[str, Any], fault: dict[str, Any]) -> tuple[int, Any]:
        if self.paused:
            return 503, {"error": {"message": "paused", "code": 503}}
        if body["model"] not in (self.name, *self.adapters):
            problem = f"The model `{body['model']}` does not exist."
            return 404, {"error": {"message": problem, "type": "NotFoundError", "code": 404}}
        prompt, length = body["prompt"], min(body["max_tokens"], fault.get("length", 10**9))
        if self.model.context is not None and len(prompt) + body["max_tokens"] > self.model.context:
            return 400, {"error": {"message": "maximum context length", "code": 400}}
        model = self.model if body["model"] == self.name else self.adapted(body["model"])
        stops = set(body.get("stop_token_ids") or [])
        if body["temperature"] == 0:
            config = SamplingConfig(temperature=0, response_length=length)
        else:
            config = SamplingConfig(temperature=body["temperature"], top_p=body["top_p"], response_length=length)
        assert body["ignore_eos"]
        model.module.generation_config.eos_token_id = sorted(stops)
        [sample] = HFSampler(model).sample([prompt], config, seed=body.get("seed") or 0)
        ids = list(sample.ids)
        choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": "stop" if sample.finished else "length"}
        choice["stop_reason"] = ids[-1] if sample.finished else None
        if not fault.get("plain"):
            if fault.get("wrong") == "token":
                ids = [*ids[:-1], 10**6]
            if body.get("return_token_ids"):
                choice["token_ids"] = ids
                choice["prompt_token_ids"] = [*prompt, 1] if fault.get("wrong") == "prompt" else prompt
            if body.get("return_weight_versions"):
                version = fault.get("version", self.version)
                choice["weight_versions"] = [{"version": version, "start": 0, "end": len(ids)}]
        return 200, {"id": "cmpl-1", "object": "text_completion", "model": body["model"], "choices": [choice]}

    def adapted(self, name: str) -> LanguageModel:
        from peft import PeftModel

        plain = load_policy(self.folder, RUNTIME, trained=False)
        merged = PeftModel.from_pretrained(plain.module, self.adapters[name]).merge_and_unload()
        return LanguageModel(merged, plain.codec, RUNTIME)

    def pool(self, body: dict[str, Any], task: str) -> tuple[int, Any]:
        if self.pooling != task:
            problem = f"Try switching the model's pooling_task via --pooler-config.task {task}."
            return 400, {"error": {"message": problem, "code": 400}}
        if body.get("model") not in (None, self.name):
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}}
        inputs = body["input"] if isinstance(body["input"][0], list) else [body["input"]]
        data = []
        for index, ids in enumerate(inputs):
            batch = collate([ids], [()], 0, RUNTIME.device)
            with torch.no_grad():
                logits = self.model.module(
                    input_ids=batch.input_ids[:, : len(ids)], attention_mask=batch.attention_mask[:, : len(ids)]
                ).logits[0]
            if body.get("use_activation") is not False:
                logits = logits.sigmoid()
            rows = logits.tolist()
            if task == "classify":
                data.append({"index": index, "label": "LABEL_0", "probs": rows, "num_classes": len(rows)})
            else:
                data.append({"index": index, "object": "pooling", "data": rows})
        return 200, {"id": "pool-1", "object": "list", "model": self.name, "data": data}

    def answer(self, path: str, body: dict[str, Any], fault: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/completions":
            return self.complete(body, fault)
        if path == "/pooling" and self.pooling:
            return self.pool(body, "token_classify")
        if path == "/classify" and self.pooling:
            return self.pool(body, "classify")
        if path == "/pause":
            self.paused = True
        elif path == "/resume":
            self.paused = False
        elif path == "/collective_rpc":
            try:
                self.model = self.load(Path(body["kwargs"]["weights_path"]))
            except Exception as error:
                return 500, {"error": {"message": str(error), "code": 500}}
        elif path == "/update_weight_version":
            self.version = body["new_version"]
        elif path == "/v1/load_lora_adapter":
            if not (Path(body["lora_path"]) / "adapter_config.json").is_file():
                return 404, {"error": {"message": f"No adapter found for {body['lora_path']}", "code": 404}}
            self.adapters[body["lora_name"]] = body["lora_path"]
            return 200, "Success: LoRA adapter added successfully."
        elif path == "/v1/unload_lora_adapter":
            if self.adapters.pop(body["lora_name"], None) is None:
                return 404, {"error": {"message": "cannot be found", "code": 404}}
            return 200, "Success: LoRA adapter removed successfully."
        elif path != "/reset_prefix_cache":
            return 404, {"detail": "Not Found"}
        return 200, {"status": "ok"}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    stub: Stub

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.reply(200, self.stub.models())
        elif self.path == "/log":
            self.reply(200, self.stub.log)
        elif self.path == "/health":
            self.reply(200, {})
        else:
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body, path, stub = json.loads(raw), self.path.partition("?")[0], self.stub
        if path == "/stub":
            stub.fault = body
            return self.reply(200, {})
        if path == "/reset":
            Handler.stub = Stub(Path(body.pop("folder")), **body)
            return self.reply(200, {})
        if stub.key and path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {stub.key}":
            return self.reply(401, {"error": "Unauthorized"})
        with stub.lock:
            fault = stub.due(path)
            stub.log.append({"path": self.path, "body": body})
        if fault.get("hang"):
            time.sleep(3600)
        time.sleep(fault.get("slow", 0))
        if "status" in fault:
            return self.reply(fault["status"], {"error": {"message": "a fault", "code": fault["status"]}})
        if fault.get("redirect"):
            self.send_response(307)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        with stub.lock:
            status, content = stub.answer(path, body, fault)
        self.reply(status, content, fault)
        return None

    def reply(self, status: int, content: Any, fault: dict[str, Any] | None = None) -> None:
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        if (fault or {}).get("cut"):
            data = data[: len(data) // 2]
        whole = len(data) * (2 if (fault or {}).get("die") else 1)
        self.send_header("Content-Length", str(whole))
        self.end_headers()
        self.wfile.write(data)
        if (fault or {}).get("die"):
            self.wfile.flush()
            os._exit(9)


def main() -> None:
    """Serve until told to stop; the first line printed is the port."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pooling", default="", help="token_classify or classify: serve a reward model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    Handler.stub = Stub(options.folder, pooling=options.pooling)
    ThreadingHTTPServer.allow_reuse_address = True
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
