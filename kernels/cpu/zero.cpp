// What is cut of a weight in dense storage: zeros, written in place. An autograd function of C++, since a small layer takes
// less time than one of Python.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

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

// Reads first: a weight's zeros are there nearly always, and its reader is next to fetch them.
void zero(char* first, int64_t size) {
  uint64_t bits = 0, word;
  int64_t at = 0;
  for (; at + 8 <= size; at += 8) {
    std::memcpy(&word, first + at, 8);
    bits |= word;
  }
  for (; at < size; ++at) bits |= static_cast<unsigned char>(first[at]);
  if (bits != 0) std::memset(first, 0, size);
}

// weight: [out, planes, in, run]; (1, taps) where the taps of a channel are neighbours, (taps, 1) where the channels of a
// tap are. Written in memory's order, not block by block: that took three times as long.
void zero_planes(const Tensor& weight, const Blocks& blocks, int64_t planes, int64_t run) {
  struct Range {
    int64_t begin, end;
  };
  constexpr int64_t little = 1 << 18;  // bytes, not worth a second thread
  const int64_t out = weight.size(0), in = weight.size(1), column_blocks = blocks.keep.size(0);
  const int64_t groups = blocks.keep.size(1), step = run * weight.element_size(), plane = in * step;
  char* const first = static_cast<char*>(weight.data_ptr());
  const bool* const keep = blocks.keep.const_data_ptr<bool>();
  const int64_t grain = std::max<int64_t>(1, little / std::max<int64_t>(1, blocks.out_block * planes * plane));
  at::parallel_for(0, column_blocks, grain, [&](int64_t begin, int64_t end) {
    std::vector<Range> cut;  // bytes of a plane
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
      const int64_t many = std::min(blocks.out_block, out - j * blocks.out_block) * planes;
      for (int64_t p = 0; p < many; ++p)
        for (const auto [from, to] : cut) zero(rows + p * plane + from, to - from);
    }
  });
}

// Whether it could be done in place: elements lie without gaps, in an order that is known here.
bool zero_in_place(const Tensor& weight, const Blocks& blocks) {
  if (!weight.device().is_cpu() || at::isTensorSubclassLike(weight)) return false;
  const int64_t taps = weight.dim() > 2 ? weight.numel() / std::max<int64_t>(1, weight.size(0) * weight.size(1)) : 1;
  if (weight.is_contiguous())
    zero_planes(weight, blocks, 1, taps);
  else if (weight.dim() == 2 && weight.t().is_contiguous())
    zero_planes(weight.t(), blocks.transposed(), 1, 1);
  else if (weight.dim() == 4 && weight.is_contiguous(at::MemoryFormat::ChannelsLast))
    zero_planes(weight, blocks, taps, 1);
  else
    return false;
  return true;
}

void zero_cut_(const Tensor& weight, const Tensor& keep, int64_t out_block, int64_t group_size) {
  const Blocks blocks{keep.contiguous(), out_block, group_size};
  if (!zero_in_place(weight, blocks)) weight.masked_fill_(blocks.mask_for(weight).logical_not(), 0);
}

// The identity; its gradient becomes zero where the weight is cut.
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
    if (gradient.defined() && (at::GradMode::is_enabled() || !zero_in_place(gradient, blocks)))
      gradient = gradient * blocks.mask_for(gradient);
    return {gradient, Tensor(), Tensor(), Tensor()};
  }
};

Tensor kept(const Tensor& weight, const Tensor& keep, int64_t out_block, int64_t group_size) {
  const Blocks blocks{keep.contiguous(), out_block, group_size};
  // Nothing that a graph has saved of the weight changes: it was saved with zeros there. So no new version is counted.
  if (!zero_in_place(weight.detach(), blocks)) return weight * blocks.mask_for(weight);
  return Kept::apply(weight, blocks.keep, out_block, group_size);
}

TORCH_LIBRARY_FRAGMENT(cannon, library) {
  library.def("zero_cut_(Tensor(a!) weight, Tensor keep, int out_block, int group_size) -> ()", zero_cut_);
  library.def("kept(Tensor weight, Tensor keep, int out_block, int group_size) -> Tensor", kept);
}

}  // namespace
