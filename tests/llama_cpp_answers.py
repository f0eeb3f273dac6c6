"""What llama.cpp itself computes from GGUF files, in a process of its own: help for a test.

    python -m tests.llama_cpp_answers MODEL.gguf ADAPTER.gguf|- PROMPTS.json

PROMPTS is a list of texts or lists of token ids. Prints, for each, how many tokens llama.cpp read
and ln p of the next token by id. Its log goes to standard error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import xllamacpp


def main(model: str, adapter: str, prompts: list) -> list[dict]:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 256, 1, 0
    params.cpuparams.n_threads = 1
    params.warmup = False
    if adapter != "-":
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = adapter, 1.0
        params.lora_adapters = [lora]
    server = xllamacpp.Server(params)
    return [_next_token(server, prompt) for prompt in prompts]


def _next_token(server: xllamacpp.Server, prompt: object) -> dict:
    # an end, or half a character, would be answered with nothing
    asked = {"n_predict": 1, "cache_prompt": False, "logit_bias": [["a", 1000.0]]}
    probabilities = {"n_probs": 5000, "logprobs": 5000}  # of all tokens, before sampling
    answer = server.handle_completions({"prompt": prompt, **asked, **probabilities})
    (token,) = answer["choices"][0]["logprobs"]["content"]
    return {
        "tokens": answer["usage"]["prompt_tokens"],
        "logprobs": {one["id"]: one["logprob"] for one in token["top_logprobs"]},
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))))
