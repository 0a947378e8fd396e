// What is cut of a weight in dense storage: zeros, written in place. An autograd function of C++, since a small layer takes
// less time than one of Python.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <atomic>
#include <cstring>

namespace {

using at::Tensor;

// keep: [column blocks, channel groups], whether a block is kept.
struct Blocks {
  Tensor keep;
  int64_t out_block, group_size;

  Blocks transposed() const { return {keep.t().contiguous(), group_size, out_block}; }

  // The mask of a weight, [out, in, 1 ...].
  Tensor mask_for(const Tensor& weight) const {
    const Tensor rows = keep.repeat_interleave(out_block, 0).slice(0, 0, weight.size(0));
    Tensor mask = rows.repeat_interleave(group_size, 1).slice(1, 0, weight.size(1));
    while (mask.dim() < weight.dim()) mask = mask.unsqueeze(-1);
    return mask;
  }
};

// Whether anything had to be written. Reads first: a weight's zeros are there nearly always, and its reader is next to
// fetch them.
bool zero(char* first, int64_t size) {
  uint64_t bits = 0, word;
  int64_t at = 0;
  for (; at + 8 <= size; at += 8) {
    std::memcpy(&word, first + at, 8);
    bits |= word;
  }
  for (; at < size; ++at) bits |= static_cast<unsigned char>(first[at]);
  if (bits != 0) std::memset(first, 0, size);
  return bits != 0;
}

// Whether anything had to be written. In memory `weight` is [out, planes, in, run]: (1, taps) where the taps of a channel
// are neighbours, (taps, 1) where the channels of a tap are. In memory's order, not block by block: that took three times
// as long.
bool zero_planes(const Tensor& weight, const Blocks& blocks, int64_t planes, int64_t run) {
  struct Range {
    int64_t begin, end;
  };
  constexpr int64_t bytes_per_task = 1 << 18;
  const int64_t out = weight.size(0), in = weight.size(1), column_blocks = blocks.keep.size(0);
  const int64_t groups = blocks.keep.size(1), step = run * weight.element_size(), plane = in * step;
  char* const first = static_cast<char*>(weight.data_ptr());
  const bool* const keep = blocks.keep.const_data_ptr<bool>();
  const int64_t grain = std::max<int64_t>(1, bytes_per_task / std::max<int64_t>(1, blocks.out_block * planes * plane));
  std::atomic<bool> written{false};
  at::parallel_for(0, column_blocks, grain, [&](int64_t begin, int64_t end) {
    std::vector<Range> cut;  // bytes of a plane
    bool any = false;
    for (int64_t j = begin; j < end; ++j) {
      cut.clear();
      for (int64_t g = 0; g < groups; ++g) {
        if (keep[j * groups + g]) continue;
        const int64_t from = g * blocks.group_size * step, to = std::min((g + 1) * blocks.group_size, in) * step;
        if (!cut.empty() && cut.back().end == from)
          cut.back().end = to;
        else
          cut.push_back({from, to});
      }
      char* const rows = first + j * blocks.out_block * planes * plane;
      const int64_t planes_here = std::min(blocks.out_block, out - j * blocks.out_block) * planes;
      for (int64_t p = 0; p < planes_here; ++p)
        for (const auto [from, to] : cut) any |= zero(rows + p * plane + from, to - from);
    }
    if (any) written = true;
  });
  return written;
}

enum class Outcome { unchanged, written, impossible };

// Impossible where elements lie with gaps or in an order that is not known here.
Outcome try_zero_(const Tensor& weight, const Blocks& blocks) {
  if (!weight.device().is_cpu() || at::isTensorSubclassLike(weight)) return Outcome::impossible;
  const int64_t taps = weight.dim() > 2 ? weight.numel() / std::max<int64_t>(1, weight.size(0) * weight.size(1)) : 1;
  bool written;
  if (weight.is_contiguous())
    written = zero_planes(weight, blocks, 1, taps);
  else if (weight.dim() == 2 && weight.t().is_contiguous())
    written = zero_planes(weight.t(), blocks.transposed(), 1, 1);
  else if (weight.dim() == 4 && weight.is_contiguous(at::MemoryFormat::ChannelsLast))
    written = zero_planes(weight, blocks, taps, 1);
  else
    return Outcome::impossible;
  return written ? Outcome::written : Outcome::unchanged;
}

Tensor masked(const Tensor& weight, const Blocks& blocks) {
  return at::where(blocks.mask_for(weight), weight, at::zeros({}, weight.options()));
}

void count_version(const Tensor& weight, Outcome outcome) {
  if (outcome == Outcome::written && !weight.is_inference()) weight.unsafeGetTensorImpl()->bump_version();
}

void zero_cut_(const Tensor& weight, const Tensor& keep, int64_t out_block, int64_t group_size) {
  const Blocks blocks{keep.contiguous(), out_block, group_size};
  const Outcome outcome = try_zero_(weight, blocks);
  if (outcome == Outcome::impossible) weight.masked_fill_(blocks.mask_for(weight).logical_not(), 0);
  count_version(weight, outcome);
}

// The same values; the gradient becomes zero where the weight is cut.
struct Kept : torch::autograd::Function<Kept> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& weight, const Tensor& keep,
                        int64_t out_block, int64_t group_size) {
    context->saved_data["keep"] = keep;
    context->saved_data["sizes"] = std::vector<int64_t>{out_block, group_size};
    return weight.view_as(weight);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto sizes = context->saved_data["sizes"].toIntVector();
    const Blocks blocks{context->saved_data["keep"].toTensor(), sizes[0], sizes[1]};
    Tensor gradient = gradients[0];
    // A gradient of second order needs the first one as it was.
    if (gradient.defined() &&
        (at::GradMode::is_enabled() || try_zero_(gradient, blocks) == Outcome::impossible))
      gradient = masked(gradient, blocks);
    return {gradient, Tensor(), Tensor(), Tensor()};
  }
};

// Zeroes the weight itself. Its zeros being there, as they nearly always are, nothing is written and no version counted:
// graphs may have saved it.
Tensor kept_(const Tensor& weight, const Tensor& keep, int64_t out_block, int64_t group_size) {
  const Blocks blocks{keep.contiguous(), out_block, group_size};
  const Outcome outcome = try_zero_(weight.detach(), blocks);
  if (outcome == Outcome::impossible) return masked(weight, blocks);
  count_version(weight, outcome);
  return Kept::apply(weight, blocks.keep, out_block, group_size);
}

TORCH_LIBRARY_FRAGMENT(cannon, library) {
  library.def("zero_cut_(Tensor(a!) weight, Tensor keep, int out_block, int group_size) -> ()", zero_cut_);
  library.def("kept_(Tensor weight, Tensor keep, int out_block, int group_size) -> Tensor", kept_);
}

}  // namespace
