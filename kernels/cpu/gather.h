// Forward and input gradient in fp32: each tile of the result gathers the products of the blocks on its line.
//
// Forward: a line is a column block, its blocks bring channel groups of x. Backward the roles change: a line is a
// channel group, its blocks bring column blocks of the output's gradient. No im2col and no padded copy: every pixel of
// a tile has an address for each tap, and where that meets the padding, it is a pixel of zeros. The sums of some pixels
// stay in registers for as many blocks and taps as the first cache holds; brgemm would load and store them for each.
#pragma once

#include <c10/util/Unroll.h>

#include <array>

#include "finish.h"
#include "meeting.h"
#include "pack.h"

constexpr int64_t strip = lanes == 16 ? 64 : 16;  // channels whose sums are in registers
constexpr int64_t chunk = 96;                     // pixels whose sums are in the first cache
constexpr int64_t cached_weights = 8192;          // numbers of the weight that are there beside them

// Rows of so many vectors whose sums are in registers together: enough that none waits for the one before it.
constexpr int rows_at_once(int vectors) { return vectors > 3 || lanes < 16 ? 6 : 8; }

// A block, ready to multiply by.
struct Factor {
  Taps<float> taps;
  uintptr_t source;  // address of its channels at pixel 0
  int64_t depth;
  int64_t column, width;  // what it adds to: channels of the tile
  bool first;             // nothing has been added to them
};

// Some rows of a packed block: channels that one tap brings.
struct Rows {
  const float* weight;
  uintptr_t source;
  int64_t depth, tap;
};

// sums [pixels, vectors * lanes] += the products of what a chunk's pixels meet with all these rows; `fresh`: = them.
template <int vectors>
void add_products(const std::vector<Rows>& all, const Meeting& meeting, int64_t pixels, int64_t ld, bool fresh,
                  float* sums, int64_t ld_sums) {
  constexpr int together = rows_at_once(vectors);
  const c10::ForcedUnroll<together> each_pixel;
  const c10::ForcedUnroll<vectors> each_vector;
  const int64_t last_tap = meeting.taps - 1;
  for (int64_t first = 0; first < pixels; first += together, sums += together * ld_sums) {
    std::array<std::array<Vector, vectors>, together> sum;
    each_pixel([&](auto i) {
      each_vector([&](auto v) { sum[i][v] = fresh ? Vector(0.0f) : Vector::loadu(sums + i * ld_sums + v * lanes); });
    });
    for (const Rows& rows : all) {
      const Range met = meeting.met[rows.tap];
      if (met.end <= first || first + together <= met.begin) continue;
      const int64_t* const offset = meeting.offset.data() + rows.tap * chunk + first;
      std::array<const float*, together> pixel;
      each_pixel([&](auto i) { pixel[i] = reinterpret_cast<const float*>(rows.source + offset[i]); });
      if (rows.tap == last_tap)  // what it meets a chunk later is new, and the processor does not foresee it
        for (int64_t i = 0; i < together; ++i)
          for (int64_t byte = 0; byte < rows.depth * 4; byte += 64)
            __builtin_prefetch(reinterpret_cast<const void*>(rows.source + offset[i] + chunk * meeting.pitch + byte));
      const float* weight = rows.weight;
      for (int64_t k = 0; k < rows.depth; ++k, weight += ld) {
        std::array<Vector, vectors> row;
        each_vector([&](auto v) { row[v] = Vector::loadu(weight + v * lanes); });
        each_pixel([&](auto i) {
          const Vector x(pixel[i][k]);
          each_vector([&](auto v) { sum[i][v] = at::vec::fmadd(x, row[v], sum[i][v]); });
        });
      }
    }
    each_pixel([&](auto i) { each_vector([&](auto v) { sum[i][v].store(sums + i * ld_sums + v * lanes); }); });
  }
}

// A chunk's sums [pixels, ld_sums] += the products with these blocks of one line.
inline void add_blocks(const Factor* begin, const Factor* end, const Grid& grid, const Meeting& meeting, int64_t pixels,
                       float* sums, int64_t ld_sums, std::vector<Rows>& rows) {
  constexpr decltype(&add_products<1>) by_vectors[] = {add_products<1>, add_products<2>, add_products<3>,
                                                       add_products<4>};
  constexpr int64_t most = cached_weights / strip;
  for (int64_t c = 0; c < begin->width; c += strip) {
    int64_t depth = 0;
    bool fresh = begin->first;
    const auto add = [&] {
      const auto products = by_vectors[ceil_div(std::min(strip, begin->width - c), lanes) - 1];
      products(rows, meeting, pixels, begin->taps.ld, fresh, sums + begin->column + c, ld_sums);
      rows.clear();
      depth = 0;
      fresh = false;
    };
    for (const Factor* factor = begin; factor != end; ++factor)
      for (int64_t tap = 0; tap < meeting.taps; ++tap)
        for (int64_t k = 0, piece; k < factor->depth; k += piece) {
          piece = std::min(factor->depth - k, most);
          if (depth + piece > most) add();
          const float* const weight = factor->taps.tap(grid.taps[tap].number) + k * factor->taps.ld + c;
          rows.push_back({weight, factor->source + k * sizeof(float), piece, tap});
          depth += piece;
        }
    add();
  }
}

template <bool backward>
void gather(const Problem& p, const float* source, const float* weight, const float* bias, Lines lines,
            Activation activation, float* result) {
  const int64_t channels = backward ? p.in_channels : p.out_channels;
  const int64_t source_channels = backward ? p.out_channels : p.in_channels;
  const int64_t count = backward ? p.channel_groups : p.column_blocks;
  const std::vector<Grid> grids = ::grids<backward>(p);
  const int64_t pixels = grids[0].images * grids[0].rows * grids[0].columns;
  prefer_large_pages(result, pixels * channels * sizeof(float));

  const int64_t panel = backward ? p.out_block : p.group_size;
  const bool gathered = better_in_panels(p, pixels, source_channels, panel);
  const Buffer<float> copy = gathered ? panels(source, pixels, source_channels, panel) : Buffer<float>(0);
  const int64_t pitch = (gathered ? panel : source_channels) * sizeof(float);
  const std::vector<float> zeros(source_channels);
  // A linear layer has no padding: only what is summed up beyond the last pixel, and not used, comes from nowhere.
  const int64_t nowhere = gathered ? 0 : reinterpret_cast<intptr_t>(zeros.data()) - reinterpret_cast<intptr_t>(source);

  // Narrow lines share what is not a matter of channels.
  const int64_t line_width = std::min(backward ? p.group_size : p.out_block, channels);
  const int64_t span = line_width % lanes == 0 && p.conv_groups == 1 ? std::max<int64_t>(1, strip / line_width) : 1;
  const int64_t spans = ceil_div(count, span), widest = ceil_div(span * line_width, lanes) * lanes;

  // A block is packed once per tile, which has pixels of every phase, and line; so tiles are large, yet there must be
  // enough of them for all threads.
  const int64_t phases = grids.size(), most = std::max<int64_t>(1, 2048 / phases);
  const int64_t share = ceil_div(grids[0].size() * spans * p.conv_groups, 4 * at::get_num_threads());
  const int64_t tile_pixels = ceil_div(std::clamp<int64_t>(share, 1, most), chunk) * chunk;  // of a phase
  const int64_t tiles = ceil_div(grids[0].size(), tile_pixels);

  std::vector<int32_t> starts;
  for (int64_t s = 0; s <= spans; ++s) starts.push_back(lines.start[std::min(s * span, count)]);
  const std::vector<int32_t> order = longest_first({starts.data(), nullptr, nullptr}, spans);

  parallel(tiles * spans * p.conv_groups, [&](const auto& next) {
    Packer<float> packer(p);
    constexpr int64_t cache = 512 * 1024;
    const int64_t together = std::max<int64_t>(1, cache / (packer.size() * sizeof(float)));
    Buffer<float> packed(together * packer.size() + lanes);  // a row's last vector may reach beyond
    Buffer<float> sums(phases * tile_pixels * widest);
    Meeting meeting(chunk, pitch, p.taps());
    std::vector<Factor> factors;
    std::vector<Rows> rows;
    std::vector<bool> started;
    for (int64_t task; (task = next()) >= 0;) {
      const int64_t tile = task % tiles, q = task / tiles % p.conv_groups;
      const int64_t head = order[task / tiles / p.conv_groups] * span, tail = std::min(head + span, count);
      const auto made_by = [&](int64_t line) { return backward ? inputs_of(p, line) : outputs_of(p, line, q); };
      const Range made = {made_by(head).begin, made_by(tail - 1).end};
      if (made.size() <= 0) continue;
      const int64_t width = made.size(), first = backward ? made.begin + q * p.group_in() : made.begin;
      const int64_t ld_sums = ceil_div(width, lanes) * lanes;

      const int64_t begin = lines.start[head], end = lines.start[tail];
      int64_t at = begin, line = head;
      started.assign(span, false);
      do {
        factors.clear();
        const bool from_begin = at == begin;
        for (; at < end && static_cast<int64_t>(factors.size()) < together; ++at) {
          while (at >= lines.start[line + 1]) ++line;
          const int64_t j = backward ? lines.other[at] : line, g = backward ? line : lines.other[at];
          const Range outputs = outputs_of(p, j, q), inputs = inputs_of(p, g);
          if (outputs.size() <= 0) continue;
          float* const to = packed.data() + factors.size() * packer.size();
          const Taps<float> taps = packer.block<backward>(weight, lines, line, at, q, to);
          const float* from = gathered ? copy.data() + lines.other[at] * pixels * panel
                                       : source + (backward ? outputs.begin : q * p.group_in() + inputs.begin);
          factors.push_back({taps, reinterpret_cast<uintptr_t>(from), backward ? outputs.size() : inputs.size(),
                             made_by(line).begin - made.begin, made_by(line).size(), !started[line - head]});
          started[line - head] = true;
        }
        const bool whole = from_begin && at == end;  // then a chunk's sums need not wait for more blocks
        for (int64_t phase = 0; phase < phases; ++phase) {
          const Grid& grid = grids[phase];
          const Range own = intersect({tile * tile_pixels, (tile + 1) * tile_pixels}, {0, grid.size()});
          for (int64_t pixel = own.begin; pixel < own.end; pixel += chunk) {
            float* const sum = sums.data() + (whole ? 0 : (phase * tile_pixels + pixel - own.begin) * ld_sums);
            const int64_t size = std::min(chunk, own.end - pixel);
            meeting.fill(grid, pixel, size, nowhere);
            const Factor *some = factors.data(), *const last = some + factors.size();
            for (const Factor* next; some != last; some = next) {
              for (next = some; next != last && next->column == some->column;) ++next;
              add_blocks(some, next, grid, meeting, size, sum, ld_sums, rows);
            }
            if (at < end) continue;
            for (int64_t empty = head; empty < tail; ++empty)
              if (const Range none = made_by(empty); !started[empty - head])
                for (int64_t i = 0; i < size; ++i)
                  std::fill_n(sum + i * ld_sums + none.begin - made.begin, none.size(), 0.0f);
            for (int64_t i = 0; i < size; ++i)
              finish(sum + i * ld_sums, bias ? bias + first : nullptr, activation, width,
                     result + meeting.result[i] * channels + first);
          }
        }
      } while (at < end);
    }
  });
}
