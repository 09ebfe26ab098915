#pragma once

#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// Elementary functions of whole vectors. In float by polynomials; in double, where only tests
// compute, by the C library, lane by lane, except for what normal draws are made of: a draw
// deviates by at most 1.9e-15 of itself, or of 1, from the C library's (measured over 16,000, all
// levels).

/// e^x. In float by Cephes' reduction and polynomial (within 2 ulp on the range where the result is
/// normal; below it is 0); in double by the C library, lane by lane: only tests compute in double.
[[gnu::always_inline]] inline Vec<float> exponential(Vec<float> x) {
  using Int = VectorOf<std::int32_t>::Type;
  const Vec<float> lowest = Vec<float>{} - 87.3F, highest = Vec<float>{} + 88.0F;
  const Int underflow = x < lowest;
  x = x < lowest ? lowest : x;
  x = x > highest ? highest : x;
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vec<float> shifted = x * 1.44269504088896341F + kMagic;
  const Vec<float> n = shifted - kMagic;
  Vec<float> r = x - n * 0.693359375F;
  r = r + n * 2.12194440e-4F;
  Vec<float> p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  Int bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits = ((bits - 0x4B400000) + 127) << 23;
  Vec<float> scale;
  __builtin_memcpy(&scale, &bits, sizeof scale);
  const Vec<float> result = p * scale;
  return underflow ? Vec<float>{} : result;
}
[[gnu::always_inline]] inline Vec<double> exponential(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

/// (atanh(s) / s - 1) / s^2 for z = s^2: its series up to the term with 1 / kLast.
template <int kLast, class T>
[[gnu::always_inline]] inline Vec<T> atanh_rest(Vec<T> z) {
  Vec<T> sum = Vec<T>{} + T{1} / kLast;
#pragma GCC unroll 16
  for (int n = kLast - 2; n >= 3; n -= 2) sum = sum * z + T{1} / static_cast<T>(n);
  return sum;
}

/// log(1 + y) for y in [0, 1], as 2 atanh(y / (2 + y)): eight terms of its series leave 2e-9 of it.
[[gnu::always_inline]] inline Vec<float> log_one_plus(Vec<float> y) {
  const Vec<float> s = y / (y + 2.0F), z = s * s;
  return 2.0F * s * (atanh_rest<15, float>(z) * z + 1.0F);
}
[[gnu::always_inline]] inline Vec<double> log_one_plus(Vec<double> y) {
  for (int i = 0; i < kLanes<double>; ++i) y[i] = __builtin_log1p(y[i]);
  return y;
}

/// log(1 + e^x), as PyTorch's softplus: the identity beyond 20.
template <class T>
[[gnu::always_inline]] inline Vec<T> softplus(Vec<T> x) {
  const Vec<T> positive = x > Vec<T>{} ? x : Vec<T>{};
  const Vec<T> size = x > Vec<T>{} ? -x : x;  // -|x|; NaN stays
  const Vec<T> value = positive + log_one_plus(exponential(size));
  return x > Vec<T>{} + T{20} ? x : value;
}
/// The slope of softplus.
template <class T>
[[gnu::always_inline]] inline Vec<T> softplus_slope(Vec<T> x) {
  const Vec<T> slope = T{1} / (exponential(-x) + T{1});
  return x > Vec<T>{} + T{20} ? Vec<T>{} + T{1} : slope;
}

/// erf(x), within 1.8e-7 of itself in float: below 1 as x times a polynomial of x^2, above as
/// 1 - e^-p(|x|); both polynomials were fitted to the least largest error.
[[gnu::always_inline]] inline Vec<float> error_function(Vec<float> x) {
  const Vec<float> z = x * x;
  Vec<float> near = z * 7.85390418e-5F - 8.01020784e-4F;
  near = near * z + 5.1883295e-3F;
  near = near * z - 2.68538131e-2F;
  near = near * z + 1.12835852e-1F;
  near = near * z - 3.76126258e-1F;
  near = (near * z + 1.12837917F) * x;
  Vec<float> size = x < Vec<float>{} ? -x : x;
  const auto is_near = size < Vec<float>{} + 1.0F;
  size = size > Vec<float>{} + 4.0F ? Vec<float>{} + 4.0F : size;  // NaN stays
  Vec<float> p = size * -1.8557418e-4F + 2.93960941e-3F;
  p = p * size - 2.18053269e-2F;
  p = p * size + 1.03037387e-1F;
  p = p * size + 6.38225656e-1F;
  p = p * size + 1.12704005F;
  p = p * size + 3.53716121e-4F;
  const Vec<float> far = 1.0F - exponential(-p);
  return is_near ? near : (x < Vec<float>{} ? -far : far);
}
[[gnu::always_inline]] inline Vec<double> error_function(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_erf(x[i]);
  return x;
}

using I64 = VectorOf<std::int64_t>::Type;

/// log(x) for normal x > 0: x = 2^e m with m in [sqrt(1/2), sqrt(2)), then the series
/// of 2 atanh((m - 1) / (m + 1)).
[[gnu::always_inline]] inline Vec<double> logarithm(Vec<double> x) {
  I64 bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  constexpr std::int64_t kRootHalf = 0x3FE6A09E667F3BCD;  // the bits of sqrt(1/2)
  const I64 exponent = (bits - kRootHalf) >> 52;
  const I64 scaled = bits - (exponent << 52);
  Vec<double> m;
  __builtin_memcpy(&m, &scaled, sizeof m);
  const Vec<double> s = (m - 1.0) / (m + 1.0), z = s * s;
  const Vec<double> rest = 2.0 * s * z * atanh_rest<21, double>(z);
  return __builtin_convertvector(exponent, Vec<double>) * 0.69314718055994530942 + (2.0 * s + rest);
}

struct SineCosine {
  Vec<double> sine, cosine;
};
/// Of 2 pi t, t in [0, 1]: the nearest quarter turn is taken off, Taylor's series does the rest,
/// at most pi/4.
[[gnu::always_inline]] inline SineCosine turn_sine_cosine(Vec<double> t) {
  constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
  const Vec<double> shifted = t * 4.0 + kMagic, quarters = shifted - kMagic;
  const Vec<double> r = (t - quarters * 0.25) * 6.28318530717958647693, z = r * r;
  Vec<double> s = z * (-1.0 / 1307674368000.0) + 1.0 / 6227020800.0;
  s = s * z - 1.0 / 39916800.0;
  s = s * z + 1.0 / 362880.0;
  s = s * z - 1.0 / 5040.0;
  s = s * z + 1.0 / 120.0;
  s = s * z - 1.0 / 6.0;
  s = r + r * z * s;
  Vec<double> c = z * (1.0 / 20922789888000.0) - 1.0 / 87178291200.0;
  c = c * z + 1.0 / 479001600.0;
  c = c * z - 1.0 / 3628800.0;
  c = c * z + 1.0 / 40320.0;
  c = c * z - 1.0 / 720.0;
  c = c * z + 1.0 / 24.0;
  c = 1.0 - 0.5 * z + z * z * c;
  I64 bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  const I64 odd = (bits & 1) != 0;
  const Vec<double> sine = odd ? c : s, cosine = odd ? s : c;
  const I64 sine_flips = (bits & 2) != 0, cosine_flips = ((bits + 1) & 2) != 0;
  return {sine_flips ? -sine : sine, cosine_flips ? -cosine : cosine};
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
