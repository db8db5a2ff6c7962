// A trace of what the host asks of the device, in order: what queues work and returns, and, marked with "!", what waits for the device
// or asks it how far it is. Equal calls in a row are one line with a count. softTrace(1) begins, softTrace(0) ends and gives the text.
#include <atomic>

#include "driver/cuda.h"

namespace soft {

namespace {

std::atomic<bool> tracing;
std::mutex mutex;
std::string text, last;
int repeats = 0;

void flush() {
    if (repeats > 0) text += repeats > 1 ? format("%s x%d\n", last.c_str(), repeats) : last + "\n";
    repeats = 0;
}

}  // namespace

void trace(const char* call, bool blocks) {
    if (!tracing) return;
    const std::string line = std::string(blocks ? "!" : "") + call;
    std::lock_guard lock(mutex);
    if (line != last) flush();
    last = line;
    repeats++;
}

}  // namespace soft

using namespace soft;

EXPORT const char* softTrace(int on) {
    std::lock_guard lock(mutex);
    flush();
    tracing = on != 0;
    if (on) text.clear();
    return text.c_str();
}
