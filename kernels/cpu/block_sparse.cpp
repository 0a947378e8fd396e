// The library's functions. Each returns an error's text, or null. `half`: all arrays are bfloat16, else float.
#include "dots.h"
#include "gather.h"
#include "gather_half.h"
#include "linear.h"
#include "outer_direct.h"
#include "outer_linear.h"
#include "rows.h"

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

template <bool backward, class T>
void gathered(const Problem& p, const T* source, const T* weight, const T* bias, Lines lines, Activation activation,
              T* result) {
  if constexpr (is_half<T>)
    gather_half<backward>(p, source, weight, bias, lines, activation, result);
  else
    gather<backward>(p, source, weight, bias, lines, activation, result);
}

template <class T>
void forward(const Problem& p, const void* x, const void* weight, const void* bias, Lines lines, Activation activation,
             void* result) {
  const auto compute = !p.linear() ? gathered<false, T> : p.width <= dot_rows ? forward_dots<T> : forward_linear<T>;
  compute(p, static_cast<const T*>(x), static_cast<const T*>(weight), static_cast<const T*>(bias), lines, activation,
          static_cast<T*>(result));
}

template <class T>
void grad_input(const Problem& p, const void* grad_out, const void* weight, Lines lines, void* result) {
  const T *from = static_cast<const T*>(grad_out), *by = static_cast<const T*>(weight);
  if (p.linear() && p.width <= dot_rows)
    grad_input_rows(p, from, by, lines, static_cast<T*>(result));
  else
    gathered<true, T>(p, from, by, nullptr, lines, Activation::none, static_cast<T*>(result));
}

template <class T>
void grad_weight(const Problem& p, const void* grad_out, const void* x, const int32_t* block_of, void* result) {
  // With more rows a block's products take so long that it matters little in which order their sums are written.
  constexpr int64_t few = 512;
  const auto in_order = p.width <= dot_rows ? grad_weight_rows<T> : outer_linear<T>;
  if constexpr (!is_half<T>)
    if (outer_is_direct(p))
      return outer_direct(p, static_cast<const T*>(grad_out), static_cast<const T*>(x), block_of,
                          static_cast<T*>(result));
  const auto compute = p.linear() && !p.packed && p.width <= few ? in_order : outer<T>;
  compute(p, static_cast<const T*>(grad_out), static_cast<const T*>(x), block_of, static_cast<T*>(result));
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
    const auto compute = half ? grad_input<at::BFloat16> : grad_input<float>;
    compute(*p, grad_out, weight, {col_start, col_block, col_slot}, result);
  });
}

const char* cannon_grad_weight(const Problem* p, int half, const void* grad_out, const void* x,
                               const int32_t* block_of, void* result) {
  return caught([&] {
    const auto compute = half ? grad_weight<at::BFloat16> : grad_weight<float>;
    compute(*p, grad_out, x, block_of, result);
  });
}

}  // extern "C"
