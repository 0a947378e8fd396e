// What follows the sums: bias, activation, and the result's type.
#pragma once

#include <ATen/cpu/vec/functional.h>

#include "problem.h"

// The order of ACTIVATIONS in brgemm.py.
enum class Activation : int64_t { none, relu, gelu, silu };

using Vector = at::vec::Vectorized<float>;
constexpr int64_t lanes = Vector::size();

inline Vector activate(Vector v, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return at::vec::maximum(v, Vector(0.0f));
    case Activation::gelu:
      return v * Vector(0.5f) * (Vector(1.0f) + (v * Vector(0.70710678118654752f)).erf());
    case Activation::silu:
      return v / (Vector(1.0f) + v.neg().exp());
    default:
      return v;
  }
}

inline void narrow(const float* from, int64_t count, float* to) { std::memcpy(to, from, count * sizeof(float)); }

inline void narrow(const float* from, int64_t count, at::BFloat16* to) {
  for (int64_t c = 0; c < count; c += 2 * lanes) {
    const int64_t low = std::min(lanes, count - c), high = std::clamp<int64_t>(count - c - lanes, 0, lanes);
    const Vector second = high ? Vector::loadu(from + c + lanes, high) : Vector(0.0f);
    at::vec::convert_from_float<at::BFloat16>(Vector::loadu(from + c, low), second)
        .store(to + c, static_cast<int>(low + high));
  }
}

// out [width] = activation(sums + bias); sums is overwritten.
template <class T>
void finish(float* sums, const T* bias, Activation activation, int64_t width, T* out) {
  if (bias)
    for (int64_t c = 0; c < width; ++c) sums[c] += static_cast<float>(bias[c]);
  if (activation != Activation::none)
    for (int64_t c = 0; c < width; c += Vector::size()) {
      const int count = static_cast<int>(std::min<int64_t>(Vector::size(), width - c));
      activate(Vector::loadu(sums + c, count), activation).store(sums + c, count);
    }
  narrow(sums, width, out);
}
