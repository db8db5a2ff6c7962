// One loop for all types: what is read is widened, what is written is narrowed.
#include "nccl/reduce.h"

#include <algorithm>
#include <cstring>

namespace soft {

namespace {

struct Bf16 {
    uint16_t bits;
};

template <class T>
struct Wide {
    using Type = T;
    static T read(T x) { return x; }
    static T write(T x) { return x; }
};
template <>
struct Wide<Bf16> {
    using Type = float;
    static float read(Bf16 x) {
        const uint32_t bits = uint32_t(x.bits) << 16;
        float f;
        memcpy(&f, &bits, 4);
        return f;
    }
    static Bf16 write(float f) {
        uint32_t bits;
        memcpy(&bits, &f, 4);
        return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
    }
};

template <class T>
void reduceAs(void* result, const std::vector<const void*>& sources, size_t count, Reduction reduction) {
    using Number = typename Wide<T>::Type;
    auto element = [&](size_t rank, size_t i) {
        T x;
        memcpy(&x, static_cast<const uint8_t*>(sources[rank]) + i * sizeof(T), sizeof(T));
        return Wide<T>::read(x);
    };
    for (size_t i = 0; i < count; i++) {
        Number value = element(0, i);
        for (size_t rank = 1; rank < sources.size(); rank++) {
            const Number other = element(rank, i);
            switch (reduction) {
                case Reduction::Product: value = static_cast<Number>(value * other); break;
                case Reduction::Maximum: value = std::max(value, other); break;
                case Reduction::Minimum: value = std::min(value, other); break;
                default: value = static_cast<Number>(value + other); break;
            }
        }
        if (reduction == Reduction::Average) value = static_cast<Number>(value / static_cast<Number>(sources.size()));
        const T written = Wide<T>::write(value);
        memcpy(static_cast<uint8_t*>(result) + i * sizeof(T), &written, sizeof(T));
    }
}

}  // namespace

bool known(int type) { return type == 0 || type == 1 || type == 2 || type == 5 || type == 7 || type == 8 || type == 9; }

size_t bytesOf(NumberType type) {
    switch (type) {
        case NumberType::Int8:
        case NumberType::UInt8: return 1;
        case NumberType::BFloat16: return 2;
        case NumberType::Int32:
        case NumberType::Float32: return 4;
        default: return 8;
    }
}

void reduce(void* result, const std::vector<const void*>& sources, size_t count, NumberType type, Reduction reduction) {
    switch (type) {
        case NumberType::Int8: return reduceAs<int8_t>(result, sources, count, reduction);
        case NumberType::UInt8: return reduceAs<uint8_t>(result, sources, count, reduction);
        case NumberType::Int32: return reduceAs<int32_t>(result, sources, count, reduction);
        case NumberType::UInt64: return reduceAs<uint64_t>(result, sources, count, reduction);
        case NumberType::Float32: return reduceAs<float>(result, sources, count, reduction);
        case NumberType::Float64: return reduceAs<double>(result, sources, count, reduction);
        case NumberType::BFloat16: return reduceAs<Bf16>(result, sources, count, reduction);
    }
}

}  // namespace soft
