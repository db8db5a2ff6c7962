// Cases of swiglu.cu.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> SwiGluCases => new()
    {
        ["swiglu_forward"] = SwiGluForward,
        ["swiglu_backward"] = SwiGluBackward,
    };

    static (int Rows, int Width) PickGates(KernelCase c)
    {
        (int rows, int width) = c.Pick((8 * c.Size, 8192), (1, 8), (3, 136), (13, 40), (2, 1408));
        c.Shape = $"R={rows} F={width}";
        return (rows, width);
    }

    static void SwiGluForward(KernelCase c)
    {
        (int rows, int width) = PickGates(c);
        ushort[] gateUp = Random(1, 2 * rows * width, 4);
        var (packed, output) = (c.Upload(gateUp), c.Allocate<ushort>((long)rows * width));
        long chunks = (long)rows * width / 8;
        CudaKernel kernel = c.Kernel("swiglu.cu", "swiglu_forward");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(chunks), 256, 0, packed.Address, output.Address, width, chunks));
        c.Bytes = 6L * rows * width;
        c.Flops = 6.0 * rows * width;
        c.Results = () => [new("output", () => KernelCase.Widen(output), Oracle.SwiGluForward(Widen(gateUp), width), Rounding + FewSingles, 0)];
    }

    static void SwiGluBackward(KernelCase c)
    {
        (int rows, int width) = PickGates(c);
        ushort[] gateUp = Random(1, 2 * rows * width, 4), gradient = Random(2, rows * width);
        var (packed, ds) = (c.Upload(gateUp), c.Upload(gradient));
        long chunks = (long)rows * width / 8;
        CudaKernel kernel = c.Kernel("swiglu.cu", "swiglu_backward");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(chunks), 256, 0, packed.Address, ds.Address, width, chunks));
        c.Bytes = 12L * rows * width;
        c.Flops = 12.0 * rows * width;
        c.Results = () =>
        [
            // sigmoid + silu*(1 - sigmoid) cancels near its zero (about g = -1.28), where its terms are below 1/4; u is at most 4.
            new("gradient", () => KernelCase.Widen(packed), Oracle.SwiGluBackward(Widen(gateUp), Widen(gradient), width), Rounding + FewSingles, 4 * FewSingles),
            new("output", () => KernelCase.Widen(ds), Oracle.SwiGluForward(Widen(gateUp), width), Rounding + FewSingles, 0),
        ];
    }
}
