#include "moe/model/build.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <limits>
#include <string_view>

#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/model/flat.h"

namespace moe {

namespace {

constexpr std::int64_t kFillGrain = 4096;  // blocks of four draws a task at least

/// Standard normal draws of stream `key` into CPU memory, the same for any number of threads.
void fill_normal(at::Tensor out, std::uint64_t key, double std) {
  auto* data = out.mutable_data_ptr<float>();
  const auto n = out.numel();
  at::parallel_for(0, (n + 3) / 4, kFillGrain, [=](std::int64_t begin, std::int64_t end) {
    for (auto block = begin; block < end; ++block) {
      const auto drawn = philox4x32({static_cast<std::uint32_t>(block), 0, 0, 0}, key);
      const auto a = normal_pair(drawn[0], drawn[1]), b = normal_pair(drawn[2], drawn[3]);
      const std::array<double, 4> values{a[0], a[1], b[0], b[1]};
      for (std::int64_t i = 0; i < 4 && block * 4 + i < n; ++i)
        data[block * 4 + i] = static_cast<float>(std * values[static_cast<std::size_t>(i)]);
    }
  });
}

/// Uniform draws on [-bound, bound) into CPU memory.
void fill_uniform(at::Tensor out, std::uint64_t key, double bound) {
  auto* data = out.mutable_data_ptr<float>();
  const auto n = out.numel();
  at::parallel_for(0, (n + 3) / 4, kFillGrain, [=](std::int64_t begin, std::int64_t end) {
    for (auto block = begin; block < end; ++block) {
      const auto drawn = philox4x32({static_cast<std::uint32_t>(block), 0, 0, 0}, key);
      for (std::int64_t i = 0; i < 4 && block * 4 + i < n; ++i)
        data[block * 4 + i] =
            static_cast<float>(bound * (2 * open_uniform(drawn[static_cast<std::size_t>(i)]) - 1));
    }
  });
}

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> ends) {
  for (const auto end : ends)
    if (name.ends_with(end)) return true;
  return false;
}

bool is_norm(std::string_view name) { return name.find("ln") != std::string_view::npos; }
bool is_embedding(std::string_view name) {
  return name.find("_embedding_table") != std::string_view::npos;
}

/// Draws one published tensor by PyTorch's own default or the named alternative.
void draw(at::Tensor out, const std::string& name, std::int64_t fan_in, const ModelConfig& config,
          std::uint64_t key) {
  const bool is_weight = name.ends_with(".weight");
  if (is_norm(name)) {
    out.fill_(is_weight ? 1 : 0);
  } else if (is_embedding(name)) {
    fill_normal(out, key, config.init == Init::small_normal ? 0.02 : 1.0);
  } else if (!is_weight || config.init == Init::standard) {
    fill_uniform(out, key, 1 / std::sqrt(static_cast<double>(fan_in)));
  } else if (config.init == Init::kaiming_normal) {
    fill_normal(out, key, std::sqrt(2.0 / static_cast<double>(fan_in)));
  } else if (config.init == Init::xavier_normal) {
    fill_normal(out, key, std::sqrt(2.0 / static_cast<double>(out.size(0) + out.size(1))));
  } else {
    const bool residual = ends_with_any(name, {".sa.proj.weight", ".net.2.weight"});
    fill_normal(out, key,
                residual ? 0.02 / std::sqrt(2.0 * static_cast<double>(config.n_layer)) : 0.02);
  }
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
  std::uint64_t index = 0;
  std::int64_t fan_in = 1;
  // Through a copy of the flat layout, since the published tensors are pieces of stacked ones.
  FlatParameters flat(model);
  auto drawn = at::empty(flat.values().sizes(), at::kFloat);
  for (const auto& tensor : flat.layout()) {
    if (tensor.shape.size() == 2) fan_in = tensor.shape[1];  // a bias follows its weight
    draw(FlatParameters::view(drawn, tensor), tensor.name, fan_in, model->config(),
         stream_key(seed, "init", index++));
  }
  flat.values().copy_(drawn);
}

std::int64_t count_parameters(const ModelConfig& config, std::int64_t vocab_size) {
  return count_with(config, vocab_size, config.moe.num_experts);
}

std::int64_t count_active_parameters(const ModelConfig& config, std::int64_t vocab_size) {
  return count_with(config, vocab_size, config.moe.top_k);
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
