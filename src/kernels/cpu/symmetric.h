#pragma once

#include "kernels/cpu/linear.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// Products of symmetric matrices, for Newton-Schulz. Sides and widths are multiples of kPanel.
// - a symmetric matrix (side, side) lies in panels of kPanel columns: (panels, side, kPanel);
// - a wide one (side, width) in panels of kPanel rows, turned: (panels, width, kPanel).
// Polynomials of one symmetric matrix are symmetric and so are their products: the blocks above the
// diagonal are computed, those below it are their mirror.

/// The blocks below the diagonal become those above it, turned.
template <class T>
void mirror(T* s, Index side) {
  for (Index p = 0; p < side; p += kPanel)
    for (Index q = 0; q < p; q += kPanel) {
      const T* from = s + p * side + q * kPanel;
      rows_to_panel<T>(
          kPanel, kPanel, [&](Index i) { return from + i * kPanel; }, s + q * side + p * kPanel);
    }
}

/// product * (left right) + other * base + identity * I.
template <class T>
struct Combination {
  T product = 1;
  const T* base = nullptr;
  T other = 0, identity = 0;
};

/// Rows [row, row + rows) of a product's panels [panel, panel + panels).
template <class T>
void multiply_blocks(const T* left, const T* right, Index side, const Combination<T>& terms,
                     Index row, Index rows, Index panel, Index panels, T* to) {
  const Factor<T> a{left + row * kPanel, kPanel, side * kPanel};
  const Factor<T> b{right + panel * side * kPanel, kPanel, kPanel * kPanel};
  multiply<Left::row_major>(rows, a, b, PanelSegments{side / kPanel}, {panels, side * kPanel},
                            [&](Index i, Index p, Row<T> sum) {
                              const Index m = row + i, at = ((panel + p) * side + m) * kPanel;
                              if (terms.base != nullptr)
                                sum = map(sum, load_row(terms.base + at), [&](Vec<T> x, Vec<T> y) {
                                  return x * terms.product + y * terms.other;
                                });
                              store_row(to + at, sum);
                              if (terms.identity != 0 && m / kPanel == panel + p)
                                to[at + m % kPanel] += terms.identity;
                            });
}

/// `to` = a combination with the product of two matrices that commute, all of them (side, side).
template <class T>
void multiply_symmetric(const T* left, const T* right, Index side, const Combination<T>& terms,
                        T* to) {
  const Index panels = side / kPanel;
  Index together = 0;
  for (Index first = 0; first < panels; first += together) {
    together = tile_panels<T>(panels - first);
    if (first > 0)
      multiply_blocks(left, right, side, terms, 0, first * kPanel, first, together, to);
    for (Index j = 0; j < together; ++j)  // the diagonal, and what is beside it
      multiply_blocks(left, right, side, terms, (first + j) * kPanel, kPanel, first + j,
                      together - j, to);
  }
  mirror(to, side);
}

/// `to` (side, side) = x x^T of a wide x (side, width). A wide right factor is taken in parts that
/// stay in the first cache (gradient_panels).
template <class T>
void multiply_gram(const T* x, Index side, Index width, T* to) {
  const Index panels = side / kPanel, depth = width / kPanel, most = gradient_panels<T>(depth);
  const auto at = [&](Index p, Index part) { return x + (p * width + part * kPanel) * kPanel; };
  Index together = 0;
  for (Index first = 0; first < panels; first += together) {
    together = tile_panels<T>(panels - first);
    for (Index part = 0; part < depth; part += most)
      for (Index q = 0; q < first + together; ++q) {
        const Index begin = q > first ? q : first;
        const PanelSegments segments{depth - part < most ? depth - part : most};
        multiply<Left::column_major>(
            kPanel, Factor<T>{at(q, part), kPanel, kPanel * kPanel},
            Factor<T>{at(begin, part), kPanel, kPanel * kPanel}, segments,
            {first + together - begin, width * kPanel}, [&](Index m, Index p, Row<T> sum) {
              T* row = to + ((begin + p) * side + q * kPanel + m) * kPanel;
              if (part > 0) sum = map(sum, load_row(row), [](Vec<T> a, Vec<T> b) { return a + b; });
              store_row(row, sum);
            });
      }
  }
  mirror(to, side);
}

/// `to` = s x of a symmetric s (side, side) and a wide x (side, width).
template <class T>
void multiply_wide(const T* s, const T* x, Index side, Index width, T* to) {
  const Index panels = side / kPanel;
  Index together = 0;
  for (Index first = 0; first < panels; first += together) {
    together = tile_panels<T>(panels - first);
    multiply<Left::row_major>(width, Factor<T>{x, kPanel, width * kPanel},
                              Factor<T>{s + first * side * kPanel, kPanel, kPanel * kPanel},
                              PanelSegments{side / kPanel}, {together, side * kPanel},
                              [&](Index n, Index p, const Row<T>& row) {
                                store_row(to + ((first + p) * width + n) * kPanel, row);
                              });
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
