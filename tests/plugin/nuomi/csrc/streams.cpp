// Devices, streams and events, and how PyTorch asks for them.
#include "nuomi.h"

#include <c10/core/DeviceCapability.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

namespace nuomi {

bool broken(const char* defect) {
  static const char* const said = std::getenv("NUOMI_DEFECT");
  return said != nullptr && std::strcmp(said, defect) == 0;
}

void Queue::push(std::function<void()> work) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!started_) {
    started_ = true;
    std::thread([this] { run(); }).detach();
  }
  work_.push_back(std::move(work));
  ++pushed_;
  more_.notify_one();
}

void Queue::drain() {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto last = pushed_;
  done_.wait(lock, [&] { return finished_ >= last; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

bool Queue::idle() {
  std::lock_guard<std::mutex> lock(mutex_);
  return finished_ == pushed_;
}

void Queue::run() {
  for (;;) {
    std::unique_lock<std::mutex> lock(mutex_);
    more_.wait(lock, [this] { return !work_.empty(); });
    auto work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    std::exception_ptr error;
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    work = nullptr;  // the memory that it held is free before anybody hears that it is done
    lock.lock();
    if (error && !error_) error_ = error;
    ++finished_;
    done_.notify_all();
  }
}

// Threads of these may outlive what a process destroys at its end, so nothing of them is destroyed.
static auto& queues = *new std::array<std::array<Queue, STREAMS>, MOST>;
static thread_local c10::DeviceIndex device_now = 0;
static thread_local std::array<c10::StreamId, MOST> stream_now{};

int device_count() noexcept {
  if (broken("hang")) pause();
  if (broken("crash")) std::raise(SIGSEGV);
  static const int count = [] {
    const char* visible = std::getenv("NUOMI_VISIBLE_DEVICES");
    if (visible == nullptr) return MOST;
    int found = *visible ? 1 : 0;
    for (; *visible; ++visible) found += *visible == ',';
    return std::min(found, MOST);
  }();
  return count;
}

c10::DeviceIndex current_device() noexcept { return device_now; }

c10::DeviceIndex exchange_device(c10::DeviceIndex device) {
  TORCH_CHECK(device >= 0 && device < device_count(), "no Nuomi device ", int(device));
  return std::exchange(device_now, device);
}

static c10::DeviceIndex index_of(c10::Device device) {
  return device.has_index() ? device.index() : device_now;
}

Queue& queue(const c10::Stream& stream) {
  return queues.at(stream.device_index()).at(stream.id());
}

Queue& current_queue(c10::DeviceIndex device) {
  return queues.at(device).at(stream_now.at(device));
}

void drain(c10::DeviceIndex device) {
  for (auto& one : queues.at(device)) one.drain();
}

// A point in a stream; recorded again, it is another point.
struct Event {
  std::mutex mutex;
  std::condition_variable passed;
  uint64_t recorded = 0, done = 0;
  std::chrono::steady_clock::time_point time;

  void wait(uint64_t version) {
    std::unique_lock<std::mutex> lock(mutex);
    passed.wait(lock, [&] { return done >= version; });
  }
  uint64_t last() {
    std::lock_guard<std::mutex> lock(mutex);
    return recorded;
  }
};
using Shared = std::shared_ptr<Event>;  // of the handle, and of work that is still to come

static Shared& event_of(void* handle) { return *static_cast<Shared*>(handle); }

struct Guard final : c10::impl::DeviceGuardImplInterface {
  using Device = c10::Device;
  using Stream = c10::Stream;

  c10::DeviceType type() const override { return TYPE; }
  c10::DeviceIndex deviceCount() const noexcept override { return device_count(); }
  Device getDevice() const override { return {TYPE, device_now}; }
  Device exchangeDevice(Device to) const override { return {TYPE, exchange_device(to.index())}; }
  void setDevice(Device to) const override { exchange_device(to.index()); }
  void uncheckedSetDevice(Device to) const noexcept override { device_now = to.index(); }
  c10::DeviceCapability getDeviceCapability(Device) const override {
    c10::DeviceCapability can;
    auto& types = can.capability_data.supported_scalar_types;
    types.has_Float8_e5m2 = types.has_Float8_e4m3fn = 0;
    types.has_Float8_e5m2fnuz = types.has_Float8_e4m3fnuz = types.has_Float8_e8m0fnu = 0;
    return can;
  }

  Stream made(Device device, c10::StreamId id) const {
    return Stream(Stream::UNSAFE, Device(TYPE, index_of(device)), id);
  }
  Stream getStream(Device device) const override {
    return made(device, stream_now.at(index_of(device)));
  }
  Stream getDefaultStream(Device device) const override { return made(device, 0); }
  Stream getNewStream(Device device, int) const override {
    static std::array<std::atomic<unsigned>, MOST> turn{};
    return made(device, 1 + turn.at(index_of(device))++ % (STREAMS - 1));
  }
  Stream getStreamFromGlobalPool(Device device, bool) const override {
    return getNewStream(device, 0);
  }
  Stream exchangeStream(Stream to) const override {
    return made(to.device(), std::exchange(stream_now.at(to.device_index()), to.id()));
  }
  bool queryStream(const Stream& stream) const override { return queue(stream).idle(); }
  void synchronizeStream(const Stream& stream) const override { queue(stream).drain(); }
  void synchronizeDevice(const c10::DeviceIndex device) const override {
    if (!broken("nosync")) drain(device < 0 ? device_now : device);
  }

  void record(void** handle, const Stream& stream, const c10::DeviceIndex,
              const c10::EventFlag) const override {
    if (*handle == nullptr) *handle = new Shared(std::make_shared<Event>());
    auto event = event_of(*handle);
    std::unique_lock<std::mutex> lock(event->mutex);
    const auto version = ++event->recorded;
    lock.unlock();
    queue(stream).push([event, version] {
      std::lock_guard<std::mutex> held(event->mutex);
      event->time = std::chrono::steady_clock::now();
      event->done = version;
      event->passed.notify_all();
    });
  }
  void block(void* handle, const Stream& stream) const override {
    if (handle == nullptr) return;
    auto event = event_of(handle);
    queue(stream).push([event, version = event->last()] { event->wait(version); });
  }
  bool queryEvent(void* handle) const override {
    if (handle == nullptr) return true;
    auto& event = *event_of(handle);
    std::lock_guard<std::mutex> lock(event.mutex);
    return event.done == event.recorded;
  }
  void synchronizeEvent(void* handle) const override {
    if (handle != nullptr) event_of(handle)->wait(event_of(handle)->last());
  }
  double elapsedTime(void* begin, void* end, const c10::DeviceIndex) const override {
    const std::chrono::duration<double, std::milli> span =
        event_of(end)->time - event_of(begin)->time;
    return span.count();
  }
  void destroyEvent(void* handle, const c10::DeviceIndex) const noexcept override {
    delete static_cast<Shared*>(handle);
  }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

} // namespace nuomi
