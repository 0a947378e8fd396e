// Forward of a linear layer for few rows of x: packing the weight would cost more than multiplying by it.
//
// So the weight, which lies there row by row, becomes the left-hand side: result^T = weight x^T.
#pragma once

#include "finish.h"
#include "pack.h"

constexpr int64_t few_rows = 32;

// A block's rows lie too far apart for the processor to foresee the next one.
template <class T>
void prefetch(const T* block, int64_t rows, int64_t columns, int64_t ld) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t c = 0; c < columns; c += line) __builtin_prefetch(block + n * ld + c);
}

template <class T>
void forward_few(const Problem& p, const T* x, const T* weight, const T* bias, Lines lines, Activation activation,
                 T* result) {
  const int64_t rows = p.out_width, step = is_half<T> ? even(p.group_size) : p.group_size;
  Buffer<T> transposed(p.channel_groups * step * rows);
  for (int64_t g = 0; g < p.channel_groups; ++g) {
    const Range inputs = inputs_of(p, g);
    T* const to = transposed.data() + g * step * rows;
    if constexpr (is_half<T>)
      pair_columns(rows, inputs.size(), x + inputs.begin, p.in_channels, to);
    else
      transpose<T>(rows, inputs.size(), x + inputs.begin, p.in_channels, to, rows);
  }
  parallel(p.column_blocks, [&](const auto& next) {
    Buffer<float> sums(p.out_block * rows), row(p.out_block);
    for (int64_t j; (j = next()) >= 0;) {
      const Range outputs = outputs_of(p, j, 0);
      std::fill_n(sums.data(), outputs.size() * rows, 0.0f);
      for (int64_t slot = lines.start[j]; slot < lines.start[j + 1]; ++slot) {
        const int64_t g = lines.other[slot];
        if (slot + 1 < lines.start[j + 1])
          prefetch(weight + p.block_offset(j, lines.other[slot + 1], slot + 1), outputs.size(), p.group_size, p.row_stride);
        multiply(outputs.size(), rows, inputs_of(p, g).size(), weight + p.block_offset(j, g, slot), p.row_stride,
                 transposed.data() + g * step * rows, rows, sums.data(), rows);
      }
      for (int64_t m = 0; m < rows; ++m) {
        for (int64_t n = 0; n < outputs.size(); ++n) row.data()[n] = sums.data()[n * rows + m];
        finish(row.data(), bias ? bias + outputs.begin : nullptr, activation, outputs.size(),
               result + m * p.out_channels + outputs.begin);
      }
    }
  });
}
