// Cases of activation.cu, on the views of the elementwise kernels.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    // exp, the reciprocal and a handful of products in fp32, each within 2 units of the last place.
    const double FewSingles = 16 * Single;

    static Dictionary<string, Action<KernelCase>> ActivationCases => new()
    {
        ["silu_forward"] = c => Activation(c, "silu_forward", Oracle.Silu, Rounding + FewSingles, flops: 5),
        ["relu_forward"] = c => Activation(c, "relu_forward", Oracle.Relu, 0, flops: 1),
        // The slope's terms are at most 1 and cancel near its zero, about x = -1.28.
        ["silu_backward"] = c => ActivationGradient(c, "silu_backward", (x, dy) => dy * Oracle.SiluSlope(x), Rounding + FewSingles, 2 * FewSingles, flops: 10),
        ["relu_backward"] = c => ActivationGradient(c, "relu_backward", (y, dy) => dy * Oracle.ReluSlope(y), 0, 0, flops: 1),
    };

    static void Activation(KernelCase c, string name, Func<double, double> expected, double relative, int flops)
    {
        var v = PickViews(c);
        Operand x = RandomView(c, "bf16", 1, v.Rows, v.Columns, v.SourceStride, v.SourceOffset);
        Operand y = RandomView(c, "bf16", 2, v.Rows, v.Columns, v.Stride, v.Offset);
        CudaKernel kernel = c.Kernel("activation.cu", name);
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(v.Rows, v.Columns), 256, 0, x.Address, x.Stride, y.Address, y.Stride, v.Rows, v.Columns));
        c.Bytes = 4L * v.Rows * v.Columns;
        c.Flops = (double)flops * v.Rows * v.Columns;
        c.Results = () => [new("output", y.Read, Array.ConvertAll(x.Values, value => expected(value)), relative, 0), y.Untouched];
    }

    static void ActivationGradient(KernelCase c, string name, Func<double, double, double> expected, double relative, double absolute, int flops)
    {
        var v = PickViews(c);
        Operand x = RandomView(c, "bf16", 1, v.Rows, v.Columns, v.SourceStride, v.SourceOffset, rectified: name == "relu_backward");
        Operand dy = RandomView(c, "bf16", 2, v.Rows, v.Columns, v.SourceStride, 0);
        Operand dx = RandomView(c, "bf16", 3, v.Rows, v.Columns, v.Stride, v.Offset);
        CudaKernel kernel = c.Kernel("activation.cu", name);
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(v.Rows, v.Columns), 256, 0,
            x.Address, x.Stride, dy.Address, dy.Stride, dx.Address, dx.Stride, v.Rows, v.Columns));
        c.Bytes = 6L * v.Rows * v.Columns;
        c.Flops = (double)flops * v.Rows * v.Columns;
        c.Results = () => [new("gradient", dx.Read, [.. x.Values.Zip(dy.Values, expected)], relative, absolute), dx.Untouched];
    }
}
