#include "moe/model/build.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <cmath>
#include <limits>
#include <string_view>

#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/model/flat.h"

namespace moe {

namespace {

constexpr double kSmallStd = 0.02;  // of small_normal, as GPT-2 has it

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> ends) {
  for (const auto end : ends)
    if (name.ends_with(end)) return true;
  return false;
}

bool is_norm(std::string_view name) { return name.find("ln") != std::string_view::npos; }
bool is_embedding(std::string_view name) {
  return name.find("_embedding_table") != std::string_view::npos;
}

/// As the constructor of PyTorch's module draws it: nn.Linear (kaiming_uniform_ with a = sqrt(5)),
/// nn.Embedding, nn.LayerNorm.
void draw_default(at::Tensor out, std::string_view name, std::int64_t fan_in,
                  const ModelConfig& config, at::Generator& generator) {
  const double root = std::sqrt(static_cast<double>(fan_in));
  const bool is_weight = name.ends_with(".weight");
  if (is_norm(name)) {
    out.fill_(is_weight ? 1 : 0);
  } else if (is_embedding(name)) {
    out.normal_(0, config.init == Init::small_normal ? kSmallStd : 1.0, generator);
  } else {
    // Both are 1 / root but for the last bit, which PyTorch's way of computing them decides.
    const double slope = std::sqrt(5.0), gain = std::sqrt(2.0 / (1 + slope * slope));
    const double bound = is_weight ? std::sqrt(3.0) * (gain / root) : 1 / root;
    out.uniform_(-bound, bound, generator);
  }
}

/// Standard deviation of the normal draws of a Linear weight (out, in) under config.init.
double normal_std(const at::Tensor& weight, std::string_view name, const ModelConfig& config) {
  const auto fan_in = static_cast<double>(weight.size(1));
  if (config.init == Init::kaiming_normal) return std::sqrt(2.0) / std::sqrt(fan_in);
  if (config.init == Init::xavier_normal)
    return std::sqrt(2.0 / (fan_in + static_cast<double>(weight.size(0))));
  const bool residual = ends_with_any(name, {".sa.proj.weight", ".net.2.weight"});
  return residual ? kSmallStd / std::sqrt(2.0 * static_cast<double>(config.n_layer)) : kSmallStd;
}

/// Adds a*b to total or throws when the sum leaves the range of an int64.
void add_product(std::int64_t& total, std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product) || __builtin_add_overflow(total, product, &total))
    throw ConfigError(
        "model: the parameter count overflows 64 bits; lower model.n_embed, model.n_layer or "
        "model.moe.num_experts");
}

/// Parameters of the model when each block holds `experts` experts.
std::int64_t count_with(const ModelConfig& config, std::int64_t vocab_size, std::int64_t experts) {
  const auto c = config.n_embed, e = config.moe.num_experts;
  std::int64_t square = 0, block = 0, total = 0;
  add_product(square, c, c);
  add_product(block, 4, square);  // q, k, v, projection
  add_product(block, 5, c);       // projection bias, two norms
  const std::int64_t routers = config.moe.router == RouterKind::topk ? 1 : 2;
  add_product(block, routers * e, c + 1);
  std::int64_t expert = 0;
  add_product(expert, 8, square);
  add_product(expert, 5, c);
  add_product(block, experts, expert);
  add_product(total, config.n_layer, block);
  add_product(total, vocab_size, 2 * c + 1);
  add_product(total, config.block_size + 2, c);
  return total;
}

}  // namespace

void initialise(SparseMoELanguageModel& model, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  const auto& config = model->config();
  auto generator = at::detail::createCPUGenerator(seed);
  // Through a copy of the flat layout, since the published tensors are pieces of stacked ones.
  FlatParameters flat(model);
  auto drawn = at::empty(flat.values().sizes(), at::kFloat);
  std::int64_t fan_in = 1;
  for (const auto& tensor : flat.layout()) {
    if (tensor.shape.size() == 2) fan_in = tensor.shape[1];  // a bias follows its weight
    draw_default(FlatParameters::view(drawn, tensor), tensor.name, fan_in, config, generator);
  }
  for (const auto& tensor : flat.layout()) {
    if (config.init == Init::standard || tensor.shape.size() != 2 || is_embedding(tensor.name))
      continue;
    auto weight = FlatParameters::view(drawn, tensor);
    weight.normal_(0, normal_std(weight, tensor.name, config), generator);
  }
  flat.values().copy_(drawn);
}

std::int64_t count_parameters(const ModelConfig& config, std::int64_t vocab_size) {
  return count_with(config, vocab_size, config.moe.num_experts);
}

std::int64_t count_active_parameters(const ModelConfig& config, std::int64_t vocab_size) {
  return count_with(config, vocab_size, config.moe.top_k);
}

double count_step_flops(const ModelConfig& config, std::int64_t vocab_size,
                        std::int64_t sequences) {
  const auto c = static_cast<double>(config.n_embed), t = static_cast<double>(config.block_size);
  const auto tables = (static_cast<double>(vocab_size) + t) * c;  // are looked up, not multiplied
  const auto weights = static_cast<double>(count_active_parameters(config, vocab_size)) - tables;
  // A token has (t + 1) / 2 scores on average, each of two products.
  const auto attention = static_cast<double>(config.n_layer) * 2 * (t + 1) * c;
  return 3 * static_cast<double>(sequences) * t * (2 * weights + attention);
}

at::Device choose_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  if (name == "auto") return at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (!is_device_name(name))
    throw ConfigError(
        cat("device: \"", printable(name), "\" is not a device; give auto, cpu, cuda or cuda:N"));
  const auto index = name == "cuda" ? 0 : std::stoi(name.substr(5));
  const auto devices =
      at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  if (index >= devices)
    throw ResourceError(cat("device: ", name, " is not there (", devices,
                            " CUDA devices seen); use --device cpu, or check the driver, "
                            "CUDA_VISIBLE_DEVICES and that libtorch is a CUDA build"));
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

}  // namespace moe
