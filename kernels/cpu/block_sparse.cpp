// The library's functions. Each returns an error's text, or null. `half`: all arrays are bfloat16, else float.
#include "dots.h"
#include "gather.h"
#include "linear.h"
#include "outer.h"

#include <string>

namespace {

template <class Call>
const char* caught(const Call& call) {
  static thread_local std::string text;
  try {
    call();
    return nullptr;
  } catch (const std::exception& error) {
    text = error.what();
    return text.c_str();
  }
}

template <class T>
void forward(const Problem& p, const void* x, const void* weight, const void* bias, Lines lines, Activation activation,
             void* result) {
  const bool linear = p.images * p.height == 1 && p.taps() == 1 && p.conv_groups == 1 && p.width == p.out_width;
  const auto compute = !linear ? gather<T, false> : p.width <= dot_rows ? forward_dots<T> : forward_linear<T>;
  compute(p, static_cast<const T*>(x), static_cast<const T*>(weight), static_cast<const T*>(bias), lines, activation,
          static_cast<T*>(result));
}

}  // namespace

extern "C" {

const char* cannon_forward(const Problem* p, int half, const void* x, const void* weight, const void* bias,
                           const int32_t* row_start, const int32_t* row_group, int64_t activation, void* result) {
  return caught([&] {
    const auto compute = half ? forward<at::BFloat16> : forward<float>;
    compute(*p, x, weight, bias, {row_start, row_group, nullptr}, static_cast<Activation>(activation), result);
  });
}

const char* cannon_grad_input(const Problem* p, int half, const void* grad_out, const void* weight,
                              const int32_t* col_start, const int32_t* col_block, const int32_t* col_slot,
                              void* result) {
  return caught([&] {
    const Lines lines{col_start, col_block, col_slot};
    if (half)
      gather<at::BFloat16, true>(*p, static_cast<const at::BFloat16*>(grad_out),
                                 static_cast<const at::BFloat16*>(weight), nullptr, lines, Activation::none,
                                 static_cast<at::BFloat16*>(result));
    else
      gather<float, true>(*p, static_cast<const float*>(grad_out), static_cast<const float*>(weight), nullptr, lines,
                          Activation::none, static_cast<float*>(result));
  });
}

const char* cannon_grad_weight(const Problem* p, int half, const void* grad_out, const void* x,
                               const int32_t* block_of, void* result) {
  return caught([&] {
    if (half)
      outer(*p, static_cast<const at::BFloat16*>(grad_out), static_cast<const at::BFloat16*>(x), block_of,
            static_cast<at::BFloat16*>(result));
    else
      outer(*p, static_cast<const float*>(grad_out), static_cast<const float*>(x), block_of,
            static_cast<float*>(result));
  });
}

}  // extern "C"
