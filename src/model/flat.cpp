#include "moe/model/flat.h"

#include <ATen/ATen.h>

#include <map>

#include "moe/base/text.h"
#include "moe/kernels/flat_memory.h"

namespace moe {

namespace {

/// Where a registered (stacked) parameter begins in the flat buffers.
using Offsets = std::map<std::string, std::int64_t>;

/// Writes down, under its published name, one piece after another.
class LayoutWriter {
 public:
  LayoutWriter(const Offsets& offsets, const ModelConfig& config, std::int64_t vocab_size)
      : offsets_(offsets), config_(config), vocab_size_(vocab_size) {}

  std::vector<PublishedTensor> write() {
    const auto c = config_.n_embed;
    whole("token_embedding_table.weight", {vocab_size_, c});
    whole("position_embedding_table.weight", {config_.block_size, c});
    for (std::int64_t layer = 0; layer < config_.n_layer; ++layer) block(cat("blocks.", layer));
    whole("ln_f.weight", {c});
    whole("ln_f.bias", {c});
    whole("lm_head.weight", {vocab_size_, c});
    whole("lm_head.bias", {vocab_size_});
    return std::move(layout_);
  }

 private:
  void whole(const std::string& name, std::vector<std::int64_t> shape) {
    layout_.push_back({name, offsets_.at(name), std::move(shape)});
  }

  void piece(const std::string& name, const std::string& owner, std::int64_t index,
             std::vector<std::int64_t> shape) {
    PublishedTensor tensor{name, 0, std::move(shape)};
    tensor.offset = offsets_.at(owner) + index * tensor.numel();
    layout_.push_back(std::move(tensor));
  }

  void linear(const std::string& name, std::int64_t out, std::int64_t in) {
    whole(name + ".weight", {out, in});
    whole(name + ".bias", {out});
  }

  void block(const std::string& at) {
    const auto c = config_.n_embed, h = config_.n_head;
    for (std::int64_t head = 0; head < h; ++head) {
      const auto prefix = cat(at, ".sa.heads.", head, ".");
      piece(prefix + "key.weight", at + ".sa.qkv", h + head, {c / h, c});
      piece(prefix + "query.weight", at + ".sa.qkv", head, {c / h, c});
      piece(prefix + "value.weight", at + ".sa.qkv", 2 * h + head, {c / h, c});
    }
    linear(at + ".sa.proj", c, c);
    mixture(at + ".smoe");
    for (const auto* norm : {".ln1", ".ln2"}) {
      whole(at + norm + ".weight", {c});
      whole(at + norm + ".bias", {c});
    }
  }

  void mixture(const std::string& at) {
    const auto c = config_.n_embed, f = 4 * c, e = config_.moe.num_experts;
    if (config_.moe.router == RouterKind::topk) {
      linear(at + ".router.linear", e, c);
    } else {
      linear(at + ".router.topkroute_linear", e, c);
      linear(at + ".router.noise_linear", e, c);
    }
    for (std::int64_t expert = 0; expert < e; ++expert) {
      const auto net = cat(at, ".experts.", expert, ".net.");
      piece(net + "0.weight", at + ".w1", expert, {f, c});
      piece(net + "0.bias", at + ".b1", expert, {f});
      piece(net + "2.weight", at + ".w2", expert, {c, f});
      piece(net + "2.bias", at + ".b2", expert, {c});
    }
  }

  const Offsets& offsets_;
  const ModelConfig& config_;
  std::int64_t vocab_size_;
  std::vector<PublishedTensor> layout_;
};

}  // namespace

std::int64_t PublishedTensor::numel() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

FlatParameters::FlatParameters(SparseMoELanguageModel model) {
  std::int64_t total = 0;
  Offsets offsets;
  const auto parameters = model->named_parameters();
  for (const auto& item : parameters) {
    offsets[item.key()] = total;
    total += item.value().numel();
  }
  const auto options = parameters[0].value().options().requires_grad(false);
  values_ = kernels::flat_zeros(total, options);
  gradients_ = kernels::flat_zeros(total, options);
  for (const auto& item : parameters) {
    auto parameter = item.value();
    const auto at = offsets.at(item.key());
    auto values = values_.narrow(0, at, parameter.numel()).view(parameter.sizes());
    values.copy_(parameter.detach());
    parameter.set_data(values);
    parameter.mutable_grad() = gradients_.narrow(0, at, parameter.numel()).view(parameter.sizes());
  }
  ledger_ = {gradients_, model->parameters()};
  layout_ = LayoutWriter(offsets, model->config(), model->vocab_size()).write();
}

at::Tensor FlatParameters::view(const at::Tensor& flat, const PublishedTensor& tensor) {
  return flat.narrow(0, tensor.offset, tensor.numel()).view(tensor.shape);
}

}  // namespace moe
