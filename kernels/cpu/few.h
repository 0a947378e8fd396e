// Forward of a linear layer for some 16 rows of x: transposing the weight would cost as much as multiplying by it.
//
// So the weight becomes the left-hand side: result^T = weight x^T. Its blocks are copied, since rows that lie a power
// of two apart would push each other out of the cache.
#pragma once

#include "finish.h"
#include "pack.h"

constexpr Range few_rows = {9, 33};

template <class T>
void forward_few(const Problem& p, const T* x, const T* weight, const T* bias, Lines lines, Activation activation,
                 T* result) {
  const int64_t rows = p.out_width, step = is_half<T> ? even(p.group_size) : p.group_size;
  const Buffer<T> transposed(p.channel_groups * step * rows);
  for (int64_t g = 0; g < p.channel_groups; ++g) {
    const Range inputs = inputs_of(p, g);
    T* const to = transposed.data() + g * step * rows;
    if constexpr (is_half<T>)
      pair_columns(rows, inputs.size(), x + inputs.begin, p.in_channels, to);
    else
      transpose<T>(rows, inputs.size(), x + inputs.begin, p.in_channels, to, rows);
  }
  parallel(p.column_blocks, [&](const auto& next) {
    const Buffer<float> sums(p.out_block * rows), by_row(rows * p.out_block);
    const Buffer<T> block(p.out_block * p.group_size);
    for (int64_t j; (j = next()) >= 0;) {
      const Range outputs = outputs_of(p, j, 0);
      const int64_t width = outputs.size(), end = lines.start[j + 1];
      std::fill_n(sums.data(), width * rows, 0.0f);
      for (int64_t slot = lines.start[j]; slot < end; ++slot) {
        const int64_t g = lines.other[slot], depth = inputs_of(p, g).size();
        if (slot + 1 < end)
          prefetch(weight + p.block_offset(j, lines.other[slot + 1], slot + 1), width, depth, p.row_stride);
        const T* from = weight + p.block_offset(j, g, slot);
        for (int64_t n = 0; n < width; ++n)
          std::memcpy(block.data() + n * depth, from + n * p.row_stride, depth * sizeof(T));
        multiply(width, rows, depth, static_cast<const T*>(block.data()), depth,
                 static_cast<const T*>(transposed.data()) + g * step * rows, rows, sums.data(), rows);
      }
      transpose<float>(width, rows, sums.data(), rows, by_row.data(), width);
      for (int64_t m = 0; m < rows; ++m)
        finish(by_row.data() + m * width, bias ? bias + outputs.begin : nullptr, activation, width,
               result + m * p.out_channels + outputs.begin);
    }
  });
}
