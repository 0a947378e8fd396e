// Which pixels a convolution's taps connect: run by run, or for any of the result's pixels, whatever rows they are in.
#pragma once

#include "problem.h"

// Pixels of one axis that a tap connects: result, result + result_step, ... with source, source + source_step, ...
struct Run {
  int64_t result, result_step, source, source_step, count;
};

// The run of the tap at `tap` * dilation inside `result`. in = out * stride + tap * dilation - padding holds always;
// backward, the result is on the side of in.
template <bool backward>
Run run_of(Range result, int64_t sources, int64_t tap, int64_t stride, int64_t padding, int64_t dilation) {
  const int64_t offset = tap * dilation - padding;
  Range out;
  if constexpr (backward)
    out = {std::max<int64_t>(0, ceil_div(result.begin - offset, stride)),
           std::min(sources, ceil_div(result.end - offset, stride))};
  else
    out = {std::max(result.begin, ceil_div(-offset, stride)), std::min(result.end, ceil_div(sources - offset, stride))};
  const int64_t count = std::max<int64_t>(0, out.size()), in = out.begin * stride + offset;
  return backward ? Run{in, stride, out.begin, 1, count} : Run{out.begin, 1, in, stride, count};
}

// One axis of those pixels of the result that have the same phase in the stride: first + i * step, 0 <= i < count. By
// tap t they meet source pixel i * source_step + meets[t] of `sources`. Backward, a tap meets some phases only.
struct Axis {
  int64_t first, step, count, sources, source_step;
  std::vector<int64_t> meets;
  std::vector<Range> inside;  // which of [0, count) meet a pixel, per tap

  // in = out * stride + tap * dilation - padding holds always; backward, the result is on the side of in.
  Axis(bool backward, int64_t phase, int64_t results, int64_t sources, int64_t taps, int64_t stride, int64_t padding,
       int64_t dilation)
      : first(phase), step(backward ? stride : 1), count(std::max<int64_t>(0, ceil_div(results - phase, step))),
        sources(sources), source_step(backward ? 1 : stride) {
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t offset = t * dilation - padding;
      meets.push_back(backward ? (phase - offset) / stride : offset);
      const int64_t begin = std::clamp<int64_t>(ceil_div(-meets[t], source_step), 0, count);
      const int64_t end = std::clamp<int64_t>(ceil_div(sources - meets[t], source_step), begin, count);
      inside.push_back(backward && (phase - offset) % stride != 0 ? Range{0, 0} : Range{begin, end});
    }
  }
};

// The result's pixels of one phase: image by image, row by row; and the taps by which any of them meet a pixel.
struct Grid {
  struct Tap {
    int64_t number, down, across;
  };
  int64_t images, rows, columns;  // of the result, all phases
  Axis down, across;
  std::vector<Tap> taps;

  Grid(int64_t images, int64_t rows, int64_t columns, Axis y, Axis x)
      : images(images), rows(rows), columns(columns), down(std::move(y)), across(std::move(x)) {
    const int64_t taps_h = down.meets.size(), taps_w = across.meets.size();
    for (int64_t r = 0; r < taps_h; ++r)
      for (int64_t s = 0; s < taps_w; ++s)
        if (down.inside[r].size() > 0 && across.inside[s].size() > 0) taps.push_back({r * taps_w + s, r, s});
  }

  int64_t size() const { return images * down.count * across.count; }
};

// One grid forward, one for each phase of the stride backward; none has more pixels than the first.
template <bool backward>
std::vector<Grid> grids(const Problem& p) {
  const int64_t rows = backward ? p.height : p.out_height, columns = backward ? p.width : p.out_width;
  const int64_t source_rows = backward ? p.out_height : p.height, source_columns = backward ? p.out_width : p.width;
  std::vector<Grid> result;
  for (int64_t y = 0; y < (backward ? p.stride_h : 1); ++y)
    for (int64_t x = 0; x < (backward ? p.stride_w : 1); ++x)
      result.push_back({p.images, rows, columns,
                        Axis(backward, y, rows, source_rows, p.taps_h, p.stride_h, p.padding_h, p.dilation_h),
                        Axis(backward, x, columns, source_columns, p.taps_w, p.stride_w, p.padding_w, p.dilation_w)});
  return result;
}

// Where some pixels of a grid lie, and what each tap of the grid's meets there.
class Meeting {
 public:
  const int64_t size, pitch;    // pixels there is room for; bytes of a source pixel
  int64_t taps = 0;             // of the grid
  std::vector<int64_t> result;  // pixels of the result
  std::vector<int64_t> offset;  // [taps, size]: bytes from pixel 0 of the source
  std::vector<Range> met;       // [taps]: none but these meet anything

  Meeting(int64_t size, int64_t pitch, int64_t taps)
      : size(size), pitch(pitch), result(size), offset(taps * size), met(taps) {}

  // For `count` pixels of the grid. Who meets nothing is sent to offset `nowhere`.
  void fill(const Grid& grid, int64_t first, int64_t count, int64_t nowhere) {
    taps = grid.taps.size();
    std::fill_n(offset.begin(), taps * size, nowhere);
    std::fill_n(met.begin(), taps, Range{size, 0});
    for (int64_t at = 0, piece; at < count; at += piece) {  // of a row
      const int64_t row = (first + at) / grid.across.count, column = (first + at) % grid.across.count;
      piece = std::min(count - at, grid.across.count - column);
      fill_row(grid, row / grid.down.count, row % grid.down.count, {column, column + piece}, at);
    }
  }

 private:
  void fill_row(const Grid& grid, int64_t image, int64_t i, Range columns, int64_t at) {
    const Axis &down = grid.down, &across = grid.across;
    const int64_t row = image * grid.rows + down.first + i * down.step, step = across.source_step * pitch;
    for (int64_t j = columns.begin; j < columns.end; ++j)
      result[at + j - columns.begin] = row * grid.columns + across.first + j * across.step;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t r = grid.taps[tap].down, s = grid.taps[tap].across;
      const Range meets = intersect(across.inside[s], columns);
      if (i < down.inside[r].begin || i >= down.inside[r].end || meets.size() <= 0) continue;
      const int64_t source_row = image * down.sources + i * down.source_step + down.meets[r];
      const int64_t source = source_row * across.sources + meets.begin * across.source_step + across.meets[s];
      const int64_t begin = at + meets.begin - columns.begin;
      for (int64_t k = 0; k < meets.size(); ++k) offset[tap * size + begin + k] = source * pitch + k * step;
      met[tap] = {std::min(met[tap].begin, begin), std::max(met[tap].end, begin + meets.size())};
    }
  }
};
