// What libnvrtc_soft makes and libcuda_soft loads: this header, then a shared object that exports the table.
#pragma once
#include <cstdint>

namespace soft {

// in the key of the cache of compiled kernels too, so that an image of another form is never loaded from there
constexpr char ImageMagic[8] = {'S', 'O', 'F', 'T', 'C', 'U', 'B', '2'};

struct ImageHeader {
    char magic[8];
    uint64_t bytes;
};

// One row per kernel, ended by a null name; the compiler of prelude.h emits the same layout.
struct KernelEntry {
    const char* name;
    void (*entry)(void** arguments);
    const uint32_t* parameterBytes;
    uint32_t parameterCount;
    uint32_t threadsMost;  // the first of __launch_bounds__, else 1024
};

constexpr char KernelTableName[] = "soft_kernel_table";

}  // namespace soft
