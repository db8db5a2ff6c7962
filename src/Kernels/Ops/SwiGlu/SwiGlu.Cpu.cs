// SwiGLU on the CPU. Traffic in bytes an element of the output: forward 12 (reads g, u; writes s), backward 24 (reads g, u, ds;
// writes dg, du, s). With q = sigmoid(g) and t = g*q:   s = t*u    du = ds*t    dg = ds*u*(q + t*(1-q))
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    public void SwiGluForward(Tensor gateUp, Tensor output)
    {
        Shape.IsType(output, ElementType.Float32);
        Shape.Is(gateUp, ElementType.Float32, output.Rows, 2 * output.Columns);
        Map<SwiGluOf>(gateUp.ColumnRange(0, output.Columns), gateUp.ColumnRange(output.Columns, output.Columns), output);
    }

    public void SwiGluBackward(Tensor gateUp, Tensor gradOutput)
    {
        Shape.IsType(gradOutput, ElementType.Float32);
        Shape.Is(gateUp, ElementType.Float32, gradOutput.Rows, 2 * gradOutput.Columns);
        int width = gradOutput.Columns;
        Map<SwiGluGradient>(gateUp.ColumnRange(0, width), gateUp.ColumnRange(width, width), gradOutput);
    }

    struct SwiGluOf : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(VectorMath.Silu(TVec.Load(a + i, n - i)) * TVec.Load(b + i, n - i), c + i, n - i);
            }
        }
    }

    struct SwiGluGradient : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec gate = VectorMath.SiluDomain(TVec.Load(a + i, n - i));
                TVec up = TVec.Load(b + i, n - i);
                TVec gradient = TVec.Load(c + i, n - i);
                TVec sigmoid = VectorMath.Sigmoid(gate);
                TVec silu = gate * sigmoid;
                TVec slope = TVec.MultiplyAdd(silu, TVec.All(1f) - sigmoid, sigmoid);
                TVec.Store(gradient * up * slope, a + i, n - i);
                TVec.Store(gradient * silu, b + i, n - i);
                TVec.Store(silu * up, c + i, n - i);
            }
        }
    }
}
