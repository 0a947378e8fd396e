// Weight gradient of a convolution without groups in fp32, where one side of a block is two whole vectors or more: no
// pixel is copied.
//
// The channels of the block's wider side, at one pixel, are vectors; those of the other are factors, one by one. Some
// factors' products with some vectors stay in registers over all pixels of a plot, which a tap connects. All taps of a
// block are done with the same pixels, while these are in the cache.
#pragma once

#include <array>

#include "gather.h"
#include "outer.h"

// `rows` times `count` pixels on each side. In numbers: from pixel to pixel, and what is left out after each row.
struct Plot {
  int64_t rows, count;
  struct Side {
    const float* data;
    int64_t pixel, skip;
  } factors, vectors;
};

// sums [factors, vectors * lanes] += the products of both sides' channels, from these on, at all pixels.
template <int factors, int vectors>
void add_plot(const Plot& plot, int64_t factor, int64_t vector, float* sums, int64_t ld) {
  const c10::ForcedUnroll<factors> each_factor;
  const c10::ForcedUnroll<vectors> each_vector;
  std::array<std::array<Vector, vectors>, factors> sum;
  each_factor([&](auto f) { each_vector([&](auto v) { sum[f][v] = Vector::loadu(sums + f * ld + v * lanes); }); });
  const float *left = plot.factors.data + factor, *right = plot.vectors.data + vector;
  const int64_t left_pixel = plot.factors.pixel, right_pixel = plot.vectors.pixel;
  int64_t in_row = plot.count;
  for (int64_t pixels = plot.rows * plot.count; pixels > 0; --pixels) {  // in one loop sums stay in registers
    std::array<Vector, vectors> row;
    each_vector([&](auto v) { row[v] = Vector::loadu(right + v * lanes); });
    each_factor([&](auto f) {
      const Vector x(left[f]);
      each_vector([&](auto v) { sum[f][v] = at::vec::fmadd(x, row[v], sum[f][v]); });
    });
    left += left_pixel, right += right_pixel;
    if (--in_row == 0) in_row = plot.count, left += plot.factors.skip, right += plot.vectors.skip;
  }
  each_factor([&](auto f) { each_vector([&](auto v) { sum[f][v].store(sums + f * ld + v * lanes); }); });
}

// sums [count, vectors * lanes] += those of `count` factors.
template <int vectors>
void add_strip(const Plot& plot, int64_t count, int64_t vector, float* sums, int64_t ld) {
  constexpr int most = rows_at_once(vectors);
  int64_t f = 0;
  for (; f + most <= count; f += most) add_plot<most, vectors>(plot, f, vector, sums + f * ld, ld);
  for (; f + 4 <= count; f += 4) add_plot<4, vectors>(plot, f, vector, sums + f * ld, ld);
  for (; f < count; ++f) add_plot<1, vectors>(plot, f, vector, sums + f * ld, ld);
}

inline bool outputs_are_vectors(const Problem& p) { return p.out_block > p.group_size; }

inline bool outer_is_direct(const Problem& p) {
  const int64_t wide = std::max(p.out_block, p.group_size);
  const int64_t all = outputs_are_vectors(p) ? p.out_channels : p.in_channels;
  return !p.linear() && p.conv_groups == 1 && wide >= 2 * lanes && wide % lanes == 0 && all % lanes == 0;
}

// Sums [taps, factors, vectors], `tap` from tap to tap and `ld` from factor to factor, to their places in the weight's
// gradient, where either the channels of a tap or the taps of a channel are neighbours.
inline void write(const Problem& p, bool flipped, Range outputs, Range inputs, const float* sums, int64_t ld,
                  int64_t tap, float* to) {
  const bool by_tap = p.channel_stride == 1;
  if (flipped && by_tap)
    for (int64_t t = 0; t < p.taps(); ++t)
      transpose<float>(inputs.size(), outputs.size(), sums + t * tap, ld, to + t * p.tap_stride, p.row_stride);
  else if (flipped)
    for (int64_t c = 0; c < inputs.size(); ++c)
      transpose<float>(p.taps(), outputs.size(), sums + c * ld, tap, to + c * p.channel_stride, p.row_stride);
  else
    for (int64_t n = 0; n < outputs.size(); ++n)
      if (by_tap)
        for (int64_t t = 0; t < p.taps(); ++t)
          std::memcpy(to + n * p.row_stride + t * p.tap_stride, sums + t * tap + n * ld, inputs.size() * sizeof(float));
      else
        transpose<float>(p.taps(), inputs.size(), sums + n * ld, tap, to + n * p.row_stride, p.channel_stride);
}

inline void outer_direct(const Problem& p, const float* grad_out, const float* x, const int32_t* block_of,
                         float* grad_weight) {
  constexpr decltype(&add_strip<1>) by_vectors[] = {add_strip<1>, add_strip<2>, add_strip<3>, add_strip<4>};
  constexpr int64_t most = 64;  // channels of either side, whose pixels and sums stay in the cache
  fill_with_zeros(grad_weight, (p.packed ? p.blocks * p.out_block : p.out_channels) * p.row_stride);
  const bool flipped = outputs_are_vectors(p);
  const int64_t out_width = std::min(p.out_block, most), in_width = std::min(p.group_size, most);
  const int64_t ld = flipped ? out_width : in_width, tap = out_width * in_width, size = p.taps() * tap;
  const int64_t down = ceil_div(p.out_block, most), across = ceil_div(p.group_size, most);
  const int64_t pieces = p.blocks * down * across;
  // Where there are few, their pixels are divided among tasks: in as many parts on every machine, so that sums are the
  // same bits.
  const int64_t columns_at_once = std::min<int64_t>(p.out_width, 96);
  const int64_t rows_at_once = std::max<int64_t>(1, 96 / p.out_width);
  const int64_t plots_across = ceil_div(p.out_width, columns_at_once);
  const int64_t plots = plots_across * ceil_div(p.out_height, rows_at_once);  // of an image
  const int64_t parts = std::clamp<int64_t>(std::min(32 / std::max<int64_t>(pieces, 1), (int64_t{1} << 22) / size), 1,
                                            p.images * plots);
  float* const partial = scratch<float, 4>(parts > 1 ? pieces * parts * size : 0);
  constexpr int64_t plots_at_once = 32;  // long chains of sums would lose digits

  const auto outputs_at = [&](int64_t piece) {
    const Range block = outputs_of(p, block_of[2 * (piece / across / down)], 0);
    const int64_t begin = block.begin + piece / across % down * most;
    return intersect(block, {begin, begin + most});
  };
  const auto inputs_at = [&](int64_t piece) {
    const Range block = inputs_of(p, block_of[2 * (piece / across / down) + 1]);
    const int64_t begin = block.begin + piece % across * most;
    return intersect(block, {begin, begin + most});
  };
  const auto write_piece = [&](int64_t piece, const float* sums) {
    const int64_t slot = piece / across / down, j = block_of[2 * slot], g = block_of[2 * slot + 1];
    const Range outputs = outputs_at(piece), inputs = inputs_at(piece);
    float* const to = grad_weight + p.block_offset(j, g, slot) + (outputs.begin - j * p.out_block) * p.row_stride +
                      (inputs.begin - g * p.group_size) * p.channel_stride;
    if (outputs.size() > 0 && inputs.size() > 0) write(p, flipped, outputs, inputs, sums, ld, tap, to);
  };

  parallel(pieces * parts, [&](const auto& next) {
    float* const own = scratch<float, 5>(2 * size);
    for (int64_t task; (task = next()) >= 0;) {
      const int64_t part = task % parts;
      const Range outputs = outputs_at(task / parts), inputs = inputs_at(task / parts);
      const int64_t vectors = flipped ? outputs.size() : inputs.size();
      const int64_t factors = flipped ? inputs.size() : outputs.size();
      float *const total = parts > 1 ? partial + task * size : own + size, *const sums = own;
      std::fill_n(total, size, 0.0f);
      std::fill_n(sums, size, 0.0f);
      const int64_t first = p.images * plots * part / parts, last = p.images * plots * (part + 1) / parts;
      for (int64_t at = first; at < last; ++at) {
        const int64_t image = at / plots, row = at % plots / plots_across * rows_at_once;
        const int64_t column = at % plots % plots_across * columns_at_once;
        const Range rows = {row, std::min(row + rows_at_once, p.out_height)};
        const Range columns = {column, std::min(column + columns_at_once, p.out_width)};
        for (int64_t t = 0; t < p.taps(); ++t) {
          const Run y = run_of<false>(rows, p.height, t / p.taps_w, p.stride_h, p.padding_h, p.dilation_h);
          const Run z = run_of<false>(columns, p.width, t % p.taps_w, p.stride_w, p.padding_w, p.dilation_w);
          if (y.count == 0 || z.count == 0) continue;
          const int64_t made = (image * p.out_height + y.result) * p.out_width + z.result;
          const int64_t met = (image * p.height + y.source) * p.width + z.source;
          const Plot::Side gradient = {grad_out + made * p.out_channels + outputs.begin, p.out_channels,
                                       (p.out_width - z.count) * p.out_channels};
          const Plot::Side source = {x + met * p.in_channels + inputs.begin, z.source_step * p.in_channels,
                                     (y.source_step * p.width - z.count * z.source_step) * p.in_channels};
          const Plot plot = {y.count, z.count, flipped ? source : gradient, flipped ? gradient : source};
          for (int64_t c = 0; c < vectors; c += strip)
            by_vectors[std::min(strip, vectors - c) / lanes - 1](plot, factors, c, sums + t * tap + c, ld);
        }
        if ((at + 1 - first) % plots_at_once == 0 || at + 1 == last)
          for (int64_t i = 0; i < size; ++i) total[i] += sums[i], sums[i] = 0.0f;
      }
      if (parts == 1) write_piece(task, total);
    }
  });

  if (parts > 1)
    parallel(pieces, [&](const auto& next) {
      for (int64_t piece; (piece = next()) >= 0;) {
        float* const sums = partial + piece * parts * size;
        for (int64_t part = 1; part < parts; ++part)
          for (int64_t i = 0; i < size; ++i) sums[i] += sums[part * size + i];
        write_piece(piece, sums);
      }
    });
}
