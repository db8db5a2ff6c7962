// Texts of faults: the source line behind a code address (asked of addr2line, which comes with g++).
#include "device/fault.h"

#include <cstdio>
#include <dlfcn.h>
#include <unistd.h>

namespace soft {

std::string sourceLine(const void* returnAddress) {
    Dl_info info;
    if (!returnAddress || !dladdr(returnAddress, &info) || !info.dli_fname) return "";
    std::string image = info.dli_fname;
    const std::string self = "/proc/self/";
    if (image.rfind(self, 0) == 0) image = format("/proc/%d/", getpid()) + image.substr(self.size());
    // One byte back: the return address already belongs to the next statement.
    const auto offset = reinterpret_cast<uintptr_t>(returnAddress) - reinterpret_cast<uintptr_t>(info.dli_fbase) - 1;
    const std::string command = format("addr2line -s -i -e '%s' 0x%zx 2>/dev/null", image.c_str(), offset);
    FILE* pipe = popen(command.c_str(), "r");
    if (!pipe) return "";
    // Innermost first: the kernel author's line is the first one outside the wrappers.
    std::string where;
    char line[256];
    while (fgets(line, sizeof line, pipe)) {
        where = line;
        where.resize(where.find_first_of(" \n"));
        if (where.rfind("prelude.h:", 0) != 0 && where.rfind("ptx.cuh:", 0) != 0) break;
    }
    pclose(pipe);
    return where.rfind("??", 0) == 0 ? "" : where;
}

namespace {
thread_local std::string lastText;
}

void setLastErrorText(const std::string& text) { lastText = text; }
const std::string& lastErrorText() { return lastText; }

}  // namespace soft

extern "C" __attribute__((visibility("default"))) const char* softGetLastErrorText() {
    return soft::lastErrorText().c_str();
}
