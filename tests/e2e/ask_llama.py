"""Answers one question about a GGUF file, a JSON object, with llama.cpp (the wheel xllamacpp), for gguf_test.py."""

import json
import os
import sys
import urllib.request

import xllamacpp

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what llama.cpp prints


class Model:
    """A server of a file: with caches of float32 and plain attention where `exact`, else with llama.cpp's defaults."""

    def __init__(self, question):
        params = xllamacpp.CommonParams()
        params.model.path = question["file"]
        params.n_ctx = question["context"]
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.warmup = False
        params.verbosity = 0
        if question["exact"]:
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)

    def post(self, path, **content):
        request = urllib.request.Request(f"{self.server.listening_address}/{path}", json.dumps(content).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def complete(self, prompt, steps, symbols=0):
        """The likeliest token of each step, and of the first `symbols` ids the logarithms of their probabilities."""
        answer = self.post("completion", prompt=prompt, n_predict=steps, temperature=0, samplers=["top_k"], top_k=1,
                           ignore_eos=True, n_probs=symbols, cache_prompt=False, return_tokens=True)
        logprobs = []
        for step in answer.get("completion_probabilities", []):
            of = {one["id"]: one["logprob"] for one in step["top_logprobs"]}
            logprobs.append([of.get(token) for token in range(symbols)])
        return {"tokens": answer["tokens"], "text": answer["content"], "logprobs": logprobs}

    def answer(self, question):
        def ids_of(text):
            return self.post("tokenize", content=text, add_special=True, parse_special=question.get("special", False))["tokens"]
        return {"completions": [self.complete(**one) for one in question.get("completions", [])],
                "ids": [ids_of(text) for text in question.get("texts", [])],
                "texts": [self.post("detokenize", tokens=ids)["content"] for ids in question.get("ids", [])]}


def main():
    question = json.load(sys.stdin)
    print(json.dumps(Model(question).answer(question)), file=answers, flush=True)
    os._exit(0)  # the server would be waited for


if __name__ == "__main__":
    main()
