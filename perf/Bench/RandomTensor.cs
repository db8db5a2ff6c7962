// Operands of measurements: uniform in [-1, 1), never zeros, from a fixed seed.
using System.Runtime.InteropServices;
using OrionNative.Kernels;

namespace OrionNative.Bench;

static unsafe class RandomTensor
{
    public static Tensor Create(int rows, int columns)
    {
        Tensor tensor = new((nint)NativeMemory.AlignedAlloc((nuint)((long)rows * columns * sizeof(float)), 4096), ElementType.Float32, rows, columns);
        Random random = new(rows + columns);
        for (long i = 0; i < tensor.Count; i++)
        {
            ((float*)tensor.Address)[i] = (random.NextSingle() * 2) - 1;
        }

        return tensor;
    }

    public static void Free(params ReadOnlySpan<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
        {
            NativeMemory.AlignedFree((void*)tensor.Address);
        }
    }
}
