// Forward of a linear layer for one to four rows of x: dot products, since there is nothing to reuse a weight for.
//
// Each weight is read once, where it lies. The lanes of a dot product are added up only after the last block of a line.
#pragma once

#include "finish.h"
#include "pack.h"

#include <numeric>

constexpr int64_t dot_rows = 4;

inline Vector load(const float* from, int64_t count) { return Vector::loadu(from, count); }

inline Vector load(const at::BFloat16* from, int64_t count) {
  Vector vector;
  if (count == Vector::size()) {
    at::vec::load_fp32_from_bf16(from, vector);
    return vector;
  }
  float part[Vector::size()] = {};
  for (int64_t c = 0; c < count; ++c) part[c] = static_cast<float>(from[c]);
  return Vector::loadu(part);
}

inline void store(Vector values, float* to, int64_t count) { values.store(to, static_cast<int>(count)); }

inline void store(Vector values, at::BFloat16* to, int64_t count) {
  at::vec::convert_from_float<at::BFloat16>(values, values).store(to, static_cast<int>(count));
}

template <class T>
void forward_dots(const Problem& p, const T* x, const T* weight, const T* bias, Lines lines, Activation activation,
                  T* result) {
  const int64_t rows = p.out_width;
  parallel(p.column_blocks, [&](const auto& next) {
    const Buffer<float> partial(p.out_block * rows * lanes), sums(p.out_block);
    for (int64_t j; (j = next()) >= 0;) {
      const Range outputs = outputs_of(p, j, 0);
      const int64_t width = outputs.size(), end = lines.start[j + 1];
      std::fill_n(partial.data(), width * rows * lanes, 0.0f);
      for (int64_t slot = lines.start[j]; slot < end; ++slot) {
        const Range inputs = inputs_of(p, lines.other[slot]);
        const T* const block = weight + p.block_offset(j, lines.other[slot], slot);
        const T* const coming = slot + 1 < end ? weight + p.block_offset(j, lines.other[slot + 1], slot + 1) : block;
        for (int64_t n = 0; n < width; ++n) {
          const T* const row = block + n * p.row_stride;
          prefetch(coming + n * p.row_stride, 1, inputs.size(), p.row_stride);
          for (int64_t m = 0; m < rows; ++m) {
            float* const to = partial.data() + (m * width + n) * lanes;
            Vector sum = Vector::loadu(to);
            for (int64_t c = 0; c < inputs.size(); c += lanes) {
              const int64_t count = std::min(lanes, inputs.size() - c);
              sum = at::vec::fmadd(load(row + c, count), load(x + m * p.in_channels + inputs.begin + c, count), sum);
            }
            sum.store(to);
          }
        }
      }
      for (int64_t m = 0; m < rows; ++m) {
        for (int64_t n = 0; n < width; ++n) {
          const float* const from = partial.data() + (m * width + n) * lanes;
          sums.data()[n] = std::accumulate(from, from + lanes, 0.0f);
        }
        finish(sums.data(), bias ? bias + outputs.begin : nullptr, activation, width,
               result + m * p.out_channels + outputs.begin);
      }
    }
  });
}
