// What follows the sums: bias, activation, and the result's type.
#pragma once

#include "problem.h"

// The order of ACTIVATIONS in library.py.
enum class Activation : int64_t { none, relu, gelu, silu };

using Vector = at::vec::Vectorized<float>;

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
  if constexpr (std::is_same_v<T, float>)
    std::memcpy(out, sums, width * sizeof(float));
  else
    for (int64_t c = 0; c < width; ++c) out[c] = static_cast<T>(sums[c]);
}
