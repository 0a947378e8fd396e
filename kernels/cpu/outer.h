// Weight gradient: for each kept block and tap the product of two matrices whose inner side is the pixels.
//
// Both are copied once: the output's gradient transposed, x into planes where the pixels that a tap meets lie one
// after another (padding filled in, the phases of a stride apart). Rows of the output then have the planes' width, and
// the columns too many are zeros.
#pragma once

#include "finish.h"
#include "pack.h"

struct Planes {
  int64_t height, width, phases, row;  // row: pixels of one output channel in the transposed gradient, with its margin
  int64_t size() const { return height * width; }
  int64_t pixels(const Problem& p) const { return (p.out_height - 1) * width + p.out_width; }

  explicit Planes(const Problem& p)
      : height(((p.out_height - 1) * p.stride_h + (p.taps_h - 1) * p.dilation_h) / p.stride_h + 1),
        width(((p.out_width - 1) * p.stride_w + (p.taps_w - 1) * p.dilation_w) / p.stride_w + 1),
        phases(p.stride_h * p.stride_w),
        // Not a power of two, or the rows of a block fall onto the same few lines of the cache.
        row((p.out_height * width + 31) / 16 * 16) {}
};

// [images, out_channels, planes.row]
template <class T>
Buffer<T> transposed_gradient(const Problem& p, const Planes& planes, const T* grad_out) {
  constexpr int64_t piece = 64;
  Buffer<T> result(p.images * p.out_channels * planes.row);
  const int64_t across = ceil_div(p.out_width, piece);
  parallel(p.images * p.out_height * across, [&](const auto& next) {
    for (int64_t task; (task = next()) >= 0;) {
      const int64_t row = task / across, column = task % across * piece, image = row / p.out_height;
      T* const to = result.data() + image * p.out_channels * planes.row + row % p.out_height * planes.width + column;
      const int64_t size = std::min(piece, p.out_width - column);
      transpose<T>(size, p.out_channels, grad_out + (row * p.out_width + column) * p.out_channels, p.out_channels, to,
                   planes.row);
      if (column + size == p.out_width && planes.width > p.out_width)
        for (int64_t n = 0; n < p.out_channels; ++n)
          std::fill_n(to + n * planes.row + size, planes.width - p.out_width, T(0));
    }
  });
  return result;
}

// fp32: [images, phases, planes.size(), in_channels]. 16-bit, in pairs of pixels that begin at an even or at an odd
// one, since a tap may: [images, phases, 2, ceil(planes.size() / 2), in_channels, 2].
template <class T>
Buffer<T> source_planes(const Problem& p, const Planes& planes, const T* x, int64_t plane) {
  Buffer<T> result(p.images * planes.phases * plane);
  const std::vector<T> zeros(p.in_channels);
  parallel(p.images * planes.phases * planes.height, [&](const auto& next) {
    for (int64_t task; (task = next()) >= 0;) {
      const int64_t v = task % planes.height, phase = task / planes.height % planes.phases;
      const int64_t image = task / planes.height / planes.phases;
      const int64_t y = v * p.stride_h + phase / p.stride_w - p.padding_h;
      T* const to = result.data() + (image * planes.phases + phase) * plane;
      for (int64_t u = 0; u < planes.width; ++u) {
        const int64_t column = u * p.stride_w + phase % p.stride_w - p.padding_w;
        const bool inside = y >= 0 && y < p.height && column >= 0 && column < p.width;
        const T* const from = inside ? x + ((image * p.height + y) * p.width + column) * p.in_channels : zeros.data();
        const int64_t pixel = v * planes.width + u;
        if constexpr (is_half<T>) {
          for (int64_t odd = 0; odd < 2 && odd <= pixel; ++odd) {
            T* const pair = to + odd * plane / 2 + (pixel - odd) / 2 * 2 * p.in_channels + (pixel - odd) % 2;
            for (int64_t c = 0; c < p.in_channels; ++c) pair[2 * c] = from[c];
            if (pixel + 1 == planes.size() && (pixel - odd) % 2 == 0)  // the last one's partner does not exist
              for (int64_t c = 0; c < p.in_channels; ++c) pair[2 * c + 1] = 0;
          }
        } else {
          std::memcpy(to + pixel * p.in_channels, from, p.in_channels * sizeof(T));
        }
      }
    }
  });
  return result;
}

template <class T>
void fill_with_zeros(T* data, int64_t size) {
  constexpr int64_t piece = 1 << 18;
  prefer_large_pages(data, size * sizeof(T));
  parallel(ceil_div(size, piece), [&](const auto& next) {
    for (int64_t task; (task = next()) >= 0;)
      std::memset(data + task * piece, 0, std::min(piece, size - task * piece) * sizeof(T));
  });
}

// grad_weight has the strides of `p`'s weight.
template <class T>
void outer(const Problem& p, const T* grad_out, const T* x, const int32_t* block_of, T* grad_weight) {
  fill_with_zeros(grad_weight, (p.packed ? p.blocks * p.out_block : p.out_channels) * p.row_stride);
  const Planes planes(p);
  const bool copied = is_half<T> || p.taps() > 1 || p.stride_h > 1 || p.stride_w > 1 || p.padding_h || p.padding_w;
  const int64_t plane = (is_half<T> ? 2 * even(planes.size()) : planes.size()) * p.in_channels;
  const Buffer<T> transposed = transposed_gradient(p, planes, grad_out);
  const Buffer<T> copy = copied ? source_planes(p, planes, x, plane) : Buffer<T>(0);
  const T* const source = copied ? copy.data() : x;

  parallel(p.blocks * p.taps(), [&](const auto& next) {
    Buffer<float> sums(p.out_block * p.group_size);
    for (int64_t task; (task = next()) >= 0;) {
      const int64_t slot = task / p.taps(), t = task % p.taps(), j = block_of[2 * slot], g = block_of[2 * slot + 1];
      const int64_t y = t / p.taps_w * p.dilation_h, z = t % p.taps_w * p.dilation_w;
      const int64_t phase = y % p.stride_h * p.stride_w + z % p.stride_w;
      const int64_t pixel = y / p.stride_h * planes.width + z / p.stride_w;
      const Range inputs = inputs_of(p, g);
      for (int64_t q = 0; q < p.conv_groups; ++q) {
        const Range outputs = outputs_of(p, j, q);
        if (outputs.size() <= 0) continue;
        std::fill_n(sums.data(), outputs.size() * inputs.size(), 0.0f);
        for (int64_t image = 0; image < p.images; ++image) {
          const T* right = source + (image * planes.phases + phase) * plane;
          if constexpr (is_half<T>)
            right += pixel % 2 * plane / 2 + (pixel / 2 * p.in_channels + q * p.group_in() + inputs.begin) * 2;
          else
            right += pixel * p.in_channels + q * p.group_in() + inputs.begin;
          multiply(outputs.size(), inputs.size(), planes.pixels(p),
                   transposed.data() + (image * p.out_channels + outputs.begin) * planes.row, planes.row, right,
                   p.in_channels, sums.data(), inputs.size());
        }
        T* const to = grad_weight + p.block_offset(j, g, slot) + (outputs.begin - j * p.out_block) * p.row_stride +
                      t * p.tap_stride;
        for (int64_t n = 0; n < outputs.size(); ++n) {
          const float* const from = sums.data() + n * inputs.size();
          if (p.channel_stride == 1)
            narrow(from, inputs.size(), to + n * p.row_stride);
          else
            for (int64_t c = 0; c < inputs.size(); ++c)
              to[n * p.row_stride + c * p.channel_stride] = static_cast<T>(from[c]);
        }
      }
    }
  });
}
