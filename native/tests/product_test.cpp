// cuBLASLt's product against three loops, for every choice of transposes, with alpha, beta and rows further apart than they are long.
#include "tests/api.h"

extern "C" {
int cublasLtCreate(void**);
int cublasLtDestroy(void*);
int cublasLtMatmulDescCreate(void**, int, int);
int cublasLtMatmulDescDestroy(void*);
int cublasLtMatmulDescSetAttribute(void*, int, const void*, size_t);
int cublasLtMatrixLayoutCreate(void**, int, uint64_t, uint64_t, int64_t);
int cublasLtMatrixLayoutDestroy(void*);
int cublasLtMatmul(void*, void*, const void*, uintptr_t, void*, uintptr_t, void*, const void*, uintptr_t, void*, uintptr_t, void*, const void*,
                   uintptr_t, size_t, void*);
}

namespace {

constexpr int Real32F = 0, Compute32F = 68, TransposeA = 3, TransposeB = 4;

std::vector<float> numbers(size_t count, unsigned seed) {
    std::vector<float> values(count);
    for (float& v : values) v = static_cast<float>(static_cast<int>((seed = seed * 1664525u + 1013904223u) >> 24)) - 128.0f;
    return values;
}

}  // namespace

int main() {
    useDevice(0);
    constexpr int M = 7, N = 5, K = 9, Gap = 3;
    void* handle;
    CHECK(cublasLtCreate(&handle) == 0);
    for (int transposes = 0; transposes < 4; transposes++) {
        const int ta = transposes & 1, tb = transposes >> 1;
        const int rowsA = ta ? K : M, columnsA = ta ? M : K, rowsB = tb ? N : K, columnsB = tb ? K : N;
        const std::vector<float> a = numbers(static_cast<size_t>((rowsA + Gap) * columnsA), 1), b = numbers(static_cast<size_t>((rowsB + Gap) * columnsB), 2);
        const std::vector<float> before = numbers(static_cast<size_t>((M + Gap) * N), 3);
        const uintptr_t da = upload(a), db = upload(b), dc = upload(before);
        void *description, *layoutA, *layoutB, *layoutC;
        CHECK(cublasLtMatmulDescCreate(&description, Compute32F, Real32F) == 0);
        CHECK(cublasLtMatmulDescSetAttribute(description, TransposeA, &ta, sizeof ta) == 0);
        CHECK(cublasLtMatmulDescSetAttribute(description, TransposeB, &tb, sizeof tb) == 0);
        CHECK(cublasLtMatrixLayoutCreate(&layoutA, Real32F, static_cast<uint64_t>(rowsA), static_cast<uint64_t>(columnsA), rowsA + Gap) == 0);
        CHECK(cublasLtMatrixLayoutCreate(&layoutB, Real32F, static_cast<uint64_t>(rowsB), static_cast<uint64_t>(columnsB), rowsB + Gap) == 0);
        CHECK(cublasLtMatrixLayoutCreate(&layoutC, Real32F, M, N, M + Gap) == 0);
        const float alpha = 0.5f, beta = -2.0f;
        CHECK(cublasLtMatmul(handle, description, &alpha, da, layoutA, db, layoutB, &beta, dc, layoutC, dc, layoutC, nullptr, 0, 0, nullptr) == 0);
        const std::vector<float> c = download<float>(dc, before.size());
        for (int n = 0; n < N; n++)
            for (int m = 0; m < M + Gap; m++) {
                const size_t at = static_cast<size_t>(n * (M + Gap) + m);
                double sum = 0;
                for (int k = 0; k < K && m < M; k++)
                    sum += static_cast<double>(a[static_cast<size_t>(ta ? m * (K + Gap) + k : k * (M + Gap) + m)]) *
                           b[static_cast<size_t>(tb ? k * (N + Gap) + n : n * (K + Gap) + k)];
                // Integers below 2^24: every order of fp32 additions is exact. Rows of the gap stay.
                CHECK(c[at] == (m < M ? static_cast<float>(0.5 * sum - 2.0 * before[at]) : before[at]));
            }
        CHECK(cublasLtMatrixLayoutDestroy(layoutA) == 0 && cublasLtMatrixLayoutDestroy(layoutB) == 0 && cublasLtMatrixLayoutDestroy(layoutC) == 0);
        CHECK(cublasLtMatmulDescDestroy(description) == 0 && cublasLtMatmulDescDestroy(description) != 0);
        CHECK(cuMemFree_v2(da) == 0 && cuMemFree_v2(db) == 0 && cuMemFree_v2(dc) == 0);
    }
    CHECK(cublasLtDestroy(handle) == 0 && cuDevicePrimaryCtxRelease_v2(0) == 0);
    return 0;
}
