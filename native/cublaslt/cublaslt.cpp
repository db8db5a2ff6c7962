// The entry points of cuBLASLt that the bindings use: descriptors, the proposal of algorithms (one works), one matmul in stream order. Operands are
// checked as a kernel's are: bounds, initialisation, alignment of 16 bytes, the device that owns them.
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "cublaslt/product.h"
#include "device/memory.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// Of libcuda_soft: work in stream order, and what it needs to check operands.
extern "C" int softEnqueue(void* stream, std::function<soft::Fault()> work);
extern "C" int softCurrentDevice();
extern "C" soft::Fault softCheckRange(int device, uintptr_t address, size_t bytes, bool write, const char* what);
extern "C" void softNoteTouched(const char* name, uintptr_t address, size_t bytes, bool write);
extern "C" void softMarkWritten(uintptr_t address, size_t bytes);

using namespace soft;

namespace {

enum LtStatus : int { LtSuccess = 0, LtNotInitialized = 1, LtInvalidValue = 7, LtExecutionFailed = 13, LtNotSupported = 15 };

constexpr int Real32F = 0, Real16BF = 14, Compute32F = 68;
constexpr int32_t EpilogueDefault = 1, EpilogueRelu = 2;
constexpr uint64_t AlgorithmMagic = 0x534F46544C543031;

struct Object {
    enum Kind { Handle, Description, Layout, Preference } kind;
    int type = Real32F;
    uint64_t rows = 0, columns = 0;
    int64_t leadingDimension = 0;
    int32_t transposeA = 0, transposeB = 0, epilogue = EpilogueDefault;
    uint64_t workspaceBytes = 0;
};

struct Heuristic {
    uint64_t algorithm[8];
    size_t workspaceBytes;
    int status;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Heuristic) == 96);

std::mutex objectsMutex;
std::unordered_map<void*, std::unique_ptr<Object>>& objects() {
    static auto* all = new std::unordered_map<void*, std::unique_ptr<Object>>;
    return *all;
}

int create(void** handle, Object object) {
    auto made = std::make_unique<Object>(object);
    std::lock_guard lock(objectsMutex);
    *handle = made.get();
    objects()[made.get()] = std::move(made);
    return LtSuccess;
}

int destroy(void* handle) {
    std::lock_guard lock(objectsMutex);
    return objects().erase(handle) ? LtSuccess : LtInvalidValue;
}

Object* find(void* handle, Object::Kind kind) {
    std::lock_guard lock(objectsMutex);
    auto found = objects().find(handle);
    return found != objects().end() && found->second->kind == kind ? found->second.get() : nullptr;
}

template <class T>
int set(T& target, const void* value, size_t bytes) {
    if (bytes != sizeof(T)) return LtInvalidValue;
    memcpy(&target, value, bytes);
    return LtSuccess;
}

size_t elementBytes(int type) { return type == Real32F ? 4 : 2; }
Element elementOf(int type) { return type == Real32F ? Element::Float32 : Element::BFloat16; }

// Shapes must agree, whatever the operands hold.
int checkShapes(const Object& o, const Object& a, const Object& b, const Object& c, const Object& d) {
    const uint64_t m = o.transposeA ? a.columns : a.rows, k = o.transposeA ? a.rows : a.columns;
    const uint64_t kb = o.transposeB ? b.columns : b.rows, n = o.transposeB ? b.rows : b.columns;
    const bool fits = k == kb && c.rows == m && c.columns == n && d.rows == m && d.columns == n;
    if (!fits) return LtInvalidValue;
    for (const Object* x : {&a, &b, &c, &d})
        if (x->leadingDimension < static_cast<int64_t>(x->rows)) return LtInvalidValue;
    return a.type == b.type ? LtSuccess : LtNotSupported;
}

Fault checkMatrix(int device, const Object& x, uintptr_t address, bool write, const char* what) {
    if (address % 16) return {MisalignedAddress, format("%s: 0x%zx is not a multiple of 16", what, static_cast<size_t>(address))};
    const size_t bytes = elementBytes(x.type);
    for (uint64_t column = 0; column < x.columns; column++) {
        const size_t offset = column * static_cast<uint64_t>(x.leadingDimension) * bytes;
        Fault fault = softCheckRange(device, address + offset, x.rows * bytes, write, what);
        if (fault.status) return fault;
        softNoteTouched("cublasLtMatmul", address + offset, x.rows * bytes, write);
    }
    return {};
}

struct Call {
    Object o, a, b, c, d;
    uintptr_t aAt, bAt, cAt, dAt;
    float alpha, beta;
    uintptr_t workspace;
    size_t workspaceBytes;
    int device;
};

Fault run(const Call& call) {
    const uintptr_t a = call.aAt, b = call.bAt, c = call.cAt, d = call.dAt;
    for (const Fault& fault : {checkMatrix(call.device, call.a, a, false, "cublasLtMatmul operand A"),
                               checkMatrix(call.device, call.b, b, false, "cublasLtMatmul operand B"),
                               call.beta != 0.0f ? checkMatrix(call.device, call.c, c, false, "cublasLtMatmul operand C") : Fault{},
                               checkMatrix(call.device, call.d, d, true, "cublasLtMatmul result D")})
        if (fault.status) return fault;
    // The product needs none, but a card's may write all of it: two products at once must not share one.
    if (call.workspaceBytes) {
        for (uintptr_t end : {call.workspace, call.workspace + call.workspaceBytes - 1}) {
            const Fault fault = softCheckRange(call.device, end, 1, true, "cublasLtMatmul workspace");
            if (fault.status) return fault;
        }
        softNoteTouched("cublasLtMatmul", call.workspace, call.workspaceBytes, true);
    }
    const bool ta = call.o.transposeA, tb = call.o.transposeB;
    multiply({static_cast<int64_t>(call.d.rows), static_cast<int64_t>(call.d.columns),
              static_cast<int64_t>(ta ? call.a.rows : call.a.columns), call.alpha, call.beta,
              {reinterpret_cast<const void*>(a), elementOf(call.a.type), ta, call.a.leadingDimension},
              {reinterpret_cast<const void*>(b), elementOf(call.b.type), tb, call.b.leadingDimension},
              {reinterpret_cast<const void*>(c), elementOf(call.c.type), false, call.c.leadingDimension},
              reinterpret_cast<void*>(d), elementOf(call.d.type), call.d.leadingDimension, call.o.epilogue == EpilogueRelu});
    const size_t bytes = elementBytes(call.d.type);
    for (uint64_t column = 0; column < call.d.columns; column++)
        softMarkWritten(d + column * static_cast<uint64_t>(call.d.leadingDimension) * bytes, call.d.rows * bytes);
    return {};
}

}  // namespace

EXPORT size_t cublasLtGetVersion() { return 120400; }

EXPORT const char* cublasLtGetStatusName(int status) {
    switch (status) {
        case LtSuccess: return "CUBLAS_STATUS_SUCCESS";
        case LtNotInitialized: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case LtInvalidValue: return "CUBLAS_STATUS_INVALID_VALUE";
        case LtExecutionFailed: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case LtNotSupported: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return "CUBLAS_STATUS unknown";
    }
}

EXPORT const char* cublasLtGetStatusString(int status) {
    switch (status) {
        case LtSuccess: return "success";
        case LtNotInitialized: return "no context is current";
        case LtInvalidValue: return "a handle, size or shape does not fit";
        case LtExecutionFailed: return "the product could not be queued";
        case LtNotSupported: return "not among what the software device computes";
        default: return "unknown status";
    }
}

EXPORT int cublasLtCreate(void** handle) {
    return softCurrentDevice() < 0 ? int(LtNotInitialized) : create(handle, {.kind = Object::Handle});
}
EXPORT int cublasLtDestroy(void* handle) { return destroy(handle); }

EXPORT int cublasLtMatmulDescCreate(void** handle, int computeType, int scaleType) {
    if (computeType != Compute32F || scaleType != Real32F) return LtNotSupported;
    return create(handle, {.kind = Object::Description});
}
EXPORT int cublasLtMatmulDescDestroy(void* handle) { return destroy(handle); }
EXPORT int cublasLtMatmulDescSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Object* o = find(handle, Object::Description);
    if (!o) return LtInvalidValue;
    switch (attribute) {
        case 3: return set(o->transposeA, value, bytes);
        case 4: return set(o->transposeB, value, bytes);
        case 7: {
            const int status = set(o->epilogue, value, bytes);
            return status ? status : o->epilogue == EpilogueDefault || o->epilogue == EpilogueRelu ? LtSuccess : LtNotSupported;
        }
        default: return LtNotSupported;
    }
}

EXPORT int cublasLtMatrixLayoutCreate(void** handle, int type, uint64_t rows, uint64_t columns, int64_t leadingDimension) {
    if (type != Real32F && type != Real16BF) return LtNotSupported;
    return create(handle, {.kind = Object::Layout, .type = type, .rows = rows, .columns = columns, .leadingDimension = leadingDimension});
}
EXPORT int cublasLtMatrixLayoutDestroy(void* handle) { return destroy(handle); }

EXPORT int cublasLtMatmulPreferenceCreate(void** handle) { return create(handle, {.kind = Object::Preference}); }
EXPORT int cublasLtMatmulPreferenceDestroy(void* handle) { return destroy(handle); }
EXPORT int cublasLtMatmulPreferenceSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Object* o = find(handle, Object::Preference);
    if (!o) return LtInvalidValue;
    uint32_t accepted;  // reduction schemes and alignments of A, B, C, D: there is one algorithm, and it needs 16 bytes
    switch (attribute) {
        case 1: return set(o->workspaceBytes, value, bytes);
        case 3: case 5: case 6: case 7: case 8: return set(accepted, value, bytes);
        default: return LtNotSupported;
    }
}

EXPORT int cublasLtMatmulAlgoGetHeuristic(void* handle, void* description, void* a, void* b, void* c, void* d, void* preference,
                                          int requested, Heuristic* results, int* found) {
    *found = 0;
    Object *o = find(description, Object::Description), *la = find(a, Object::Layout), *lb = find(b, Object::Layout),
           *lc = find(c, Object::Layout), *ld = find(d, Object::Layout);
    if (!find(handle, Object::Handle) || !o || !la || !lb || !lc || !ld || !find(preference, Object::Preference) || requested < 1)
        return LtInvalidValue;
    if (int status = checkShapes(*o, *la, *lb, *lc, *ld)) return status;
    results[0] = {};
    results[0].algorithm[0] = AlgorithmMagic;
    results[0].waves = 1.0f;
    *found = 1;
    // As a card's library may: one that it says it cannot do here, and one that it proposes and then refuses.
    for (uint64_t refused = 1; refused <= 2 && *found < requested; refused++) {
        Heuristic& result = results[(*found)++] = {};
        result.algorithm[0] = AlgorithmMagic + refused;
        result.status = refused == 1 ? LtNotSupported : LtSuccess;
    }
    return LtSuccess;
}

EXPORT int cublasLtMatmul(void* handle, void* description, const void* alpha, uintptr_t a, void* aLayout, uintptr_t b, void* bLayout,
                          const void* beta, uintptr_t c, void* cLayout, uintptr_t d, void* dLayout, const uint64_t* algorithm,
                          uintptr_t workspace, size_t workspaceBytes, void* stream) {
    Object *o = find(description, Object::Description), *la = find(aLayout, Object::Layout), *lb = find(bLayout, Object::Layout),
           *lc = find(cLayout, Object::Layout), *ld = find(dLayout, Object::Layout);
    if (!find(handle, Object::Handle) || !o || !la || !lb || !lc || !ld) return LtInvalidValue;
    if (algorithm && algorithm[0] == AlgorithmMagic + 2) return LtNotSupported;
    if (algorithm && algorithm[0] != AlgorithmMagic) return LtInvalidValue;
    if (int status = checkShapes(*o, *la, *lb, *lc, *ld)) return status;
    Call call{*o, *la, *lb, *lc, *ld, a, b, c, d, 0.0f, 0.0f, workspace, workspaceBytes, softCurrentDevice()};
    memcpy(&call.alpha, alpha, 4);
    memcpy(&call.beta, beta, 4);
    return softEnqueue(stream, [call] { return run(call); }) ? int(LtExecutionFailed) : int(LtSuccess);
}
