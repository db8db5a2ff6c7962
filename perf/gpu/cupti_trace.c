// What a card did and what the host asked of its driver, without Nsight Systems: a library that the CUDA driver loads into any program
// (CUDA_INJECTION64_PATH), and that writes what CUPTI tells as text, a line each, times in nanoseconds of one clock:
//   k START END NAME   a kernel          c, s START END   a copy, a fill          a START END NAME   a driver call of the host
// ORION_TRACE names the file. CUPTI lies in the wheels that PyTorch brings, so it is found where PyTorch is. Offsets of the records are those of
// cupti_activity.h 12.4; the first fields have stood there since CUDA 8, and of a name that lies elsewhere only a "?" is left.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { Copy = 1, Fill = 2, DriverCall = 4, Kernel = 10, DriverDomain = 1 };
enum { BufferBytes = 4 << 20, NameBytes = 60 };

static FILE* out;
static int (*next_record)(uint8_t*, size_t, uint8_t**);
static int (*flush_all)(uint32_t);
static int (*callback_name)(int, uint32_t, const char**);

static uint32_t word(const uint8_t* record, int at) {
    uint32_t value;
    memcpy(&value, record + at, sizeof value);
    return value;
}

static uint64_t time_at(const uint8_t* record, int at) {
    uint64_t value;
    memcpy(&value, record + at, sizeof value);
    return value;
}

// Through the kernel: a pointer that is none costs an error, not the process.
static void kernel_name(const uint8_t* record, char* name) {
    struct iovec to = {name, NameBytes}, from = {(void*)(uintptr_t)time_at(record, 104), NameBytes};
    ssize_t read = from.iov_base ? process_vm_readv(getpid(), &to, 1, &from, 1, 0) : 0;
    name[read > 0 ? read : 0] = 0;
    name[strcspn(name, " \n")] = 0;
    if (!name[0]) strcpy(name, "?");
}

static void requested(uint8_t** buffer, size_t* bytes, size_t* most) {
    *buffer = aligned_alloc(8, BufferBytes), *bytes = *buffer ? BufferBytes : 0, *most = 0;
}

static void completed(void* context, uint32_t stream, uint8_t* buffer, size_t bytes, size_t valid) {
    (void)context, (void)stream, (void)bytes;
    for (uint8_t* record = NULL; valid && next_record(buffer, valid, &record) == 0;) {
        const uint32_t kind = word(record, 0);
        const char* call = NULL;
        char name[NameBytes + 1];
        if (kind == Kernel) {
            kernel_name(record, name);
            fprintf(out, "k %llu %llu %s\n", (unsigned long long)time_at(record, 16), (unsigned long long)time_at(record, 24), name);
        } else if (kind == Copy || kind == Fill) {
            fprintf(out, "%c %llu %llu\n", kind == Copy ? 'c' : 's', (unsigned long long)time_at(record, 16), (unsigned long long)time_at(record, 24));
        } else if (kind == DriverCall && callback_name(DriverDomain, word(record, 4), &call) == 0) {
            fprintf(out, "a %llu %llu %s\n", (unsigned long long)time_at(record, 8), (unsigned long long)time_at(record, 16), call);
        }
    }
    fflush(out);
    free(buffer);
}

static void finish(void) { flush_all(1); }

// The driver calls this once, while cuInit runs.
int InitializeInjection(void) {
    const char* names[] = {getenv("ORION_CUPTI"), "libcupti.so.13", "libcupti.so.12"};
    const char* path = getenv("ORION_TRACE");
    void* cupti = NULL;
    for (int i = 0; i < 3 && !cupti; i++) cupti = names[i] ? dlopen(names[i], RTLD_NOW) : NULL;
    out = path ? fopen(path, "w") : NULL;
    if (!cupti || !out) {
        fprintf(stderr, "cupti_trace: %s\n", cupti ? "ORION_TRACE names no file that can be written" : dlerror());
        return 0;
    }
    int (*enable)(int), (*callbacks)(void*, void*), (*flush_period)(uint32_t);
    *(void**)&enable = dlsym(cupti, "cuptiActivityEnable");
    *(void**)&callbacks = dlsym(cupti, "cuptiActivityRegisterCallbacks");
    *(void**)&flush_period = dlsym(cupti, "cuptiActivityFlushPeriod");
    *(void**)&next_record = dlsym(cupti, "cuptiActivityGetNextRecord");
    *(void**)&flush_all = dlsym(cupti, "cuptiActivityFlushAll");
    *(void**)&callback_name = dlsym(cupti, "cuptiGetCallbackName");
    if (!enable || !callbacks || !flush_period || !next_record || !flush_all || !callback_name) {
        fprintf(stderr, "cupti_trace: %s\n", dlerror());
        return 0;
    }
    int status = callbacks((void*)requested, (void*)completed);
    const int kinds[] = {Kernel, Copy, Fill, DriverCall};
    for (int i = 0; i < 4; i++)
        if (!status) status = enable(kinds[i]);
    if (!status) status = flush_period(500);  // what a killed program did is there up to its last half second
    if (status) fprintf(stderr, "cupti_trace: CUPTI refused with %d\n", status);
    atexit(finish);
    return 1;
}
