// Boundary activations on the CPU: one pass each, bandwidth-bound. Traffic in bytes an element: forward 8, backward 12.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    public void SiluForward(Tensor x, Tensor output)
    {
        Shape.IsType(x, ElementType.Float32);
        Shape.Is(output, ElementType.Float32, x.Rows, x.Columns);
        Map<SiluOf>(x, output);
    }

    public void SiluBackward(Tensor x, Tensor gradOutput, Tensor gradX)
    {
        Shape.IsType(x, ElementType.Float32);
        Shape.Is(gradOutput, ElementType.Float32, x.Rows, x.Columns);
        Shape.Is(gradX, ElementType.Float32, x.Rows, x.Columns);
        Map<SiluGradient>(x, gradOutput, gradX);
    }

    public void ReluForward(Tensor x, Tensor output)
    {
        Shape.IsType(x, ElementType.Float32);
        Shape.Is(output, ElementType.Float32, x.Rows, x.Columns);
        Map<ReluOf>(x, output);
    }

    public void ReluBackward(Tensor output, Tensor gradOutput, Tensor gradX)
    {
        Shape.IsType(output, ElementType.Float32);
        Shape.Is(gradOutput, ElementType.Float32, output.Rows, output.Columns);
        Shape.Is(gradX, ElementType.Float32, output.Rows, output.Columns);
        Map<ReluGradient>(output, gradOutput, gradX);
    }

    struct SiluOf : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(VectorMath.Silu(TVec.Load(a + i, n - i)), b + i, n - i);
            }
        }
    }

    struct SiluGradient : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.Load(b + i, n - i) * VectorMath.SiluSlope(TVec.Load(a + i, n - i)), c + i, n - i);
            }
        }
    }

    struct ReluOf : IMap
    {
        // a NaN stays visible: Max gives its second operand where either is NaN
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.Max(TVec.All(0f), TVec.Load(a + i, n - i)), b + i, n - i);
            }
        }
    }

    struct ReluGradient : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.WherePositive(TVec.Load(a + i, n - i), TVec.Load(b + i, n - i)), c + i, n - i);
            }
        }
    }
}
