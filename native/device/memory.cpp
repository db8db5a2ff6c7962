// Allocation and state bytes of the software devices' memories.
#include "device/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/mman.h>

namespace soft {

namespace {

constexpr size_t PageBytes = 4096;

size_t roundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

uint8_t* reserve(size_t bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        fprintf(stderr, "softcuda: this machine refuses to reserve %zu GiB of addresses (ulimit -v?)\n", bytes >> 30);
        abort();
    }
    return static_cast<uint8_t*>(at);
}

size_t environmentNumber(const char* name, size_t otherwise, size_t least, size_t most) {
    const char* text = getenv(name);
    if (!text || !*text) return otherwise;
    return std::clamp<size_t>(strtoull(text, nullptr, 10), least, most);
}

}  // namespace

DeviceMemory::DeviceMemory(int device_, size_t capacityBytes)
    : device(device_), base_(reinterpret_cast<uintptr_t>(reserve(RangeBytes))), shadow_(reserve(RangeBytes)),
      capacityBytes_(capacityBytes) {}

uintptr_t DeviceMemory::allocate(size_t bytes) {
    std::lock_guard lock(mutex_);
    if (bytes == 0 || bytes > capacityBytes_ - usedBytes_) return 0;
    const size_t offset = next_;
    // Whole pages and one unreachable page after them: a freed range can be given back, an overrun meets nothing.
    const size_t span = roundUp(bytes, PageBytes) + PageBytes;
    if (offset + span > RangeBytes) return 0;
    next_ += span;
    usedBytes_ += bytes;
    const uintptr_t start = base_ + offset;
    allocations_[start] = {start, bytes, ++count_, true};
    memset(shadow_ + offset, NeverWritten, bytes);
    return start;
}

bool DeviceMemory::release(uintptr_t start) {
    std::lock_guard lock(mutex_);
    auto found = allocations_.find(start);
    if (found == allocations_.end() || !found->second.live) return false;
    found->second.live = false;
    usedBytes_ -= found->second.bytes;
    const size_t span = roundUp(found->second.bytes, PageBytes);
    madvise(reinterpret_cast<void*>(start), span, MADV_DONTNEED);
    // The base of the range is page-aligned and so is every start, hence so is every shadow address.
    madvise(shadow_ + (start - base_), span, MADV_DONTNEED);
    return true;
}

size_t DeviceMemory::firstBad(uintptr_t address, size_t bytes, bool write) const {
    if (!contains(address) || bytes > RangeBytes - (address - base_)) return 0;
    const uint8_t* states = state(address);
    const uint8_t* bad = std::find_if(states, states + bytes,
        [write](uint8_t s) { return write ? s != Written && s != NeverWritten : s != Written && s != Leaving; });
    return static_cast<size_t>(bad - states);
}

std::string DeviceMemory::explain(uintptr_t address, bool write) {
    std::lock_guard lock(mutex_);
    auto after = allocations_.upper_bound(address);
    if (after == allocations_.begin()) return format("before the first allocation of device %d", device);
    const Allocation& a = std::prev(after)->second;
    const std::string name =
        format("allocation %u (%zu bytes at 0x%zx)", a.number, a.bytes, static_cast<size_t>(a.start));
    const size_t offset = address - a.start;
    if (!a.live) return format("byte %zu of freed %s", offset, name.c_str());
    if (offset >= a.bytes) return format("%zu bytes past the end of %s", offset - a.bytes, name.c_str());
    if (*state(address) == CopyInFlight) return format("byte %zu of %s, which a copy brings that nobody waited for", offset, name.c_str());
    if (*state(address) == Leaving) return format("byte %zu of %s, which a copy is reading that nobody waited for", offset, name.c_str());
    if (!write) return format("byte %zu of %s, which was never written", offset, name.c_str());
    return format("byte %zu of %s", offset, name.c_str());
}

size_t DeviceMemory::usedBytes() {
    std::lock_guard lock(mutex_);
    return usedBytes_;
}

std::vector<Allocation> DeviceMemory::live() {
    std::lock_guard lock(mutex_);
    std::vector<Allocation> found;
    for (const auto& [start, allocation] : allocations_)
        if (allocation.live) found.push_back(allocation);
    return found;
}

void DeviceMemory::reset() {
    for (const Allocation& allocation : live()) release(allocation.start);
}

void HostMemory::add(uintptr_t start, const Locked& locked) {
    std::lock_guard lock(mutex_);
    ranges_[start] = locked;
}

bool HostMemory::remove(uintptr_t start, Kind kind) {
    std::lock_guard lock(mutex_);
    auto found = ranges_.find(start);
    if (found == ranges_.end() || found->second.kind != kind) return false;
    ranges_.erase(found);
    return true;
}

bool HostMemory::contains(uintptr_t address, size_t bytes) {
    std::lock_guard lock(mutex_);
    auto after = ranges_.upper_bound(address);
    if (after == ranges_.begin()) return false;
    const auto& [start, locked] = *std::prev(after);
    return address - start <= locked.bytes && bytes <= locked.bytes - (address - start);
}

bool HostMemory::overlaps(uintptr_t address, size_t bytes) {
    std::lock_guard lock(mutex_);
    auto next = ranges_.lower_bound(address);
    if (next != ranges_.end() && next->first < address + bytes) return true;
    return next != ranges_.begin() && std::prev(next)->first + std::prev(next)->second.bytes > address;
}

std::map<uintptr_t, HostMemory::Locked> HostMemory::takeOf(int device) {
    std::lock_guard lock(mutex_);
    std::map<uintptr_t, Locked> taken;
    for (const auto& [start, locked] : ranges_)
        if (locked.device == device) taken.emplace(start, locked);
    for (const auto& [start, locked] : taken) ranges_.erase(start);
    return taken;
}

int deviceCount() {
    static const int count = static_cast<int>(environmentNumber("ORION_SOFTCUDA_DEVICES", 2, 1, 16));
    return count;
}

DeviceMemory& deviceMemory(int device) {
    static const std::vector<std::unique_ptr<DeviceMemory>> memories = [] {
        const size_t capacity = environmentNumber("ORION_SOFTCUDA_MEMORY_MIB", 4096, 1, 1 << 17) << 20;
        std::vector<std::unique_ptr<DeviceMemory>> made;
        for (int i = 0; i < deviceCount(); i++) made.push_back(std::make_unique<DeviceMemory>(i, capacity));
        return made;
    }();
    return *memories[static_cast<size_t>(device)];
}

HostMemory& hostMemory() {
    static HostMemory memory;
    return memory;
}

int ownerOf(uintptr_t address) {
    for (int i = 0; i < deviceCount(); i++)
        if (deviceMemory(i).contains(address)) return i;
    return -1;
}

Fault checkRange(int device, uintptr_t address, size_t bytes, bool write, const char* what) {
    if (bytes == 0) return {};
    const int owner = ownerOf(address);
    if (owner < 0) {
        if (hostMemory().contains(address, bytes)) return {};
        return {InvalidValue, format("%s: 0x%zx is in no memory of a device and not page-locked", what,
                                     static_cast<size_t>(address))};
    }
    if (device >= 0 && owner != device)
        return {InvalidValue, format("%s: 0x%zx is memory of device %d, used on device %d", what,
                                     static_cast<size_t>(address), owner, device)};
    DeviceMemory& memory = deviceMemory(owner);
    const size_t bad = memory.firstBad(address, bytes, write);
    if (bad == bytes) return {};
    return {IllegalAddress, format("%s: %s of %zu bytes at 0x%zx: byte %zu is %s", what, write ? "write" : "read", bytes,
                                   static_cast<size_t>(address), bad, memory.explain(address + bad, write).c_str())};
}

void markWritten(uintptr_t address, size_t bytes) {
    const int owner = ownerOf(address);
    if (owner >= 0) memset(deviceMemory(owner).state(address), Written, bytes);
}

}  // namespace soft
