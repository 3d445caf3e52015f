"""What the stand-in for hosted LLMs answers: bodies of both APIs, sound and broken."""

import json
from typing import Any, Final

MALFORMED: Final = (
    "not-json",
    "half",
    "html",
    "empty-body",
    "a-list",
    "no-content",
    "null-content",
    "wrong-type",
    "error-object",
)


def anthropic_body(text: str, stop: str, model: str, used: tuple[int, int]) -> dict[str, Any]:
    """An answer of the Messages API; `stop` is refuse, length or end, `used` the tokens asked and answered."""
    return {
        "id": "msg_stub",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": text}],
        "stop_reason": {"refuse": "refusal", "length": "max_tokens"}.get(stop, "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": used[0], "output_tokens": used[1]},
    }


def openai_body(text: str, stop: str, model: str, used: tuple[int, int]) -> dict[str, Any]:
    """The same of the chat completions API."""
    refusal = "I cannot help with that." if stop == "refuse" else None
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None if refusal else text, "refusal": refusal},
                "finish_reason": "length" if stop == "length" else "stop",
            }
        ],
        "usage": {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)},
    }


def malformed_body(kind: str, anthropic: bool) -> bytes:
    """A body that holds no answer, in one of the ways of MALFORMED; or `error-429`, an error of such a status, also
    beside an answer, or `ends-abort`, an answer that ends for this reason.
    """
    good = anthropic_body("text", "end", "m", (1, 1)) if anthropic else openai_body("text", "end", "m", (1, 1))
    if kind.startswith("ends-"):
        place, word = (good, "stop_reason") if anthropic else (good["choices"][0], "finish_reason")
        place[word] = kind.removeprefix("ends-")
    if kind.startswith("error-") and kind not in MALFORMED:
        good["error"] = {"code": int(kind.removeprefix("error-")), "message": "Provider returned error"}
    if kind in ("no-content", "null-content", "wrong-type"):
        place = good if anthropic else good["choices"][0]["message"]
        place["content"] = None if kind == "null-content" else 7
        if kind == "no-content":
            del place["content"]
    other = {
        "not-json": b"upstream connect error",
        "half": json.dumps(good).encode()[:40],
        "html": b"<html><body>Bad gateway</body></html>",
        "empty-body": b"",
        "a-list": b"[]",
        "error-object": b'{"error": {"message": "overloaded"}}',
    }
    return other[kind] if kind in other else json.dumps(good).encode()
