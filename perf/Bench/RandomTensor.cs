// Operands of measurements: uniform in [-1, 1), never zeros, from a fixed seed.
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Bench;

static unsafe class RandomTensor
{
    public static Tensor Create(int rows, int columns)
    {
        Tensor tensor = new((nint)CpuMemory.Allocate((long)rows * columns * sizeof(float)), ElementType.Float32, rows, columns);
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
            CpuMemory.Free((void*)tensor.Address);
        }
    }
}
