"""Answers questions about folders with the transformers of its environment: one JSON object a line, each way."""

import json
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, pipeline

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


class Folder:
    """The model and the tokenizer of the folder that was asked about last."""

    def __init__(self, path):
        self.path = path
        self.model, self.report = AutoModelForCausalLM.from_pretrained(
            path, trust_remote_code=True, dtype=torch.float32, output_loading_info=True)
        self.model.eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)

    def loaded(self, **_):
        """What did not fit, and the class of the model."""
        problems = {key: sorted(map(str, value)) for key, value in self.report.items() if value}
        return {"class": type(self.model).__name__, "problems": problems}

    def logprobs(self, ids):
        with torch.no_grad():
            return self.model(torch.tensor([ids])).logits[0].log_softmax(-1).tolist()

    def greedy(self, ids, count):
        start = torch.tensor([ids])
        out = self.model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=count, do_sample=False)
        return out[0, len(ids):].tolist()

    def encode(self, text):
        return self.tokenizer(text)["input_ids"]

    def decode(self, ids):
        return self.tokenizer.decode(ids)

    def write(self, text, count):
        writes = pipeline("text-generation", model=self.path, trust_remote_code=True)
        return writes(text, max_new_tokens=count, do_sample=False)[0]["generated_text"]

    def loss(self, ids):
        row = torch.tensor([ids])
        return self.model(row, labels=row).loss.item()

    def save(self, to, shard):
        self.model.save_pretrained(to, max_shard_size=shard)
        self.tokenizer.save_pretrained(to)


def make(folder, shard, **config):
    """A model of theirs with random weights, beside a tokenizer that is there already."""
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).save_pretrained(folder, max_shard_size=shard)


def main():
    folder = None
    for line in sys.stdin:
        question = json.loads(line)
        path, what = question.pop("folder"), question.pop("ask")
        if what == "make":
            answer = make(path, **question)
        else:
            if folder is None or folder.path != path:
                folder = Folder(path)
            answer = getattr(folder, what)(**question)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
