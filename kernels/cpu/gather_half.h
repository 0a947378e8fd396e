// What gather.h computes in fp32, in bf16: by brgemm, which knows each processor's instructions for it. For one tap, a
// row of the result meets a run of source pixels, which brgemm reads where they lie.
#pragma once

#include "finish.h"
#include "meeting.h"
#include "pack.h"

using Half = at::BFloat16;

// A block of the line, ready to multiply by.
struct HalfFactor {
  Taps<Half> taps;
  const Half* source;  // its channels at pixel 0, in an array whose pixels are `pitch` apart
  int64_t depth;
};

// One tile: rows [down) of all images' rows, columns [across), `width` channels.
template <bool backward>
void add_half_products(const Problem& p, Range down, Range across, int64_t width, const HalfFactor& factor,
                       int64_t pitch, float* sums) {
  const int64_t rows = backward ? p.height : p.out_height;
  const int64_t source_rows = backward ? p.out_height : p.height, source_columns = backward ? p.out_width : p.width;
  for (int64_t image = down.begin / rows; image * rows < down.end; ++image) {
    const Range inside = intersect({down.begin - image * rows, down.end - image * rows}, {0, rows});
    float* const to = sums + (image * rows - down.begin) * across.size() * width;
    for (int64_t r = 0; r < p.taps_h; ++r) {
      const Run y = run_of<backward>(inside, source_rows, r, p.stride_h, p.padding_h, p.dilation_h);
      for (int64_t s = 0; s < p.taps_w && y.count; ++s) {
        const Run x = run_of<backward>(across, source_columns, s, p.stride_w, p.padding_w, p.dilation_w);
        for (int64_t i = 0; i < y.count && x.count; ++i) {
          const int64_t pixel = (image * source_rows + y.source + i * y.source_step) * source_columns + x.source;
          const int64_t sum = (y.result + i * y.result_step) * across.size() + x.result - across.begin;
          multiply(x.count, width, factor.depth, factor.source + pixel * pitch, x.source_step * pitch,
                   factor.taps.tap(r * p.taps_w + s), factor.taps.ld, to + sum * width, x.result_step * width);
        }
      }
    }
  }
}

template <bool backward>
void gather_half(const Problem& p, const Half* source, const Half* weight, const Half* bias, Lines lines,
                 Activation activation, Half* result) {
  const int64_t rows = p.images * (backward ? p.height : p.out_height), columns = backward ? p.width : p.out_width;
  const int64_t channels = backward ? p.in_channels : p.out_channels;
  const int64_t source_channels = backward ? p.out_channels : p.in_channels;
  const int64_t count = backward ? p.channel_groups : p.column_blocks;
  const int64_t widest = std::min(backward ? p.group_size : p.out_block, channels);
  prefer_large_pages(result, rows * columns * channels * sizeof(Half));

  const int64_t panel = backward ? p.out_block : p.group_size;
  const bool gathered = better_in_panels(p, columns, source_channels, panel);
  const Buffer<Half> copy = gathered ? panels(source, columns, source_channels, panel) : Buffer<Half>(0);
  const int64_t pitch = gathered ? panel : source_channels;

  // A block is packed once per tile and line, so tiles are large; yet there must be enough of them for all threads.
  // Inside a tile, all products of some 64 pixels are added up while their sums are in the first cache.
  const int64_t share = ceil_div(rows * columns * count * p.conv_groups, 4 * at::get_num_threads());
  const int64_t target = std::clamp<int64_t>(share, 64, 1024);
  const int64_t chunk_columns = std::min<int64_t>(columns, 64), chunk_rows = ceil_div(64, chunk_columns);
  const int64_t tile_columns = ceil_div(std::min(columns, target), chunk_columns) * chunk_columns;
  const int64_t tile_rows = ceil_div(std::max<int64_t>(1, target / tile_columns), chunk_rows) * chunk_rows;
  const int64_t tiles_across = ceil_div(columns, tile_columns), tiles = ceil_div(rows, tile_rows) * tiles_across;

  const std::vector<int32_t> order = longest_first(lines, count);

  parallel(tiles * count * p.conv_groups, [&](const auto& next) {
    Packer<Half> packer(p);
    constexpr int64_t cache = 512 * 1024;
    const bool one_chunk = tile_rows <= chunk_rows && tile_columns <= chunk_columns;
    // With one chunk a packed block is used once: the next one arrives while this one is multiplied by.
    const int64_t together = one_chunk ? 1 : std::max<int64_t>(1, cache / (packer.size() * sizeof(Half)));
    Buffer<Half> packed(together * packer.size());
    std::vector<HalfFactor> factors;
    Buffer<float> sums(tile_rows * tile_columns * widest);
    for (int64_t task; (task = next()) >= 0;) {
      const int64_t tile = task % tiles, q = task / tiles % p.conv_groups;
      const int64_t line = order[task / tiles / p.conv_groups];
      const Range made = backward ? inputs_of(p, line) : outputs_of(p, line, q);
      if (made.size() <= 0) continue;
      const int64_t width = made.size(), first = backward ? made.begin + q * p.group_in() : made.begin;
      const Range down = {tile / tiles_across * tile_rows, std::min((tile / tiles_across + 1) * tile_rows, rows)};
      const Range across = {tile % tiles_across * tile_columns,
                            std::min((tile % tiles_across + 1) * tile_columns, columns)};

      const int64_t begin = lines.start[line], end = lines.start[line + 1];
      int64_t at = begin;
      do {
        const bool fresh = at == begin;
        factors.clear();
        for (; at < end && static_cast<int64_t>(factors.size()) < together; ++at) {
          const int64_t j = backward ? lines.other[at] : line, g = backward ? line : lines.other[at];
          const Range outputs = outputs_of(p, j, q), inputs = inputs_of(p, g);
          if (outputs.size() <= 0) continue;
          Half* const to = packed.data() + factors.size() * packer.size();
          const Taps<Half> taps = packer.block<backward>(weight, lines, line, at, q, to);
          const Half* from = gathered ? copy.data() + lines.other[at] * columns * panel
                                      : source + (backward ? outputs.begin : q * p.group_in() + inputs.begin);
          factors.push_back({taps, from, backward ? outputs.size() : inputs.size()});
        }
        float* sum = sums.data();
        for (int64_t row = down.begin; row < down.end; row += chunk_rows)
          for (int64_t column = across.begin; column < across.end; column += chunk_columns) {
            const Range y = {row, std::min(row + chunk_rows, down.end)};
            const Range x = {column, std::min(column + chunk_columns, across.end)};
            if (fresh) std::fill_n(sum, y.size() * x.size() * width, 0.0f);
            for (const HalfFactor& factor : factors) add_half_products<backward>(p, y, x, width, factor, pitch, sum);
            if (at == end)
              for (int64_t pixel = 0; pixel < y.size() * x.size(); ++pixel)
                finish(sum + pixel * width, bias ? bias + first : nullptr, activation, width,
                       result + ((y.begin + pixel / x.size()) * columns + x.begin + pixel % x.size()) * channels +
                           first);
            sum += chunk_rows * chunk_columns * width;
          }
      } while (at < end);
    }
  });
}
