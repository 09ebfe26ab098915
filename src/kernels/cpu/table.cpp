#include "kernels/cpu/table.h"

#ifdef MOE_X86_LEVELS
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <optional>
#include <string_view>
#include <type_traits>

#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/kernels/precision.h"

namespace moe::kernels::cpu {

namespace baseline {
extern const Table<float> kFloats;
extern const Table<double> kDoubles;
}  // namespace baseline
namespace avx2 {
extern const Table<float> kFloats;
extern const Table<double> kDoubles;
}  // namespace avx2
namespace avx512 {
extern const Table<float> kFloats;
extern const Table<double> kDoubles;
}  // namespace avx512
namespace avx512_bf16 {
extern const Products<float> kProducts;
}  // namespace avx512_bf16
namespace amx_bf16 {
extern const Products<float> kProducts;
}  // namespace amx_bf16
namespace emulated_bf16 {
extern const Products<float> kProducts;
}  // namespace emulated_bf16

namespace {

/// Each has what those before it have; the last two differ in bfloat16 products alone.
enum class Level { baseline, avx2, avx512, avx512_bf16, amx_bf16 };

#ifdef MOE_X86_LEVELS
bool has_tiles() {
  constexpr unsigned kBfloat16 = 1U << 22,
                     kTiles = 1U << 24;  // cpuid 7: gcc and clang name them apart
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kBfloat16) != 0 && (d & kTiles) != 0;
}
#endif

Level best_level() {
#ifdef MOE_X86_LEVELS
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
    if (!__builtin_cpu_supports("avx512bf16")) return Level::avx512;
    return has_tiles() ? Level::amx_bf16 : Level::avx512_bf16;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::avx2;
#endif
  return Level::baseline;
}

Level asked_level() {
  const auto best = best_level();
  const auto* text = std::getenv("MAKEMOE_CPU_LEVEL");
  if (text == nullptr || *text == '\0') return best;
  const std::string_view name = text;
  for (const auto& [level, known] :
       {std::pair(Level::baseline, "baseline"), std::pair(Level::avx2, "avx2"),
        std::pair(Level::avx512, "avx512"), std::pair(Level::avx512_bf16, "avx512_bf16"),
        std::pair(Level::amx_bf16, "amx_bf16")})
    if (name == known && level <= best) return level;
  throw ConfigError(cat("MAKEMOE_CPU_LEVEL: \"", name,
                        "\" is no instruction set of this processor; unset it, or give baseline, "
                        "avx2, avx512, avx512_bf16 or amx_bf16"));
}

template <class T>
const Table<T>& pick(const Table<float>& floats, const Table<double>& doubles) {
  if constexpr (std::is_same_v<T, float>)
    return floats;
  else
    return doubles;
}

template <class T>
const Table<T>& choose() {
#ifdef MOE_X86_LEVELS
  if (asked_level() >= Level::avx512) return pick<T>(avx512::kFloats, avx512::kDoubles);
  if (asked_level() == Level::avx2) return pick<T>(avx2::kFloats, avx2::kDoubles);
#endif
  if (asked_level() != Level::baseline) throw std::logic_error("no such level");
  return pick<T>(baseline::kFloats, baseline::kDoubles);
}

/// Null: neither the processor nor a test's wish gives any.
const Products<float>* bfloat16_products() {
#ifdef MOE_X86_LEVELS
  const auto level = asked_level();
  if (level == Level::amx_bf16 && may_use_tiles()) return &amx_bf16::kProducts;
  if (level >= Level::avx512_bf16) return &avx512_bf16::kProducts;
#endif
  return std::getenv("MAKEMOE_EMULATE_BF16") != nullptr ? &emulated_bf16::kProducts : nullptr;
}

std::optional<Table<float>> make_bfloat16_table() {
  const auto* products = bfloat16_products();
  if (products == nullptr) return std::nullopt;
  Table<float> made = table<float>();
  static_cast<Products<float>&>(made) = *products;
  return made;
}

}  // namespace

template <class T>
const Table<T>& table() {
  static const Table<T>& chosen = choose<T>();
  return chosen;
}
template const Table<float>& table<float>();
template const Table<double>& table<double>();

bool may_use_tiles() {
#if defined(MOE_X86_LEVELS) && defined(__linux__)
  constexpr long kRequestState = 0x1023, kTileData = 18;
  return best_level() == Level::amx_bf16 && syscall(SYS_arch_prctl, kRequestState, kTileData) == 0;
#else
  return false;
#endif
}

const Table<float>* bfloat16_table() {
  static const auto made = make_bfloat16_table();
  return made ? &*made : nullptr;
}

}  // namespace moe::kernels::cpu

namespace moe::kernels {

std::string_view instruction_set() { return cpu::table<float>().name; }
std::string_view product_instructions(bool bfloat16) {
  return bfloat16 && has_bfloat16() ? cpu::bfloat16_table()->name : instruction_set();
}
bool has_bfloat16() { return cpu::bfloat16_table() != nullptr; }

}  // namespace moe::kernels
