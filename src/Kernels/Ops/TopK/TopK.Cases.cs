// Cases of topk.cu: the oracle's bytes and error to the bit, with ties, a short last chunk and chunks of zeros.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> TopKCases => new()
    {
        ["topk_pack"] = TopKPack,
        ["topk_add"] = TopKAdd,
    };

    static (int Kept, float[] X, float[] Error) PickVector(KernelCase c)
    {
        (int kept, int count) = c.Pick((64, 16384 * c.Size), (4, 1), (64, 4096), (8, 4097), (512, 9000));
        c.Shape = $"n={count} K={kept}";
        float[] x = RandomFloats(1, count), error = RandomFloats(2, count, 0.5f);
        for (int i = 0; i < count; i++)
        {
            // Many equal magnitudes, of both signs, and a second chunk of zeros where there are three.
            bool zero = i / TopKWire.Chunk == 1 && count > 2 * TopKWire.Chunk;
            (x[i], error[i]) = zero ? (0, 0) : (i % 3 == 0 ? MathF.Round(4 * x[i]) / 4 : x[i], i % 3 == 0 ? 0 : error[i]);
        }

        return (kept, x, error);
    }

    static void TopKPack(KernelCase c)
    {
        const float Decay = 0.95f;
        (int kept, float[] x, float[] error) = PickVector(c);
        var (values, left) = (c.Upload(x), c.Upload(error));
        CudaDeviceVariable<byte> wire = c.Allocate<byte>(TopKWire.Bytes(x.Length, kept));
        CudaKernel kernel = c.Kernel("topk.cu", "topk_pack");
        int chunks = (x.Length + TopKWire.Chunk - 1) / TopKWire.Chunk;
        c.LaunchWith(() => kernel.Launch(c.Stream, chunks, 256, 0, values.Address, left.Address, Decay, kept, wire.Address, (long)x.Length));
        c.Bytes = (12L * x.Length) + wire.Bytes;
        c.Flops = 3.0 * x.Length;
        c.Results = () =>
        {
            (byte[] expected, float[] stays) = Oracle.TopKPack(x, error, Decay, kept);
            return [new("wire", () => Bytes(KernelCase.Read(wire)), Bytes(expected)), new("error", () => KernelCase.Widen(left), Widen(stays))];
        };
    }

    static void TopKAdd(KernelCase c)
    {
        const float Weight = 0.3f;
        (int kept, float[] x, float[] error) = PickVector(c);
        int chunks = (x.Length + TopKWire.Chunk - 1) / TopKWire.Chunk;
        // To be timed, every chunk has the places of the first: packing them all on the host would take seconds, and equal places are a race.
        byte[] packed = c.Size > 0
            ? [.. Enumerable.Repeat(Oracle.TopKPack(x[..TopKWire.Chunk], error[..TopKWire.Chunk], 1, kept).Wire, chunks).SelectMany(chunk => chunk)]
            : Oracle.TopKPack(x, error, 1, kept).Wire;
        var (wire, destination) = (c.Upload(packed), c.Upload(x));
        CudaKernel kernel = c.Kernel("topk.cu", "topk_add");
        c.LaunchWith(() => kernel.Launch(c.Stream, chunks, 256, 0, wire.Address, kept, Weight, destination.Address, (long)x.Length));
        c.Bytes = packed.Length + (8L * kept * chunks);
        c.Flops = 4.0 * kept * chunks;
        c.Results = () =>
        {
            float[] expected = [.. Oracle.TopKUnpack(packed, kept, x.Length).Zip(x, (value, before) => value == 0 ? before : MathF.FusedMultiplyAdd(Weight, value, before))];
            return [new("destination", () => KernelCase.Widen(destination), Widen(expected))];
        };
    }
}
