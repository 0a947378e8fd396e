// Weight gradient of a linear layer in dense storage: some rows of the weight at a time, over all their blocks.
//
// The rows of a block lie far apart, often by a power of two: written block by block they would push each other out of
// the cache. Written row by row, zeros included, memory sees one stream.
#pragma once

#include "outer.h"

// x [rows, in_channels] -> [panels, rows, panel]: what a product reads lies together. 16-bit in pairs of rows:
// [panels, ceil(rows / 2), panel, 2]. The last panel may be filled in part only.
template <class T>
Buffer<T> source_panels(const Problem& p, int64_t panel, const T* x) {
  if constexpr (!is_half<T>) {
    return panels(x, p.out_width, p.in_channels, panel);
  } else {
    const int64_t depth = even(p.out_width), count = ceil_div(p.in_channels, panel);
    Buffer<T> result(count * depth * panel);
    parallel(count, [&](const auto& next) {
      for (int64_t task; (task = next()) >= 0;)
        pair_rows(p.out_width, std::min(panel, p.in_channels - task * panel), x + task * panel, p.in_channels,
                  result.data() + task * depth * panel, panel);
    });
    return result;
  }
}

template <class T>
void outer_linear(const Problem& p, const T* grad_out, const T* x, const int32_t* block_of, T* grad_weight) {
  constexpr int64_t panel = 64, lines = 64;
  // Rows of the sums are not a power of two apart.
  const int64_t rows = p.out_width, depth = is_half<T> ? even(rows) : rows, pitch = p.in_channels + 16;
  const Planes planes(p);
  const Buffer<T> left = transposed_gradient(p, planes, grad_out), right = source_panels(p, panel, x);
  const std::vector<int64_t> first = first_slots(p, block_of);
  prefer_large_pages(grad_weight, p.out_channels * p.row_stride * sizeof(T));

  const int64_t pieces = ceil_div(p.out_block, lines);
  parallel(p.column_blocks * pieces, [&](const auto& next) {
    float* const sums = scratch<float, 1>(lines * pitch);
    for (int64_t task; (task = next()) >= 0;) {
      const int64_t j = task / pieces, begin = j * p.out_block + task % pieces * lines;
      const Range outputs = intersect(outputs_of(p, j, 0), {begin, begin + lines});
      if (outputs.size() <= 0) continue;
      for (int64_t n = 0; n < outputs.size(); ++n) std::fill_n(sums + n * pitch, p.in_channels, 0.0f);
      for (int64_t slot = first[j]; slot < first[j + 1];) {
        // Neighbouring blocks are one.
        Range inputs = inputs_of(p, block_of[2 * slot + 1]);
        for (++slot; slot < first[j + 1] && block_of[2 * slot + 1] * p.group_size == inputs.end; ++slot)
          inputs.end = inputs_of(p, block_of[2 * slot + 1]).end;
        while (inputs.size() > 0) {
          const int64_t at = inputs.begin % panel, width = std::min(panel - at, inputs.size());
          multiply(outputs.size(), width, rows, left.data() + outputs.begin * planes.row, planes.row,
                   right.data() + inputs.begin / panel * depth * panel + at * (is_half<T> ? 2 : 1), panel,
                   sums + inputs.begin, pitch);
          inputs.begin += width;
        }
      }
      for (int64_t n = 0; n < outputs.size(); ++n)
        finish<T>(sums + n * pitch, nullptr, Activation::none, p.in_channels,
                  grad_weight + (outputs.begin + n) * p.row_stride);
    }
  });
}
