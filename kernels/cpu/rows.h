// Gradients of a linear layer for one to four rows, where there is nothing to reuse a weight for: each is read, or its
// gradient written, once and in memory's order.
#pragma once

#include "dots.h"

// The blocks of each column block, from lists along the channel groups.
struct ByColumnBlock {
  std::vector<int32_t> start, group, slot;

  ByColumnBlock(const Problem& p, Lines lines) : start(p.column_blocks + 1), group(p.blocks), slot(p.blocks) {
    for (int64_t at = 0; at < p.blocks; ++at) ++start[lines.other[at] + 1];
    std::partial_sum(start.begin(), start.end(), start.begin());
    std::vector<int32_t> next = start;
    for (int64_t g = 0; g < p.channel_groups; ++g)
      for (int64_t at = lines.start[g]; at < lines.start[g + 1]; ++at) {
        const int32_t place = next[lines.other[at]]++;
        group[place] = static_cast<int32_t>(g);
        slot[place] = lines.slot[at];
      }
  }
};

// sums [rows, in_channels] += the products of output channels n .. n + `outputs` - 1 of column block j.
template <class T, int outputs>
void add_rows(const Problem& p, const ByColumnBlock& blocks, int64_t j, int64_t n, const T* grad_out, const T* weight,
              float* sums) {
  for (int32_t at = blocks.start[j]; at < blocks.start[j + 1]; ++at) {
    const Range inputs = inputs_of(p, blocks.group[at]);
    const T* const from =
        weight + p.block_offset(j, blocks.group[at], blocks.slot[at]) + (n - j * p.out_block) * p.row_stride;
    for (int64_t c = 0; c < inputs.size(); c += lanes) {
      const int64_t count = std::min(lanes, inputs.size() - c);
      Vector factors[outputs];
      for (int i = 0; i < outputs; ++i) factors[i] = load(from + i * p.row_stride + c, count);
      for (int64_t m = 0; m < p.out_width; ++m) {
        float* const to = sums + m * p.in_channels + inputs.begin + c;
        Vector sum = Vector::loadu(to, count);
        for (int i = 0; i < outputs; ++i) {
          const Vector by(static_cast<float>(grad_out[m * p.out_channels + n + i]));
          sum = at::vec::fmadd(factors[i], by, sum);
        }
        sum.store(to, static_cast<int>(count));
      }
    }
  }
}

// Multiples of the weight's rows, added up as they lie.
template <class T>
void grad_input_rows(const Problem& p, const T* grad_out, const T* weight, Lines lines, T* result) {
  constexpr int together = 4;
  const ByColumnBlock blocks(p, lines);
  // As many shares on every machine, so that sums are the same bits.
  const int64_t shares = std::min<int64_t>(8, p.column_blocks), size = p.out_width * p.in_channels;
  const Buffer<float> sums(shares * size);
  const auto first_of = [&](int64_t share) {
    const auto place = std::lower_bound(blocks.start.begin(), blocks.start.end() - 1, share * p.blocks / shares);
    return share == shares ? p.column_blocks : place - blocks.start.begin();
  };
  parallel(shares, [&](const auto& next) {
    for (int64_t share; (share = next()) >= 0;) {
      float* const own = sums.data() + share * size;
      std::fill_n(own, size, 0.0f);
      for (int64_t j = first_of(share); j < first_of(share + 1); ++j) {
        const Range outputs = outputs_of(p, j, 0);
        int64_t n = outputs.begin;
        for (; n + together <= outputs.end; n += together)
          add_rows<T, together>(p, blocks, j, n, grad_out, weight, own);
        for (; n < outputs.end; ++n) add_rows<T, 1>(p, blocks, j, n, grad_out, weight, own);
      }
    }
  });
  for (int64_t share = 1; share < shares; ++share)
    for (int64_t i = 0; i < size; ++i) sums.data()[i] += sums.data()[share * size + i];
  finish(sums.data(), static_cast<const T*>(nullptr), Activation::none, size, result);
}

// Weight gradient in dense storage for as few rows: written in memory's order, zeros where cut.
template <class T>
void grad_weight_rows(const Problem& p, const T* grad_out, const T* x, const int32_t* block_of, T* grad_weight) {
  const std::vector<int64_t> first = first_slots(p, block_of);
  prefer_large_pages(grad_weight, p.out_channels * p.row_stride * sizeof(T));
  parallel(p.column_blocks, [&](const auto& next) {
    for (int64_t j; (j = next()) >= 0;) {
      const Range outputs = outputs_of(p, j, 0);
      for (int64_t n = outputs.begin; n < outputs.end; ++n) {
        T* const to = grad_weight + n * p.row_stride;
        int64_t done = 0;
        for (int64_t slot = first[j]; slot < first[j + 1]; ++slot) {
          const Range inputs = inputs_of(p, block_of[2 * slot + 1]);
          std::fill(to + done, to + inputs.begin, T(0));
          for (int64_t c = inputs.begin; c < inputs.end; c += lanes) {
            const int64_t count = std::min(lanes, inputs.end - c);
            Vector sum(0.0f);
            for (int64_t m = 0; m < p.out_width; ++m) {
              const Vector by(static_cast<float>(grad_out[m * p.out_channels + n]));
              sum = at::vec::fmadd(load(x + m * p.in_channels + c, count), by, sum);
            }
            store(sum, to + c, count);
          }
          done = inputs.end;
        }
        std::fill(to + done, to + p.in_channels, T(0));
      }
    }
  });
}
