// From a block of the weight to the right-hand side of its products: one matrix per tap.
#pragma once

#include "problem.h"

template <class T>
struct Taps {
  const T* data;
  int64_t tap_stride, ld;
  const T* tap(int64_t t) const { return data + t * tap_stride; }
};

// [rows, columns] -> [ceil(rows / 2), columns, 2], `ld_dst` pairs apart, as 16-bit brgemm wants it; a row is missing
// after an odd last one.
inline void pair_rows(int64_t rows, int64_t columns, const at::BFloat16* src, int64_t ld, at::BFloat16* dst,
                      int64_t ld_dst) {
  for (int64_t i = 0; i < rows; i += 2) {
    const auto* __restrict first = reinterpret_cast<const uint16_t*>(src + i * ld);
    const auto* __restrict second = reinterpret_cast<const uint16_t*>(src + (i + 1) * ld);
    auto* __restrict to = reinterpret_cast<uint32_t*>(dst + i * ld_dst);
    if (i + 1 < rows)
      for (int64_t c = 0; c < columns; ++c) to[c] = first[c] | static_cast<uint32_t>(second[c]) << 16;
    else
      for (int64_t c = 0; c < columns; ++c) to[c] = first[c];
  }
}

// [rows, columns] -> [ceil(columns / 2), rows, 2], `ld_dst` pairs apart: a transpose of pairs, 32-bit elements.
inline void pair_columns(int64_t rows, int64_t columns, const at::BFloat16* src, int64_t ld, at::BFloat16* dst,
                         int64_t ld_dst) {
  const int64_t pairs = ld % 2 == 0 ? columns / 2 : 0;
  transpose<float>(rows, pairs, reinterpret_cast<const float*>(src), ld / 2, reinterpret_cast<float*>(dst), ld_dst);
  for (int64_t k = 2 * pairs; k < even(columns); ++k)
    for (int64_t n = 0; n < rows; ++n)
      dst[(k / 2 * ld_dst + n) * 2 + k % 2] = k < columns ? src[n * ld + k] : at::BFloat16(0);
}

// Asks for a block before it is needed: its rows lie too far apart for the processor to foresee them. Into the second
// cache: the first is full of what is being multiplied.
template <class T>
void prefetch(const T* block, int64_t rows, int64_t elements, int64_t ld) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t k = 0; k < elements; k += line) __builtin_prefetch(block + n * ld + k, 0, 2);
}

// Packs into memory of the caller, `size()` elements for a block.
template <class T>
class Packer {
 public:
  explicit Packer(const Problem& p) : p_(p), by_tap_(is_half<T> && p.channel_stride != 1 ? size() : 0) {}

  int64_t size() const { return p_.taps() * even(p_.out_block) * even(p_.group_size); }

  // The block at `at` of a line, in convolution group q; the line's next one is asked for.
  template <bool backward>
  Taps<T> block(const T* weight, Lines lines, int64_t line, int64_t at, int64_t q, T* to) {
    const auto block_at = [&](int64_t at) {
      const int64_t slot = lines.slot ? lines.slot[at] : at;
      return weight + (backward ? p_.block_offset(lines.other[at], line, slot)
                                : p_.block_offset(line, lines.other[at], slot));
    };
    const int64_t j = backward ? lines.other[at] : line, g = backward ? line : lines.other[at];
    const Range outputs = outputs_of(p_, j, q), inputs = inputs_of(p_, g);
    if (at + 1 < lines.start[line + 1])
      prefetch(block_at(at + 1), outputs.size(), inputs.size() * p_.channel_stride, p_.row_stride);
    const T* const first = block_at(at) + (outputs.begin - j * p_.out_block) * p_.row_stride;
    return backward ? across(first, outputs.size(), inputs.size(), to) : down(first, outputs.size(), inputs.size(), to);
  }

  // Channels down, outputs across: what the forward multiplies pixels of x by.
  Taps<T> down(const T* block, int64_t outputs, int64_t channels, T* to) {
    if (!is_half<T> && p_.channel_stride != 1) {  // a channel's taps stay neighbours
      transpose<T>(outputs, channels * p_.taps(), block, p_.row_stride, to, outputs);
      return {to, outputs, p_.taps() * outputs};
    }
    const Taps<T> source = rows(block, outputs, channels, by_tap_.data());
    const int64_t tap = (is_half<T> ? even(channels) : channels) * outputs;
    for (int64_t t = 0; t < p_.taps(); ++t) {
      if constexpr (is_half<T>)
        pair_columns(outputs, channels, source.tap(t), source.ld, to + t * tap, outputs);
      else
        transpose<T>(outputs, channels, source.tap(t), source.ld, to + t * tap, outputs);
    }
    return {to, tap, outputs};
  }

  // Outputs down, channels across: what the input's gradient multiplies pixels of the output's gradient by.
  Taps<T> across(const T* block, int64_t outputs, int64_t channels, T* to) {
    if (!is_half<T> && p_.channel_stride != 1) return rows(block, outputs, channels, to);
    const Taps<T> source = rows(block, outputs, channels, by_tap_.data());
    const int64_t tap = (is_half<T> ? even(outputs) : outputs) * channels;
    for (int64_t t = 0; t < p_.taps(); ++t) {
      if constexpr (is_half<T>)
        pair_rows(outputs, channels, source.tap(t), source.ld, to + t * tap, channels);
      else  // Rows a power of two apart would push each other out of the cache.
        for (int64_t n = 0; n < outputs; ++n)
          std::memcpy(to + t * tap + n * channels, source.tap(t) + n * source.ld, channels * sizeof(T));
    }
    return {to, tap, channels};
  }

 private:
  // Per tap a matrix [outputs, channels] whose channels are neighbours; the weight itself where they are already.
  Taps<T> rows(const T* block, int64_t outputs, int64_t channels, T* to) const {
    if (p_.channel_stride == 1) return {block, p_.tap_stride, p_.row_stride};
    for (int64_t n = 0; n < outputs; ++n)
      transpose<T>(channels, p_.taps(), block + n * p_.row_stride, p_.channel_stride, to + n * p_.taps() * channels,
                   channels);
    return {to, channels, p_.taps() * channels};
  }

  const Problem& p_;
  Buffer<T> by_tap_;
};

// Whether many blocks read the same channels, `panel` at a time, which lie far apart: then these are brought together
// once.
inline bool better_in_panels(const Problem& p, int64_t pixels, int64_t channels, int64_t panel) {
  return p.linear() && pixels >= 64 && p.blocks * panel >= 4 * channels && channels > panel;
}

// [pixels, channels] -> [ceil(channels / width), pixels, width]: what a block reads lies together.
template <class T>
Buffer<T> panels(const T* source, int64_t pixels, int64_t channels, int64_t width) {
  constexpr int64_t piece = 16;
  const int64_t count = ceil_div(channels, width);
  Buffer<T> result(count * pixels * width);
  parallel(ceil_div(pixels, piece), [&](const auto& next) {
    for (int64_t task; (task = next()) >= 0;)
      for (int64_t c = 0; c < count; ++c)
        for (int64_t i = task * piece; i < std::min((task + 1) * piece, pixels); ++i)
          std::memcpy(result.data() + (c * pixels + i) * width, source + i * channels + c * width,
                      std::min(width, channels - c * width) * sizeof(T));
  });
  return result;
}
