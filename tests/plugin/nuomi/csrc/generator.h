// Random numbers are the host's: a device's generator is one of the host under another name.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>

#include "nuomi.h"

namespace nuomi {

struct Generator final : c10::GeneratorImpl {
  at::Generator host;

  explicit Generator(c10::DeviceIndex device,
                     at::Generator from = at::make_generator<at::CPUGeneratorImpl>())
      : c10::GeneratorImpl({TYPE, device}, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
        host(std::move(from)) {}

  static c10::DeviceType device_type() { return TYPE; }
  void set_current_seed(uint64_t seed) override { host.set_current_seed(seed); }
  uint64_t current_seed() const override { return host.current_seed(); }
  uint64_t seed() override { return host.seed(); }
  void set_offset(uint64_t offset) override { host.set_offset(offset); }
  uint64_t get_offset() const override { return host.unsafeGetGeneratorImpl()->get_offset(); }
  void set_state(const c10::TensorImpl& state) override {
    host.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return host.unsafeGetGeneratorImpl()->get_state();
  }
  Generator* clone_impl() const override { return new Generator(device_.index(), host.clone()); }
};

// The host's generator that a device's stands for.
at::Generator on_host(const at::Generator& generator);

} // namespace nuomi
