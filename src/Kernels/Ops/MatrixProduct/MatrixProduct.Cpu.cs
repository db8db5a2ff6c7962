// c = alpha * op(a) * op(b) + beta * c in single precision through the packed product (Cpu/Gemm), which says how it is
// cut and why the bits of a row depend on nothing but that row of op(a), op(b) and c.
using OrionNative.Kernels.Cpu.Gemm;

namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    readonly PackedProduct _product = new(team, path);

    /// <inheritdoc cref="IOps.MatrixProduct"/>
    public void MatrixProduct(Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, float alpha, float beta)
    {
        (int m, int k) = transposeA ? (a.Columns, a.Rows) : (a.Rows, a.Columns);
        (int kOfB, int n) = transposeB ? (b.Columns, b.Rows) : (b.Rows, b.Columns);
        if (k != kOfB || c.Rows != m || c.Columns != n)
        {
            throw new ArgumentException(
                $"the product of op(a) [{m}, {k}] and op(b) [{kOfB}, {n}] does not fit c [{c.Rows}, {c.Columns}]: "
                + $"expected {k} rows in op(b) and c [{m}, {n}]");
        }

        if (a.Type != ElementType.Float32 || b.Type != ElementType.Float32 || c.Type != ElementType.Float32)
        {
            throw new ArgumentException($"a product on the CPU is in Float32; found a {a}, b {b}, c {c}");
        }

        Operand left = transposeA ? new(a.Address, 1, a.Stride) : new(a.Address, a.Stride, 1);
        Operand right = transposeB ? new(b.Address, b.Stride, 1) : new(b.Address, 1, b.Stride);
        _product.Run(left, right, (float*)c.Address, c.Stride, m, n, k, alpha, beta);
    }
}
