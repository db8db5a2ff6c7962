// d = alpha * op(a) * op(b) + beta * c, cut below 0 with relu, column-major, fp32 accumulation in the order of k.
#pragma once
#include <cstddef>
#include <cstdint>

namespace soft {

enum class Element { Float32, BFloat16 };

struct Operand {
    const void* data;
    Element element;
    bool transposed;
    int64_t leadingDimension;
};

struct Product {
    int64_t m, n, k;
    float alpha, beta;
    Operand a, b, c;
    void* d;
    Element dElement;
    int64_t dLeadingDimension;
    bool relu = false;
};

void multiply(const Product& product);

}  // namespace soft
