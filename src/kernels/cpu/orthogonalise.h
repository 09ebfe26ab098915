#pragma once

#include "kernels/cpu/adamw.h"
#include "kernels/cpu/symmetric.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// Newton-Schulz of one matrix (rows, columns), in its smaller Gram matrix. The matrix is worked on
// as a wide one, (side, width) with side <= width: turned if it is tall, and padded with zeros,
// which stay zeros.

/// What a matrix (rows, columns) is worked on as.
struct WideShape {
  WideShape(Index rows, Index columns)
      : is_tall(rows > columns),
        side(padded(is_tall ? columns : rows)),
        width(padded(is_tall ? rows : columns)) {}

  bool is_tall;
  Index side, width;
};
template <class T>
Index orthogonalise_scratch(Index rows, Index columns) {
  const WideShape shape(rows, columns);
  return 2 * shape.side * shape.width + 4 * shape.side * shape.side;
}

/// Where it is worked on.
template <class T>
struct OrthogonalRoom : WideShape {
  OrthogonalRoom(Index rows, Index columns, T* scratch)
      : WideShape(rows, columns),
        x(scratch),
        y(x + side * width),
        gram(y + side * width),
        total(gram + side * side),
        step(total + side * side),
        spare(step + side * side) {}

  T *x, *y;         // wide
  T *gram, *total;  // symmetric: x x^T, and the product of the steps so far
  T *step, *spare;
};

template <class T>
void swap_buffers(T*& a, T*& b) {
  T* c = a;
  a = b;
  b = c;
}

/// Rows of a matrix into the panels of a wide one, and back.
template <class T>
void matrix_to_panels(const T* matrix, Index rows, Index columns, const OrthogonalRoom<T>& room) {
  T* to = room.x;
  if (!room.is_tall) {
    for (Index first = 0; first < rows; first += kPanel, to += room.width * kPanel) {
      rows_to_panel<T>(
          rows - first, columns, [&](Index i) { return matrix + (first + i) * columns; }, to);
      for (Index i = columns * kPanel; i < room.width * kPanel; ++i) to[i] = 0;
    }
    return;
  }
  for (Index first = 0; first < columns; first += kPanel)
    for (Index m = 0; m < room.width; ++m, to += kPanel)
      for (int v = 0; v < kVecs<T>; ++v) {
        const Index c = first + v * kLanes<T>;
        store(to + v * kLanes<T>,
              m < rows ? load_part(matrix + m * columns + c, columns - c) : Vec<T>{});
      }
}
template <class T>
void panels_to_matrix(const OrthogonalRoom<T>& room, Index rows, Index columns, T* matrix) {
  const T* from = room.x;
  if (!room.is_tall) {
    for (Index first = 0; first < rows; first += kPanel, from += room.width * kPanel)
      panel_to_rows<T>(from, rows - first < kPanel ? rows - first : kPanel, columns,
                       [&](Index i) { return matrix + (first + i) * columns; });
    return;
  }
  for (Index first = 0; first < columns; first += kPanel, from += room.width * kPanel)
    for (Index m = 0; m < rows; ++m)
      for (int v = 0; v < kVecs<T>; ++v) {
        const Index c = first + v * kLanes<T>;
        if (c < columns)
          store_part(matrix + m * columns + c, load(from + m * kPanel + v * kLanes<T>),
                     columns - c);
      }
}

/// Steps [first, last) on x: all of them in its Gram matrix, then x takes their product.
template <class T>
void take_steps(const NewtonSchulz& newton_schulz, Index first, Index last,
                OrthogonalRoom<T>& room) {
  const Index side = room.side;
  multiply_gram(room.x, side, room.width, room.gram);
  for (Index k = first; k < last; ++k) {
    const OddPolynomial& p = newton_schulz.steps[k];
    T* step = k == first ? room.total : room.step;
    multiply_symmetric<T>(
        room.gram, room.gram, side,
        {static_cast<T>(p.c), room.gram, static_cast<T>(p.b), static_cast<T>(p.a)}, step);
    if (k > first) {
      multiply_symmetric<T>(step, room.total, side, {}, room.spare);
      swap_buffers(room.total, room.spare);
    }
    if (k + 1 == last) break;
    multiply_symmetric<T>(step, room.gram, side, {}, room.spare);
    multiply_symmetric<T>(room.spare, step, side, {}, room.gram);
  }
  multiply_wide(room.total, room.x, side, room.width, room.y);
  swap_buffers(room.x, room.y);
}

/// The orthogonal factor of a matrix, as nearly as Newton-Schulz comes to it: (rows, columns) in
/// the room, where the matrix may be `room.y`.
template <class T>
T* orthogonal_factor(const NewtonSchulz& newton_schulz, Index rows, Index columns, const T* matrix,
                     OrthogonalRoom<T> room) {
  const double size = __builtin_sqrt(sum_of_squares(matrix, rows * columns));
  const T scale = static_cast<T>(1 / (newton_schulz.margin * size + kSmallestNorm));
  matrix_to_panels(matrix, rows, columns, room);
  for (Index i = 0; i < room.side * room.width; ++i) room.x[i] *= scale;
  for (Index first = 0; first < newton_schulz.count; first += kGramSteps) {
    const Index left = newton_schulz.count - first;
    take_steps(newton_schulz, first, first + (left < kGramSteps ? left : kGramSteps), room);
  }
  panels_to_matrix(room, rows, columns, room.y);
  return room.y;
}

/// It takes the place of the matrix.
template <class T>
void orthogonalise(const NewtonSchulz& newton_schulz, Index rows, Index columns, T* matrix,
                   T* scratch) {
  const OrthogonalRoom<T> room(rows, columns, scratch);
  const T* factor = orthogonal_factor(newton_schulz, rows, columns, matrix, room);
  for (Index i = 0; i < rows * columns; ++i) matrix[i] = factor[i];
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
