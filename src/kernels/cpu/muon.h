#pragma once

#include "kernels/cpu/orthogonalise.h"

namespace moe::kernels::cpu::MOE_LEVEL {

template <class T>
void move_momentum(const MuonUpdate<T>& update) {
  const T* __restrict gradients = update.gradients;
  T* __restrict momentum = update.momentum;
  const T scale = static_cast<T>(update.gradient_scale);
  const T kept = static_cast<T>(update.momentum_decay);
  const T rest = static_cast<T>(1 - update.momentum_decay);
  for (Index i = 0; i < update.rows * update.columns; ++i)
    momentum[i] = momentum[i] * kept + gradients[i] * scale * rest;
}

/// What is orthogonalised: the momentum after one more step of the same gradient (Nesterov).
template <class T>
void look_ahead(const MuonUpdate<T>& update, T* __restrict to) {
  const T* __restrict gradients = update.gradients;
  const T* __restrict momentum = update.momentum;
  const T scale = static_cast<T>(update.gradient_scale);
  const T kept = static_cast<T>(update.momentum_decay);
  const T rest = static_cast<T>(1 - update.momentum_decay);
  for (Index i = 0; i < update.rows * update.columns; ++i)
    to[i] = momentum[i] * kept + gradients[i] * scale * rest;
}

template <class T>
void apply_direction(const MuonUpdate<T>& update, const T* __restrict direction) {
  T* __restrict parameters = update.parameters;
  const T decay = static_cast<T>(update.decay), step_size = static_cast<T>(update.step_size);
  const T otherwise = update.cautious ? T{1} : decay;  // where the update moves away from 0
  for (Index i = 0; i < update.rows * update.columns; ++i) {
    const T p = parameters[i], step = direction[i] * step_size;
    parameters[i] = p * (step * p >= 0 ? decay : otherwise) - step;
  }
}

/// One update of one matrix.
template <class T>
void muon_update(const NewtonSchulz& newton_schulz, const MuonUpdate<T>& update, T* scratch) {
  move_momentum(update);
  if (!update.applies) return;
  const OrthogonalRoom<T> room(update.rows, update.columns, scratch);
  look_ahead(update, room.y);
  apply_direction(update,
                  orthogonal_factor<T>(newton_schulz, update.rows, update.columns, room.y, room));
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
