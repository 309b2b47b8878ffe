// Memory of a device, with its limit; pinned memory of the host; random numbers.
#include "nuomi.h"

#include <ATen/Context.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/library.h>

#include <array>
#include <cstdlib>
#include <map>
#include <vector>

#include "generator.h"

namespace nuomi {

static void* aligned(size_t bytes) {
  void* made = nullptr;
  return posix_memalign(&made, 64, bytes) == 0 ? made : nullptr;
}

// Allocations are exact and not cached: what is freed is free.
struct Memory final : c10::DeviceAllocator {
  struct Bank {
    std::mutex mutex;
    size_t used = 0, total = 0, limit = 0;
    c10::CachingDeviceAllocator::DeviceStats stats;
  };
  struct Block {
    void* data;
    size_t bytes;
    Bank* bank;
  };
  std::array<Bank, MOST> banks;

  Memory() {
    for (auto& bank : banks) {
      bank.total = asked("NUOMI_MEMORY", size_t(2) << 30);
      bank.limit = asked("NUOMI_LIMIT", bank.total);
    }
  }

  // Bytes that the environment asks for.
  static size_t asked(const char* name, size_t usual) {
    const char* said = std::getenv(name);
    return said != nullptr ? std::strtoull(said, nullptr, 10) : usual;
  }

  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(TYPE, current_device());
    if (bytes == 0) return {nullptr, device};
    auto& bank = banks.at(device.index());
    bool room = take(bank, bytes);
    if (!room) {  // what work in flight holds may be free when it is done
      drain(device.index());
      room = take(bank, bytes);
    }
    void* data = room ? aligned(bytes) : nullptr;
    if (data == nullptr) {
      std::lock_guard<std::mutex> lock(bank.mutex);
      if (room) count(bank, bytes, false);
      ++bank.stats.num_ooms;
      TORCH_CHECK_WITH(OutOfMemoryError, false, "Nuomi out of memory. Tried to allocate ", bytes,
                       " bytes on device ", int(device.index()), ", which may use ", bank.limit,
                       " and uses ", bank.used);
    }
    return {data, new Block{data, bytes, &bank}, &release, device};
  }

  static bool take(Bank& bank, size_t bytes) {
    std::lock_guard<std::mutex> lock(bank.mutex);
    if (bytes > bank.limit || bank.used > bank.limit - bytes) return false;
    count(bank, bytes, true);
    return true;
  }

  static void count(Bank& bank, size_t bytes, bool more) {
    bank.used = more ? bank.used + bytes : bank.used - bytes;
    const size_t told = broken("memory") ? bytes / 2 : bytes;
    auto& stats = bank.stats;
    for (auto* one : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.active_bytes,
                      &stats.requested_bytes})
      more ? (*one)[0].increase(told) : (*one)[0].decrease(told);
    more ? stats.allocation[0].increase(1) : stats.allocation[0].decrease(1);
  }

  static void release(void* context) {
    auto* block = static_cast<Block*>(context);
    std::free(block->data);
    {
      std::lock_guard<std::mutex> lock(block->bank->mutex);
      count(*block->bank, block->bytes, false);
    }
    delete block;
  }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  // Work holds what it uses until it is done.
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(banks.at(device).mutex);
    return banks.at(device).stats;
  }
  template <typename Change>
  void each(c10::DeviceIndex device, Change change) {
    std::lock_guard<std::mutex> lock(banks.at(device).mutex);
    auto& stats = banks.at(device).stats;
    for (auto* one : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.active_bytes,
                      &stats.requested_bytes, &stats.allocation})
      change((*one)[0]);
  }
  void resetAccumulatedStats(c10::DeviceIndex device) override {
    each(device, [](auto& stat) { stat.reset_accumulated(); });
  }
  void resetPeakStats(c10::DeviceIndex device) override {
    each(device, [](auto& stat) { stat.reset_peak(); });
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    auto& bank = banks.at(device);
    std::lock_guard<std::mutex> lock(bank.mutex);
    return {bank.total - bank.used, bank.total};
  }
};

static auto& memory = *new Memory;

// Not cached either. A copy keeps the buffer that it works on.
struct Pinned final : at::HostAllocator {
  std::mutex mutex;
  std::map<const char*, size_t> ranges;  // by their beginning

  c10::DataPtr allocate(size_t bytes) override;
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  bool holds(const void* data) {
    std::lock_guard<std::mutex> lock(mutex);
    const auto* at = static_cast<const char*>(data);
    auto after = ranges.upper_bound(at);
    return after != ranges.begin() && at < std::prev(after)->first + std::prev(after)->second;
  }
};

static auto& pinned = *new Pinned;

c10::DataPtr Pinned::allocate(size_t bytes) {
  if (bytes == 0) return {nullptr, c10::Device(c10::kCPU)};
  void* data = aligned(bytes);
  TORCH_CHECK(data != nullptr, "cannot pin ", bytes, " bytes");
  std::lock_guard<std::mutex> lock(mutex);
  ranges[static_cast<char*>(data)] = bytes;
  return {data, data,
          [](void* given) {
            std::lock_guard<std::mutex> held(pinned.mutex);
            pinned.ranges.erase(static_cast<char*>(given));
            std::free(given);
          },
          c10::Device(c10::kCPU)};
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return device_count() > 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return device_count(); }
  c10::DeviceIndex getCurrentDevice() const override { return current_device(); }
  void setCurrentDevice(c10::DeviceIndex to) const override { exchange_device(to); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex to) const override {
    return exchange_device(to);
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex to) const override {
    return exchange_device(to);
  }
  bool isPinnedPtr(const void* data) const override { return pinned.holds(data); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex device) const override {
    static auto& made = *new std::vector<at::Generator>{
        at::make_generator<Generator>(0), at::make_generator<Generator>(1)};
    return made.at(device < 0 ? current_device() : device);
  }
  at::Generator getNewGenerator(c10::DeviceIndex device) const override {
    return at::make_generator<Generator>(device < 0 ? current_device() : device);
  }
};

at::Generator on_host(const at::Generator& generator) {
  return generator.get<Generator>()->host;
}

static int set_up = [] {
  c10::SetAllocator(TYPE, &memory);
  at::setHostAllocator(TYPE, &pinned);
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return 0;
}();

static void limit(int64_t device, double fraction) {
  TORCH_CHECK(fraction >= 0 && fraction <= 1, "a fraction is from 0 to 1, not ", fraction);
  auto& bank = memory.banks.at(device);
  std::lock_guard<std::mutex> lock(bank.mutex);
  bank.limit = static_cast<size_t>(fraction * static_cast<double>(bank.total));
}

static void drain_all() {
  for (int device = 0; device < MOST; ++device) drain(device);
}

static at::Generator generator(int64_t device) {
  return at::globalContext().defaultGenerator(c10::Device(TYPE, device));
}

TORCH_LIBRARY_FRAGMENT(nuomi, library) {
  library.def("device_count() -> int", [] { return static_cast<int64_t>(device_count()); });
  library.def("generator(int device) -> Generator?", generator);
  library.def("limit(int device, float fraction) -> ()", limit);
  library.def("drain() -> ()", drain_all);
}

} // namespace nuomi
