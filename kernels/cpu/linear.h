// Forward of a linear layer for five rows of x and more: result^T = weight x^T.
//
// With the weight as the left-hand side its blocks are multiplied as they lie, and in dense storage copied together.
// Instead x is transposed, by tiles that stay in the cache for all lines, and so is the result.
#pragma once

#include "finish.h"
#include "pack.h"

// x [rows, in_channels] -> [channel_groups, chunks, step, chunk], transposed by channel groups and chunks of rows; rows missing in the last chunk are zeros. 16-bit in pairs: [.., step / 2, chunk, 2].
template <class T>
void transpose_rows(const Problem& p, const T* x, int64_t rows, int64_t chunk, int64_t step, T* result) {
  const int64_t chunks = ceil_div(rows, chunk);
  parallel(p.channel_groups * chunks, [&](const auto& next) {
    for (int64_t task; (task = next()) >= 0;) {
      const Range inputs = inputs_of(p, task % p.channel_groups);
      const int64_t c = task / p.channel_groups, count = std::min(chunk, rows - c * chunk);
      const T* const from = x + c * chunk * p.in_channels + inputs.begin;
      T* const to = result + (task % p.channel_groups * chunks + c) * step * chunk;
      if (count < chunk) std::fill_n(to, step * chunk, T(0));
      if constexpr (is_half<T>)
        pair_columns(count, inputs.size(), from, p.in_channels, to, chunk);
      else
        transpose<T>(count, inputs.size(), from, p.in_channels, to, chunk);
    }
  });
}

template <class T>
void forward_linear(const Problem& p, const T* x, const T* weight, const T* bias, Lines lines, Activation activation,
                    T* result) {
  // oneDNN makes a kernel per shape: few rows are filled up to 16, 32, 48 or 64.
  const int64_t chunk = std::min<int64_t>(64, ceil_div(p.out_width, 16) * 16);
  const int64_t tile = 8 * chunk, step = is_half<T> ? even(p.group_size) : p.group_size;
  prefer_large_pages(result, p.out_width * p.out_channels * sizeof(T));
  T* const transposed = scratch<T, 0>(std::min(tile, ceil_div(p.out_width, chunk) * chunk) * p.channel_groups * step);
  const std::vector<int32_t> order = longest_first(lines, p.column_blocks);

  for (int64_t first = 0; first < p.out_width; first += tile) {
    const int64_t rows = std::min(tile, p.out_width - first), chunks = ceil_div(rows, chunk);
    transpose_rows(p, x + first * p.in_channels, rows, chunk, step, transposed);
    const int64_t share = std::clamp<int64_t>(p.column_blocks * chunks / (4 * at::get_num_threads()), 1, chunks);
    const int64_t shares = ceil_div(chunks, share);
    parallel(shares * p.column_blocks, [&](const auto& next) {
      float* const sums = scratch<float, 1>(share * p.out_block * chunk);
      float* const by_row = scratch<float, 2>(chunk * p.out_block);
      T* const copied = scratch<T, 3>(p.out_block * p.group_size);
      for (int64_t task; (task = next()) >= 0;) {
        const int64_t j = order[task / shares], begin = task % shares * share, end = std::min(begin + share, chunks);
        const Range outputs = outputs_of(p, j, 0);
        const int64_t width = outputs.size(), last = lines.start[j + 1];
        std::fill_n(sums, (end - begin) * p.out_block * chunk, 0.0f);
        for (int64_t slot = lines.start[j]; slot < last; ++slot) {
          const int64_t g = lines.other[slot], depth = inputs_of(p, g).size();
          const T* block = weight + p.block_offset(j, g, slot);
          if (slot + 1 < last)
            prefetch(weight + p.block_offset(j, lines.other[slot + 1], slot + 1), width, depth, p.row_stride);
          int64_t pitch = p.row_stride;
          if (pitch > depth) {  // Rows a power of two apart would push each other out of the cache.
            for (int64_t n = 0; n < width; ++n) std::memcpy(copied + n * depth, block + n * pitch, depth * sizeof(T));
            block = copied, pitch = depth;
          }
          const T* const right = transposed + g * chunks * step * chunk;
          for (int64_t c = begin; c < end; ++c)
            multiply(width, chunk, depth, block, pitch, right + c * step * chunk, chunk,
                     sums + (c - begin) * p.out_block * chunk, chunk);
        }
        for (int64_t c = begin; c < end; ++c) {
          transpose<float>(width, chunk, sums + (c - begin) * p.out_block * chunk, chunk, by_row, width);
          for (int64_t m = c * chunk; m < std::min((c + 1) * chunk, rows); ++m)
            finish(by_row + (m - c * chunk) * width, bias ? bias + outputs.begin : nullptr, activation, width,
                   result + (first + m) * p.out_channels + outputs.begin);
        }
      }
    });
  }
}
