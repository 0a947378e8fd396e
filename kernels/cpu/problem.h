// The shape of one call, and what every kernel shares: brgemm, threads, transposed copies.
//
// A linear layer is a 1x1 convolution of one image of 1 x M pixels, so there is one set of kernels for both.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/native/CPUBlas.h>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <type_traits>
#include <vector>

// The same fields in the same order as Problem in brgemm.py.
struct Problem {
  int64_t images, height, width, out_height, out_width;
  int64_t in_channels, out_channels, conv_groups;
  int64_t taps_h, taps_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  int64_t out_block, group_size, column_blocks, channel_groups, blocks;
  // A weight's element (n, c, tap) lies at n * row_stride + c * channel_stride + tap * tap_stride: either the channels
  // of a tap or the taps of a channel are neighbours.
  int64_t packed, row_stride, channel_stride, tap_stride;

  int64_t taps() const { return taps_h * taps_w; }
  bool linear() const {
    return images * height * out_height == 1 && taps() == 1 && conv_groups == 1 && width == out_width &&
           padding_h + padding_w == 0;
  }
  int64_t group_in() const { return in_channels / conv_groups; }
  int64_t group_out() const { return out_channels / conv_groups; }

  // Where block (j, g), the slot-th kept one, begins in a weight.
  int64_t block_offset(int64_t j, int64_t g, int64_t slot) const {
    return packed ? slot * out_block * row_stride : j * out_block * row_stride + g * group_size * channel_stride;
  }
};

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

inline Range intersect(Range a, Range b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

// Output channels of column block j inside convolution group q; may be empty.
inline Range outputs_of(const Problem& p, int64_t j, int64_t q) {
  return intersect({j * p.out_block, (j + 1) * p.out_block}, {q * p.group_out(), (q + 1) * p.group_out()});
}

// Channels of channel group g, counted inside a convolution group.
inline Range inputs_of(const Problem& p, int64_t g) {
  return {g * p.group_size, std::min((g + 1) * p.group_size, p.group_in())};
}

// The index lists of pattern.py along column blocks or along channel groups. slot: null where it is the place itself.
struct Lines {
  const int32_t *start, *other, *slot;
};

// Where the blocks of each column block begin in CSR order, and where the last ones end.
inline std::vector<int64_t> first_slots(const Problem& p, const int32_t* block_of) {
  std::vector<int64_t> first(p.column_blocks + 1);
  for (int64_t slot = 0; slot < p.blocks; ++slot) ++first[block_of[2 * slot] + 1];
  std::partial_sum(first.begin(), first.end(), first.begin());
  return first;
}

// The longest lines first, so that the threads end together.
inline std::vector<int32_t> longest_first(Lines lines, int64_t count) {
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](int32_t line) { return lines.start[line + 1] - lines.start[line]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return length(a) > length(b); });
  return order;
}

template <class T>
constexpr bool is_half = std::is_same_v<T, at::BFloat16>;

inline int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }  // b > 0

inline int64_t even(int64_t n) { return n + (n & 1); }

// C [m, n] += A [m, k] B [k, n], fp32 sums. A 16-bit B holds pairs of rows: [ceil(k / 2), n, 2], and ldb counts
// pairs. oneDNN makes a kernel per shape and keeps it: m and k come in pieces, so that there are few shapes.
template <class T>
void multiply(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, float* c,
              int64_t ldc) {
  constexpr int64_t rows = 64, depth = 128;
  for (int64_t k0 = 0; k0 < k; k0 += depth)
    for (int64_t m0 = 0; m0 < m; m0 += rows)
      at::native::cpublas::brgemm(std::min(rows, m - m0), n, std::min(depth, k - k0), lda, ldb, ldc, true,
                                  a + m0 * lda + k0, b + k0 * ldb, c + m0 * ldc);
}

// Asks for large pages. Of a fresh 64 MB the first touch alone takes 30 ms in pages of 4 KB, and 4 ms in those of 2 MB.
inline void prefer_large_pages(void* data, size_t bytes) {
  constexpr uintptr_t page = 2 << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

// Scratch memory, not initialised.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t size) {
    const size_t bytes = (size * sizeof(T) + 63) / 64 * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, std::max<size_t>(bytes, 64))));
    if (!data_) throw std::bad_alloc();
    prefer_large_pages(data_.get(), bytes);
  }
  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
};

// Scratch memory that a thread keeps: fresh pages cost more than what is done with them here.
template <class T, int place>
T* scratch(int64_t size) {
  static thread_local Buffer<T> kept(0);
  static thread_local int64_t kept_size = 0;
  if (size > kept_size) {
    kept = Buffer<T>(size);  // which may throw
    kept_size = size;
  }
  return kept.data();
}

// Runs work(next) on every thread; next() gives the tasks 0 .. tasks - 1 one by one, then -1: uneven tasks balance.
template <class Work>
void parallel(int64_t tasks, const Work& work) {
  std::atomic<int64_t> taken{0};
  auto next = [&]() -> int64_t {
    const int64_t task = taken.fetch_add(1, std::memory_order_relaxed);
    return task < tasks ? task : -1;
  };
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), tasks), 1, [&](int64_t, int64_t) {
    work(next);
    at::native::cpublas::brgemm_release();
  });
}

// dst [columns, rows] = src [rows, columns] transposed.
template <class T>
void transpose(int64_t rows, int64_t columns, const T* src, int64_t ld_src, T* dst, int64_t ld_dst) {
#if defined(CPU_CAPABILITY_AVX512)
  constexpr int64_t tile = sizeof(T) == 4 ? 16 : 32;
#else
  constexpr int64_t tile = 8;
#endif
  for (int64_t i = 0; i < rows; i += tile)
    for (int64_t k = 0; k < columns; k += tile) {
      const int64_t m = std::min(tile, rows - i), n = std::min(tile, columns - k);
      const T* from = src + i * ld_src + k;
      T* to = dst + k * ld_dst + i;
#if defined(CPU_CAPABILITY_AVX512)
      at::vec::transpose_mxn<T>(from, ld_src, to, ld_dst, static_cast<int>(m), static_cast<int>(n));
#else
      for (int64_t y = 0; y < m; ++y)
        for (int64_t x = 0; x < n; ++x) to[x * ld_dst + y] = from[y * ld_src + x];
#endif
    }
}
