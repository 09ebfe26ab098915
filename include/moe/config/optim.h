#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "moe/config/field.h"

namespace moe {

// The keys under "optim".

enum class OptimizerKind { adamw, muon };
/// Of Newton-Schulz (moe/kernels/muon.h).
enum class MuonCoefficients { polar_express, quintic };
/// wsd: warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395), here along a line.
enum class ScheduleKind { constant, cosine, linear, wsd };
enum class DecaySchedule { constant, linear };

template <>
struct EnumNames<OptimizerKind> {
  static constexpr std::array<std::string_view, 2> names{"adamw", "muon"};
};
template <>
struct EnumNames<MuonCoefficients> {
  static constexpr std::array<std::string_view, 2> names{"polar_express", "quintic"};
};
template <>
struct EnumNames<ScheduleKind> {
  static constexpr std::array<std::string_view, 4> names{"constant", "cosine", "linear", "wsd"};
};
template <>
struct EnumNames<DecaySchedule> {
  static constexpr std::array<std::string_view, 2> names{"constant", "linear"};
};

/// A learning rate: divided by the least 1 - beta1 that betas allow, it is still a float.
inline constexpr double kLargestRate = 1e30;

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::constant;
  std::int64_t warmup_iters = 0;
  double final_learning_rate = 0, decay_fraction = 0.2;

  static constexpr auto fields() {
    using C = ScheduleConfig;
    return std::tuple{
        Field{"kind", &C::kind,
              "course of the learning rate after the warm-up; wsd: stable, then a linear decay"},
        Field{"warmup_iters", &C::warmup_iters, "linear rise of the learning rate from 0 [steps]",
              steps_from(0)},
        Field{"final_learning_rate", &C::final_learning_rate,
              "learning rate at train.max_iters; cosine, linear and wsd end there",
              between(0, kLargestRate)},
        Field{"decay_fraction", &C::decay_fraction,
              "wsd: share of train.max_iters, at its end, in which the rate decays",
              between(0, 1)}};
  }
};
static_assert(table_is_complete<ScheduleConfig>);

/// Decay of AdamW's two moments. Not an aggregate, so that it counts as one member of its struct.
struct Betas : std::array<double, 2> {
  constexpr Betas(double first = 0.9, double second = 0.999) : array{first, second} {}
};

/// The largest decay of a mean: 1 - decay is still 16 times what a float tells from 1.
inline constexpr double kSlowestDecay = 1 - 1e-6;

/// Muon, for the matrices of the groups "matrix" and "expert".
struct MuonConfig {
  double learning_rate = 2e-3, weight_decay = 0.1, momentum = 0.95;
  MuonCoefficients coefficients = MuonCoefficients::polar_express;
  std::int64_t every = 1;

  static constexpr auto fields() {
    using C = MuonConfig;
    return std::tuple{
        Field{"learning_rate", &C::learning_rate,
              "Muon: learning rate at its peak; its course is that of optim.learning_rate, in "
              "proportion",
              between(1e-12, kLargestRate)},
        Field{"weight_decay", &C::weight_decay, "Muon: decoupled weight decay", between(0, 1000)},
        Field{"momentum", &C::momentum, "Muon: decay of the momentum", between(0, kSlowestDecay)},
        Field{"coefficients", &C::coefficients,
              "Muon: five safe steps of Polar Express, or four of one quintic polynomial"},
        Field{"every", &C::every,
              "Muon: experts' matrices move in turn, each every so many updates, so many times as "
              "far [steps]",
              between(1, 64)}};
  }
};
static_assert(table_is_complete<MuonConfig>);

/// Course of Muon's momentum.
struct MomentumScheduleConfig {
  double start = 0.85;
  std::int64_t warmup_iters = 0;

  static constexpr auto fields() {
    using C = MomentumScheduleConfig;
    return std::tuple{
        Field{"start", &C::start, "Muon: momentum of the first update of a warm-up",
              between(0, kSlowestDecay)},
        Field{"warmup_iters", &C::warmup_iters,
              "Muon: linear way from there to optim.muon.momentum [steps]", steps_from(0)}};
  }
};
static_assert(table_is_complete<MomentumScheduleConfig>);

/// Mean of the weights over the tail of a run.
struct AverageConfig {
  std::optional<double> start;
  double tau = 200, blend = 0.6;

  static constexpr auto fields() {
    using C = AverageConfig;
    return std::tuple{
        Field{"start", &C::start,
              "share of train.max_iters after which weights are averaged; null: never",
              between(0, 1)},
        Field{"tau", &C::tau, "the average moves by 1/tau of its distance in an update [steps]",
              between(1, 1e9)},
        Field{"blend", &C::blend,
              "share of the average in the weights that are evaluated, exported and generate",
              between(0, 1)}};
  }
};
static_assert(table_is_complete<AverageConfig>);

/// What a group of parameters has of its own.
struct GroupConfig {
  double learning_rate_scale = 1;
  std::optional<double> weight_decay;

  static constexpr auto fields() {
    using C = GroupConfig;
    return std::tuple{
        Field{"learning_rate_scale", &C::learning_rate_scale,
              "its learning rate, as a multiple of the optimizer's", between(0, 1000)},
        Field{"weight_decay", &C::weight_decay, "its weight decay; null: the optimizer's",
              between(0, 1000)}};
  }
};
static_assert(table_is_complete<GroupConfig>);

/// One for each ParameterGroup (moe/spec/parameter_table.h).
struct GroupsConfig {
  GroupConfig embedding, head, router, norm, matrix, expert, table;

  static constexpr auto fields() {
    using C = GroupsConfig;
    return std::tuple{Field{"embedding", &C::embedding, "token and position table, tied or not"},
                      Field{"head", &C::head, "the last Linear"},
                      Field{"router", &C::router, "the routers' Linears"},
                      Field{"norm", &C::norm, "norms and other vectors"},
                      Field{"matrix", &C::matrix, "attention's Linears, and short convolutions"},
                      Field{"expert", &C::expert, "the experts' Linears"},
                      Field{"table", &C::table, "tables of n-grams"}};
  }
};
static_assert(table_is_complete<GroupsConfig>);

/// The optimizer: AdamW, or Muon beside it for matrices, and its learning rate. The update is
/// computed in float: what these bounds let in is neither 0 nor infinite there, nor is what AdamW
/// makes of it, e.g. rate / (1 - beta1) in the first step (docs/adr/0038).
struct OptimConfig {
  OptimizerKind kind = OptimizerKind::adamw;
  double learning_rate = 1e-3;
  Betas betas;
  double eps = 1e-8, weight_decay = 0.01;
  bool cautious_decay = false;
  DecaySchedule decay_schedule = DecaySchedule::constant;
  std::optional<double> grad_clip;
  ScheduleConfig schedule;
  GroupsConfig groups;
  MuonConfig muon;
  MomentumScheduleConfig momentum_schedule;
  AverageConfig average;

  static constexpr auto fields() {
    using C = OptimConfig;
    return std::tuple{
        Field{"kind", &C::kind,
              "what moves the weights; muon: matrices of attention and experts by Muon, the rest "
              "by AdamW"},
        Field{"learning_rate", &C::learning_rate, "learning rate of AdamW, at its peak",
              between(1e-12, kLargestRate)},
        Field{"betas", &C::betas, "AdamW: decay of the two moments", between(0, kSlowestDecay)},
        Field{"eps", &C::eps, "AdamW: added to the root of the second moment", between(1e-18, 1)},
        Field{"weight_decay", &C::weight_decay, "AdamW: decoupled weight decay", between(0, 1000)},
        Field{"cautious_decay", &C::cautious_decay,
              "weights decay only where the update moves them towards 0 too"},
        Field{"decay_schedule", &C::decay_schedule,
              "course of all weight decays; linear: down to 0 at train.max_iters"},
        Field{"grad_clip", &C::grad_clip,
              "gradients with a larger norm are scaled down to it; null: no clipping",
              between(1e-9, 1e9)},
        Field{"schedule", &C::schedule, "learning rate over time"},
        Field{"groups", &C::groups, "what some parameters have of their own"},
        Field{"muon", &C::muon, "Muon, if optim.kind is muon"},
        Field{"momentum_schedule", &C::momentum_schedule, "momentum of Muon over time"},
        Field{"average", &C::average,
              "a mean of the weights, for evaluation; training goes on with the weights"}};
  }
};
static_assert(table_is_complete<OptimConfig>);

}  // namespace moe
