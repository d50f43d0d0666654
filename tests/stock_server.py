"""A stock server for tests: transformers' own `generate` behind /v1/completions, in a thread.

It tells alternatives by id or by text, as vLLM and SGLang do, or as llama.cpp does; of the raw logits and the likeliest
alone, whatever is banned from being written.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

DIALECTS = ("ids", "texts", "llama.cpp", "after the ban")


class Stock:
    """A directory's model as `transformers` loads it. asked: bodies of the requests."""

    def __init__(self, folder: Path, dialect: str, max_logprobs: int) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.dialect, self.max_logprobs = dialect, max_logprobs
        ends = self.model.generation_config.eos_token_id
        self._ends = [ends] if isinstance(ends, int) else ends
        self.asked: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    @torch.inference_mode()
    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A completion."""
        with self._lock:
            self.asked.append(body)
            ids = torch.tensor([body["prompt"]])
            banned = [int(index) for index, bias in body["logit_bias"].items() if bias <= -100]
            done = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=body["max_tokens"],
                do_sample=False,
                suppress_tokens=banned or None,
                output_logits=True,
                return_dict_in_generate=True,
            )
        written = done.sequences[0, ids.shape[1] :]
        choice = {
            "text": self.tokenizer.decode(written, skip_special_tokens=True),
            "finish_reason": "stop" if int(written[-1]) in self._ends else "length",
            "logprobs": None,
        }
        if body.get("logprobs"):
            choice["logprobs"] = self._told(self._of(done, banned), min(body["logprobs"], self.max_logprobs))
        return {"object": "text_completion", "choices": [choice]}

    def _of(self, done: Any, banned: list[int]) -> torch.Tensor:
        """Logits of the first step, raw or as they are after the ban."""
        logits_V = done.logits[0][0].clone()
        if self.dialect == "after the ban":
            logits_V[banned] -= 100
        return logits_V

    def _told(self, logits_V: torch.Tensor, count: int) -> dict[str, Any]:
        values, ids = torch.log_softmax(logits_V.float(), dim=-1).topk(count)
        pairs = list(zip(ids.tolist(), values.tolist(), strict=True))
        if self.dialect == "llama.cpp":
            return {"content": [{"top_logprobs": [{"id": index, "logprob": value} for index, value in pairs]}]}
        if self.dialect == "ids":
            return {"top_logprobs": [{f"token_id:{index}": value for index, value in pairs}]}
        return {"top_logprobs": [{self.tokenizer.decode([index]): value for index, value in pairs}]}


@contextmanager
def serving(answer: Any) -> Iterator[str]:
    """The address of a server that gives POST bodies to `answer`: a JSON object, or (status, headers, text)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = answer(body) if self.path == "/v1/completions" else (404, {}, "no such path")
            status, headers, text = found if isinstance(found, tuple) else (200, {}, json.dumps(found))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
