#pragma once

#include "kernels/cpu/arguments.h"
#include "kernels/cpu/attention_arguments.h"
#include "kernels/cpu/update_arguments.h"

namespace moe::kernels::cpu {

/// The kernels that spend their time in matrix products, apart from the router's: those that may
/// take operands of another precision than T.
template <class T>
struct Products {
  const char* name;  // of the instruction set

  void (*attention_forward)(const Attention<T>&, std::int64_t window, T* scratch);
  void (*attention_backward)(const Attention<T>&, std::int64_t window, T* scratch);
  void (*attention_gradients)(const Attention<T>&, std::int64_t task);
  void (*experts_forward)(const Mixture<T>&, const ExpertTask&, T* scratch);
  void (*experts_backward)(const Mixture<T>&, const ExpertTask&, T* scratch);
  void (*expert_gradients)(const Mixture<T>&, std::int64_t task);
  void (*vocabulary_forward)(const Vocabulary<T>&, std::int64_t group, T* scratch);
  void (*vocabulary_backward)(const Vocabulary<T>&, std::int64_t group, T* scratch);
  void (*vocabulary_gradients)(const Vocabulary<T>&, std::int64_t task);
};

/// Every kernel of one instruction set in one precision. `*_scratch` is what a
/// task needs [values].
template <class T>
struct Table : Products<T> {
  std::int64_t (*attention_scratch)(const Attention<T>&);
  std::int64_t (*attention_gradient_tasks)(const Attention<T>&);

  std::int64_t (*step_scratch)(const AttentionStep<T>&);
  void (*step_normalise)(const AttentionStep<T>&);
  void (*step_project)(const AttentionStep<T>&, std::int64_t task, T* scratch);
  void (*step_attend)(const AttentionStep<T>&, std::int64_t sequence, T* scratch);
  void (*step_output)(const AttentionStep<T>&, std::int64_t task, T* scratch);
  std::int64_t (*head_step_scratch)(const Vocabulary<T>&);
  void (*head_step_normalise)(const Vocabulary<T>&);
  void (*head_step)(const Vocabulary<T>&, std::int64_t task, T* scratch);
  void (*expert_part)(const Mixture<T>&, std::int64_t task, T* parts);
  void (*combine_parts)(const Mixture<T>&, const T* parts);

  void (*skip_forward)(const Skip<T>&, std::int64_t token_panel);
  void (*skip_backward)(const Skip<T>&, std::int64_t token_panel);

  std::int64_t (*mixture_scratch)(const Mixture<T>&);
  void (*normalise_tokens)(const Mixture<T>&, std::int64_t token_panel);
  void (*route)(const Mixture<T>&, std::int64_t token_panel, T* scratch);
  void (*balance_sums)(const Mixture<T>&, std::int64_t window, T* scratch);
  void (*combine)(const Mixture<T>&, std::int64_t token_panel);
  void (*tokens_backward)(const Mixture<T>&, std::int64_t token_panel, T* scratch);
  void (*convolution_backward)(const Mixture<T>&, std::int64_t token_panel, T* scratch);
  void (*router_gradients)(const Mixture<T>&);
  std::int64_t (*expert_gradient_tasks)(const Mixture<T>&);

  std::int64_t (*vocabulary_scratch)(const Vocabulary<T>&);
  std::int64_t (*vocabulary_gradient_tasks)(const Vocabulary<T>&);

  void (*normal_rows)(const Normals&, const TokenKeys&, std::int64_t tokens, std::int64_t width,
                      T* rows);
  void (*drop_rows)(const Dropout&, const TokenKeys&, std::int64_t first, std::int64_t count,
                    std::int64_t width, T* rows, T* scratch);
  void (*adamw)(const AdamWUpdate<T>&, std::int64_t begin, std::int64_t end);
  void (*exponentials)(T* values, std::int64_t count);
  double (*sum_of_squares)(const T* values, std::int64_t count);
  std::int64_t (*orthogonalise_scratch)(std::int64_t rows, std::int64_t columns);
  void (*orthogonalise)(const NewtonSchulz&, std::int64_t rows, std::int64_t columns, T* matrix,
                        T* scratch);
  void (*muon)(const NewtonSchulz&, const MuonUpdate<T>&, T* scratch);
};

/// The kernels of the best instruction set that this processor has; MAKEMOE_CPU_LEVEL ("baseline",
/// "avx2", "avx512", "avx512_bf16", "amx_bf16") asks for another one, which must be among them:
/// tests run each.
template <class T>
const Table<T>& table();

/// Whether the processor has tile registers (AMX, amx_bf16) and the system lets this process use
/// them. Linux has to be asked (arch_prctl(2)): after a yes all threads of the process may.
bool may_use_tiles();

/// table<float>() with the products of operands rounded to bfloat16: by instructions of the
/// processor, or, where MAKEMOE_EMULATE_BF16 is set and it has none, by plain code, for tests.
/// Null: neither.
const Table<float>* bfloat16_table();

}  // namespace moe::kernels::cpu
