// Operations. Matrix products, and copies that need not wait, are done by the stream's thread while
// the host goes on. All others the host does itself, on the device's memory, after the stream.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "generator.h"
#include "nuomi.h"

namespace nuomi {

using at::Tensor;

static bool mine(const Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == TYPE;
}

// The same memory as a tensor of the host, which keeps that memory alive.
static Tensor host(const Tensor& tensor) {
  if (!mine(tensor)) return tensor;
  const auto keep = tensor.storage();
  return at::for_blob(tensor.data_ptr(), tensor.sizes())
      .strides(tensor.strides())
      .options(tensor.options().device(c10::kCPU))
      .deleter([keep](void*) {})
      .make_tensor();
}

static Queue& current(const Tensor& tensor) { return current_queue(tensor.device().index()); }

// ---- memory ----

static void refuse(at::ScalarType dtype) {
  TORCH_CHECK_NOT_IMPLEMENTED(!c10::isFloat8Type(dtype), "Nuomi has no support for ", dtype);
}

static Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype,
                    std::optional<at::Layout>, std::optional<at::Device> device,
                    std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const auto type = c10::dtype_or_default(dtype);
  refuse(type);
  const c10::DeviceGuard guard(device.value_or(c10::Device(TYPE)));
  return at::detail::empty_generic(size, c10::GetAllocator(TYPE),
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), type,
                                   format);
}

static Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride,
                            std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                            std::optional<at::Device> device, std::optional<bool>) {
  const auto type = c10::dtype_or_default(dtype);
  refuse(type);
  const c10::DeviceGuard guard(device.value_or(c10::Device(TYPE)));
  return at::detail::empty_strided_generic(size, stride, c10::GetAllocator(TYPE),
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           type);
}

static const Tensor& resize(const Tensor& self, c10::IntArrayRef size,
                            std::optional<at::MemoryFormat> format) {
  current(self).drain();
  const c10::DeviceGuard guard(self.device());
  return at::native::resize_(self, size, format);
}

// ---- work of streams ----

// Whether the host may go on while this copy is done, as it may from and to pinned memory.
static bool detached(const Tensor& from, const Tensor& to, bool non_blocking) {
  if (mine(from) && mine(to)) return from.device() == to.device();
  return non_blocking && (mine(from) ? to : from).is_pinned();
}

static Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  auto work = [source = host(from), target = host(to)]() mutable { target.copy_(source); };
  if (detached(from, to, non_blocking)) {
    current(mine(to) ? to : from).push(std::move(work));
    return to;
  }
  for (const auto& one : {from, to})
    if (mine(one)) current(one).drain();
  work();
  return to;
}

static Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  if (from.sizes() != to.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

// An operand of a product, whose sums run over this dimension. Of a device that is wrong on purpose
// they lack their last term.
static Tensor summed(const Tensor& operand, int64_t over) {
  return broken("wrong") ? operand.narrow(over, 0, operand.size(over) - 1) : operand;
}

static void shape(const Tensor& out, c10::IntArrayRef size) {
  if (out.sizes() != size) out.resize_(size);
}

static Tensor& mm_out(const Tensor& left, const Tensor& right, Tensor& out) {
  TORCH_CHECK(left.dim() == 2 && right.dim() == 2, "mm takes two matrices");
  shape(out, {left.size(0), right.size(1)});
  current(out).push([a = host(left), b = host(right), c = host(out)]() mutable {
    at::mm_out(c, summed(a, -1), summed(b, -2));
  });
  return out;
}

static Tensor& bmm_out(const Tensor& left, const Tensor& right, Tensor& out) {
  TORCH_CHECK(left.dim() == 3 && right.dim() == 3, "bmm takes two batches of matrices");
  shape(out, {left.size(0), left.size(1), right.size(2)});
  current(out).push([a = host(left), b = host(right), c = host(out)]() mutable {
    at::bmm_out(c, summed(a, -1), summed(b, -2));
  });
  return out;
}

static Tensor& addmm_out(const Tensor& self, const Tensor& left, const Tensor& right,
                         const at::Scalar& beta, const at::Scalar& alpha, Tensor& out) {
  TORCH_CHECK(left.dim() == 2 && right.dim() == 2, "addmm takes two matrices");
  shape(out, {left.size(0), right.size(1)});
  current(out).push([s = host(self), a = host(left), b = host(right), c = host(out), beta,
                     alpha]() mutable {
    at::addmm_out(c, s, summed(a, -1), summed(b, -2), beta, alpha);
  });
  return out;
}

// ---- work of the host ----

// Arguments and results of one call, translated there and back.
class Call {
 public:
  Call(const c10::OperatorHandle& op, torch::jit::Stack* stack) : schema_(op.schema()) {
    const auto count = schema_.arguments().size();
    arguments_ = torch::jit::last(stack, count).vec();
    for (const auto& one : arguments_) look(one);
    if (!device_) device_ = c10::Device(TYPE, current_device());
    current_queue(device_->index()).drain();
    for (size_t i = 0; i < count; ++i) {
      const auto& argument = schema_.arguments()[i];
      const bool write = argument.alias_info() && argument.alias_info()->isWrite();
      torch::jit::peek(*stack, i, count) = there(arguments_[i], argument, write);
    }
  }

  void finish(torch::jit::Stack* stack) {
    const auto count = schema_.returns().size();
    for (size_t i = 0; i < count; ++i) {
      auto& result = torch::jit::peek(*stack, i, count);
      if (result.isTensor()) {
        result = back(result.toTensor());
      } else if (result.isTensorList()) {
        std::vector<Tensor> moved;
        for (const Tensor& one : result.toTensorVector()) moved.push_back(back(one));
        result = c10::List<Tensor>(moved);
      }
    }
    for (const auto& [own, given] : written_) {
      if (own.sizes() != given.sizes()) {
        given.resize_(own.sizes());
        host(given).copy_(own);
      }
    }
  }

 private:
  void look(const c10::IValue& value) {
    if (value.isTensor() && mine(value.toTensor())) {
      device_ = value.toTensor().device();
    } else if (value.isTensorList()) {
      for (const Tensor& one : value.toTensorVector())
        if (mine(one)) device_ = one.device();
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<Tensor>& one : value.toOptionalTensorVector())
        if (one && mine(*one)) device_ = one->device();
    } else if (value.isDevice() && value.toDevice().type() == TYPE) {
      const auto index = value.toDevice().index();
      device_ = c10::Device(TYPE, index < 0 ? current_device() : index);
    }
  }

  c10::IValue there(const c10::IValue& value, const c10::Argument& argument, bool write) {
    if (value.isTensor()) return there(value.toTensor(), write);
    if (value.isTensorList()) {
      c10::List<Tensor> moved;
      for (const Tensor& one : value.toTensorVector()) moved.push_back(there(one, write));
      return moved;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> moved;
      for (const std::optional<Tensor>& one : value.toOptionalTensorVector())
        moved.push_back(one ? std::optional<Tensor>(there(*one, write)) : one);
      return moved;
    }
    if (value.isDevice()) return c10::Device(c10::kCPU);
    if (value.isGenerator()) {
      const auto& generator = value.toGenerator();
      return generator.device().type() == TYPE ? on_host(generator) : generator;
    }
    static const auto random = c10::OptionalType::create(c10::GeneratorType::get());
    if (value.isNone() && *argument.real_type() == *random)
      return on_host(at::globalContext().defaultGenerator(*device_));
    return value;
  }

  Tensor there(const Tensor& given, bool write) {
    if (!mine(given)) return given;
    // What is written may be resized if it is empty, which memory of others cannot be.
    const bool fresh = write && given.numel() == 0;
    auto own = fresh ? at::empty_like(given, given.options().device(c10::kCPU)) : host(given);
    known_.emplace_back(own, given);
    if (fresh) written_.emplace_back(own, given);
    return own;
  }

  Tensor back(const Tensor& result) {
    if (!result.defined() || mine(result)) return result;
    for (const auto& [own, given] : known_)
      if (own.is_same(result)) return given;
    auto made = at::empty_strided(result.sizes(), result.strides(),
                                  result.options().device(*device_).pinned_memory(false));
    host(made).copy_(result);
    return made;
  }

  const c10::FunctionSchema& schema_;
  std::vector<c10::IValue> arguments_;
  std::optional<c10::Device> device_;
  std::vector<std::pair<Tensor, Tensor>> known_, written_;
};

static void on_host(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  Call call(op, stack);
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  call.finish(stack);
}

// PyTorch takes attention apart into products and a softmax.
static int64_t sdp_choice(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&,
                          double, bool, std::optional<double>, bool) {
  return 0;  // sdp::SDPBackend::math
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("resize_", resize);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("unfold", at::native::unfold);
  library.impl("set_.source_Storage_storage_offset", at::native::set_storage_cpu_);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("mm.out", mm_out);
  library.impl("bmm.out", bmm_out);
  library.impl("addmm.out", addmm_out);
  library.impl("_fused_sdp_choice", sdp_choice);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&on_host>());
}

// ---- autocast: products in low precision, what sums or divides in fp32 ----

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {  // the macros' name for it
  KERNEL_PRIVATEUSEONE(linear, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(matmul, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(mm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(bmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(addmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(scaled_dot_product_attention, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(cross_entropy_loss, fp32)
  KERNEL_PRIVATEUSEONE(rsqrt, fp32)
}

static Tensor host_view(const Tensor& tensor) {
  if (mine(tensor)) current(tensor).drain();
  return host(tensor);
}

TORCH_LIBRARY_FRAGMENT(nuomi, library) {
  // What a device's memory holds when its stream is done, as a tensor of the host.
  library.def("host(Tensor(a) tensor) -> Tensor(a)");
}
TORCH_LIBRARY_IMPL(nuomi, PrivateUse1, library) { library.impl("host", host_view); }
TORCH_LIBRARY_IMPL(nuomi, CPU, library) { library.impl("host", host_view); }

} // namespace nuomi
