#pragma once

#include <array>
#include <string_view>
#include <tuple>

#include "moe/config/field.h"

namespace moe {

/// Ways to keep the load of experts even (docs/routing.md).
enum class BalanceKind { none, switch_loss, importance_load, loss_free };
/// Over which tokens the Switch loss takes its means.
enum class BalanceScope { batch, sequence };

template <>
struct EnumNames<BalanceKind> {
  static constexpr std::array<std::string_view, 4> names{"none", "switch", "importance_load",
                                                         "loss_free"};
};
template <>
struct EnumNames<BalanceScope> {
  static constexpr std::array<std::string_view, 2> names{"batch", "sequence"};
};

/// An element of model.moe.balance.
struct BalanceConfig {
  BalanceKind kind = BalanceKind::none;
  double weight = 0.01, rate = 0.001;
  BalanceScope scope = BalanceScope::batch;

  bool operator==(const BalanceConfig&) const = default;
  /// Such an element says nothing, and is not kept.
  constexpr bool is_none() const { return kind == BalanceKind::none; }

  static constexpr auto fields() {
    using C = BalanceConfig;
    return std::tuple{
        Field{"kind", &C::kind, "which loss, or the bias of loss-free balancing"},
        Field{"weight", &C::weight, "of the loss", between(0, 1e6)},
        Field{"rate", &C::rate, "loss_free: how far an update moves a bias", between(1e-9, 1)},
        Field{"scope", &C::scope, "switch: over the whole update, or window by window"}};
  }
};
static_assert(table_is_complete<BalanceConfig>);

}  // namespace moe
