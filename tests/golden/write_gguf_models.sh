#!/usr/bin/env bash
# Writes model.gguf, of characters, and words.gguf, of subwords in Q8_0: what the fuzz target of GGUF files begins with.
#
#     tests/golden/write_gguf_models.sh build/makemoe
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")"
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
text=../../data/the-lantern-keepers.txt

train() { # name, keys...
  local run=$runs/$1 keys=()
  shift
  for key in "$@" model.norm=rms model.positions=rotary model.bias=false model.moe.activation=swiglu model.moe.router=topk \
    model.block_size=8 train.max_iters=1 train.eval_interval=1 train.batch_size=1 threads=1 eval.mode=random eval.eval_iters=1; do
    keys+=(--set "$key")
  done
  "$binary" train --config ../../configs/tiny.json --data "$text" --out "$run" "${keys[@]}"
}

train model model.n_embed=8 model.n_head=2 model.n_layer=2 model.moe.num_experts=2 model.moe.expert_width=8 model.qk_norm=head \
  model.moe.gate=sigmoid model.moe.shared_experts=1 model.moe.dense_layers=[0] model.moe.balance.kind=loss_free
"$binary" export "$runs/model" --format gguf --out model.gguf
train words model.n_embed=32 model.n_head=4 model.n_layer=1 model.moe.num_experts=2 model.moe.expert_width=32 model.tied=true \
  data.tokenizer=bpe data.vocab_size=280
"$binary" export "$runs/words" --format gguf --dtype q8_0 --out words.gguf
