// What a CPU peer and a GPU peer exchange, through the engine's own operations: the bytes, errors and hashes of the two are equal.
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cpu;
using OrionNative.Kernels.Cuda;
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class SharedFormatTests
{
    const int Count = 9001;
    readonly List<nint> _held = [];

    [Fact]
    public void TopK_CpuAndCuda_MakeTheSameBytesErrorsAndSums()
    {
        (byte[] wire, float[] error, float[] sum) expected = TopK(new CpuDevice(2, VectorPathChoice.Widest)), actual = TopK(Software());
        Assert.Equal(expected.wire, actual.wire);
        Assert.Equal(expected.error, actual.error);
        Assert.Equal(expected.sum, actual.sum);
    }

    [Fact]
    public void Hash_MastersInHalvesAndWhole_IsOne()
    {
        float[] weights = Numbers(1);
        ulong whole = Hash(new CpuDevice(2, VectorPathChoice.Widest), device => device.Ops.HashWeights(Put(device, weights), default, 9, Zeros(device)));
        Assert.Equal(WeightHash.Of(weights, 9), whole);
        Assert.Equal(whole, Hash(Software(), device => device.Ops.HashWeights(Put(device, weights), default, 9, Zeros(device))));
        Assert.Equal(whole, Hash(Software(), device =>
        {
            Tensor high = Put(device, Array.ConvertAll(weights, w => BFloat16.Split(w).High), ElementType.BFloat16);
            Tensor low = Put(device, Array.ConvertAll(weights, w => BFloat16.Split(w).Low), ElementType.Low16);
            device.Ops.HashWeights(high, low, 9, Zeros(device));
        }));
    }

    static CudaDevice Software()
    {
        SoftwareCuda.SkipIfAbsent();
        return new CudaDevice("softcuda:0");
    }

    static float[] Numbers(int seed)
    {
        Random random = new(seed);
        return [.. Enumerable.Range(0, Count).Select(_ => (float)((2 * random.NextDouble()) - 1))];
    }

    Tensor Put<T>(IDevice device, T[] values, ElementType type = ElementType.Float32)
        where T : unmanaged
    {
        Tensor tensor = new(device.Allocate(values.Length * Tensor.SizeOf(type), "a test"), type, 1, values.Length);
        device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), tensor.Address);
        _held.Add(tensor.Address);
        return tensor;
    }

    nint Zeros(IDevice device) => Put(device, new ulong[1], ElementType.Float64).Address;

    ulong Hash(IDevice device, Action<IDevice> hash)
    {
        using (device)
        {
            _held.Clear();
            hash(device);
            byte[] bits = new byte[8];
            // the last thing that was put is what was hashed into
            device.Download(_held[^1], bits);
            _held.ForEach(device.Free);
            return BitConverter.ToUInt64(bits);
        }
    }

    (byte[] Wire, float[] Error, float[] Sum) TopK(IDevice device)
    {
        const int Kept = 64;
        using (device)
        {
            _held.Clear();
            Tensor x = Put(device, Numbers(1)), error = Put(device, Numbers(2)), sum = Put(device, Numbers(3));
            byte[] wire = new byte[TopKWire.Bytes(Count, Kept)];
            nint packed = Put(device, wire, ElementType.Int8).Address;
            device.Ops.TopKPack(x, error, 0.95f, Kept, packed);
            device.Ops.TopKAdd(packed, Kept, 0.7f, sum);
            float[] left = new float[Count], added = new float[Count];
            device.Download(packed, wire);
            device.Download(error.Address, MemoryMarshal.AsBytes(left.AsSpan()));
            device.Download(sum.Address, MemoryMarshal.AsBytes(added.AsSpan()));
            _held.ForEach(device.Free);
            return (wire, left, added);
        }
    }
}
