// A blocked product: panels of a and b are widened to fp32, tiles of 64 x 4 stay in registers. The sum over k has one order,
// so the result does not depend on the shape of the work. Two threads share the columns.
#include "cublaslt/product.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

namespace soft {

namespace {

constexpr int64_t TileRows = 64, TileColumns = 4, PanelRows = 128, PanelDepth = 256;
constexpr int64_t ThreadingFlops = 1 << 24;

float widen(uint16_t bits) {
    const uint32_t word = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

uint16_t narrow(float value) {
    uint32_t word;
    memcpy(&word, &value, 4);
    if ((word & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
}

float at(const void* data, Element element, int64_t index) {
    return element == Element::Float32 ? static_cast<const float*>(data)[index] : widen(static_cast<const uint16_t*>(data)[index]);
}

// op(x)[row, column]
float at(const Operand& x, int64_t row, int64_t column) {
    return at(x.data, x.element, x.transposed ? row * x.leadingDimension + column : column * x.leadingDimension + row);
}

// sums[64, 4] += a[64 rows of a panel, depth] * b[depth, 4]; the compiler keeps the sums in vector registers.
void tile(const float* __restrict a, const float* __restrict b, int64_t depth, float* __restrict sums) {
    float s[TileColumns][TileRows];
    memcpy(s, sums, sizeof s);
    for (int64_t k = 0; k < depth; k++)
        for (int64_t j = 0; j < TileColumns; j++)
            for (int64_t i = 0; i < TileRows; i++) s[j][i] += a[k * TileRows + i] * b[k * TileColumns + j];
    memcpy(sums, s, sizeof s);
}

void store(const Product& p, int64_t row, int64_t column, float sum) {
    float value = p.alpha * sum;
    if (p.beta != 0.0f) value += p.beta * at(p.c.data, p.c.element, column * p.c.leadingDimension + row);
    if (p.relu && value < 0.0f) value = 0.0f;
    const int64_t index = column * p.dLeadingDimension + row;
    if (p.dElement == Element::Float32) static_cast<float*>(p.d)[index] = value;
    else static_cast<uint16_t*>(p.d)[index] = narrow(value);
}

void columns(const Product& p, int64_t first, int64_t end) {
    std::vector<float> aPanel(static_cast<size_t>(PanelRows * PanelDepth)), bPanel(static_cast<size_t>(TileColumns * PanelDepth));
    std::vector<float> sums(static_cast<size_t>(PanelRows * (end - first + TileColumns)));
    for (int64_t m0 = 0; m0 < p.m; m0 += PanelRows) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (int64_t k0 = 0; k0 < p.k; k0 += PanelDepth) {
            const int64_t depth = std::min(PanelDepth, p.k - k0);
            for (int64_t t = 0; t < PanelRows; t += TileRows)
                for (int64_t k = 0; k < depth; k++)
                    for (int64_t i = 0; i < TileRows; i++)
                        aPanel[static_cast<size_t>(t * depth + k * TileRows + i)] =
                            m0 + t + i < p.m ? at(p.a, m0 + t + i, k0 + k) : 0.0f;
            for (int64_t n0 = first; n0 < end; n0 += TileColumns) {
                for (int64_t k = 0; k < depth; k++)
                    for (int64_t j = 0; j < TileColumns; j++)
                        bPanel[static_cast<size_t>(k * TileColumns + j)] = n0 + j < end ? at(p.b, k0 + k, n0 + j) : 0.0f;
                for (int64_t t = 0; t < PanelRows; t += TileRows)
                    tile(&aPanel[static_cast<size_t>(t * depth)], bPanel.data(), depth,
                         &sums[static_cast<size_t>((n0 - first) * PanelRows + t * TileColumns)]);
            }
        }
        for (int64_t n = first; n < end; n++)
            for (int64_t m = m0; m < std::min(p.m, m0 + PanelRows); m++) {
                const int64_t n0 = (n - first) / TileColumns * TileColumns, t = (m - m0) / TileRows * TileRows;
                store(p, m, n, sums[static_cast<size_t>(n0 * PanelRows + t * TileColumns + (n - first - n0) * TileRows + (m - m0 - t))]);
            }
    }
}

}  // namespace

void multiply(const Product& p) {
    const int64_t half = (p.n / 2 + TileColumns - 1) / TileColumns * TileColumns;
    if (p.m * p.n * p.k < ThreadingFlops || half == 0 || half >= p.n) {
        columns(p, 0, p.n);
        return;
    }
    std::thread other([&p, half] { columns(p, half, p.n); });
    columns(p, 0, half);
    other.join();
}

}  // namespace soft
