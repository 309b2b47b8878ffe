// A made-up accelerator: its memory is a part of the host's, its streams are threads.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>

namespace nuomi {

constexpr auto TYPE = c10::DeviceType::PrivateUse1;
constexpr int MOST = 2;     // devices of a node
constexpr int STREAMS = 5;  // of a device: the default one, and four that are handed out in turn

// Whether this is broken on purpose (NUOMI_DEFECT): "wrong" results, "nosync", lying "memory",
// a device count that "hangs" or "crashes".
bool broken(const char* defect);

// Work that is done in order by a thread of its own, which starts with the first of it.
class Queue {
 public:
  void push(std::function<void()> work);
  // Wait for all that was pushed before; raises what any of it raised, once.
  void drain();
  bool idle();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable more_, done_;
  std::deque<std::function<void()>> work_;
  uint64_t pushed_ = 0, finished_ = 0;
  std::exception_ptr error_;
  bool started_ = false;
};

int device_count() noexcept;
c10::DeviceIndex current_device() noexcept;
c10::DeviceIndex exchange_device(c10::DeviceIndex device);
Queue& queue(const c10::Stream& stream);
// The current stream's of the calling thread.
Queue& current_queue(c10::DeviceIndex device);
void drain(c10::DeviceIndex device);

} // namespace nuomi
