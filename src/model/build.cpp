#include "moe/model/build.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <cmath>

#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/model/flat.h"

namespace moe {

namespace {

constexpr double kSmallStd = 0.02;  // of small_normal, as GPT-2 has it

/// As the constructor of PyTorch's module draws it: nn.Linear (kaiming_uniform_ with a = sqrt(5)),
/// nn.Embedding, nn.LayerNorm.
void draw_default(at::Tensor out, const ParameterRow& row, Init init, at::Generator& generator) {
  const double root = std::sqrt(static_cast<double>(row.fan_in));
  const auto uniform = [&](double bound) { out.uniform_(-bound, bound, generator); };
  switch (row.role) {
    case Role::norm_weight:
      out.fill_(row.start);
      return;
    case Role::norm_bias:
    case Role::balance_bias:
    case Role::short_conv:
    case Role::ngram_table:
      out.fill_(0);
      return;
    case Role::token_table:
    case Role::position_table:
      if (row.fan_in > 0 && init != Init::small_normal) return uniform(1 / root);
      out.normal_(0, init == Init::small_normal ? kSmallStd : 1.0, generator);
      return;
    case Role::linear_weight: {
      // The bound of a bias but for the last bit, which PyTorch's way of computing it decides.
      const double slope = std::sqrt(5.0), gain = std::sqrt(2.0 / (1 + slope * slope));
      return uniform(std::sqrt(3.0) * (gain / root));
    }
    case Role::linear_bias:
      return uniform(1 / root);
  }
}

/// Whether a Linear weight is drawn from a normal distribution after all modules were made.
bool is_drawn_again(const ParameterRow& row, const ModelSpec& spec) {
  if (row.role != Role::linear_weight) return false;
  return spec.init != Init::standard ||
         (row.group == ParameterGroup::router && spec.router_init_std);
}

/// Standard deviation of these draws; the weight's pieces are (out, in).
double normal_std(const ParameterRow& row, const ModelSpec& spec) {
  if (row.group == ParameterGroup::router && spec.router_init_std) return *spec.router_init_std;
  const auto fan_in = static_cast<double>(row.fan_in);
  if (spec.init == Init::kaiming_normal) return std::sqrt(2.0) / std::sqrt(fan_in);
  if (spec.init == Init::xavier_normal)
    return std::sqrt(2.0 / (fan_in + static_cast<double>(row.piece_shape[0])));
  const auto layers = static_cast<double>(spec.layers.size());
  return row.is_residual ? kSmallStd / std::sqrt(2.0 * layers) : kSmallStd;
}

bool is_table(const ParameterRow& row) {
  return row.role == Role::token_table || row.role == Role::position_table ||
         !row.second_name.empty();
}

/// What keys besides model.init say, drawn last: all else is as it would be without them.
void draw_exceptions(const FlatParameters& flat, const at::Tensor& drawn, const ModelSpec& spec,
                     at::Generator& generator) {
  for (const auto& tensor : flat.layout()) {
    const auto& row = flat.table().rows()[tensor.row];
    auto values = FlatParameters::view(drawn, tensor);
    if (is_table(row) && spec.embedding_std) values.normal_(0, *spec.embedding_std, generator);
    if (row.is_residual && spec.zero_outputs) values.zero_();
  }
}

}  // namespace

void initialise(SparseMoELanguageModel& model, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  const auto& spec = model->spec();
  auto generator = at::detail::createCPUGenerator(seed);
  // Through a copy of the flat layout, since the published tensors are pieces of stacked ones.
  FlatParameters flat(model);
  auto drawn = at::empty(flat.values().sizes(), at::kFloat);
  const auto& rows = flat.table().rows();
  for (const auto& tensor : flat.layout())
    draw_default(FlatParameters::view(drawn, tensor), rows[tensor.row], spec.init, generator);
  for (const auto& tensor : flat.layout()) {
    const auto& row = rows[tensor.row];
    if (!is_drawn_again(row, spec)) continue;
    FlatParameters::view(drawn, tensor).normal_(0, normal_std(row, spec), generator);
  }
  draw_exceptions(flat, drawn, spec, generator);
  flat.values().copy_(drawn);
}

std::int64_t count_parameters(const ModelConfig& config, const Vocabulary& vocabulary) {
  return ParameterTable(spec_of(config, vocabulary)).count();
}

std::int64_t count_active_parameters(const ModelConfig& config, const Vocabulary& vocabulary) {
  return ParameterTable(spec_of(config, vocabulary)).count_active();
}

double count_step_flops(const ModelConfig& config, const Vocabulary& vocabulary,
                        std::int64_t sequences) {
  const auto c = static_cast<double>(config.n_embed), t = static_cast<double>(config.block_size);
  const ParameterTable table(spec_of(config, vocabulary));
  const auto weights = static_cast<double>(table.count_multiplied());
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
