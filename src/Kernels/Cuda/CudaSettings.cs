// What changes from step to step lies in device memory, where kernels and recorded graphs read it. The tensors of a step share a few
// sets of numbers (with and without decay), so a set is uploaded when it is first asked for and found again for the others.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cuda;

/// <summary>The last sixteen sets of numbers, on the device.</summary>
/// <typeparam name="TStep">As the op contract has them.</typeparam>
/// <typeparam name="TDevice">As the kernel reads them.</typeparam>
sealed class CudaSettings<TStep, TDevice>(CudaContext context, CudaStaging staging) : IDisposable
    where TStep : struct, IEquatable<TStep>
    where TDevice : unmanaged
{
    const int Kept = 16;

    readonly CudaDeviceVariable<TDevice> _memory = new(context, Kept);
    readonly TStep[] _steps = new TStep[Kept];
    int _count;

    /// <summary>True with the address when the set is already there.</summary>
    public bool TryFind(TStep step, out nint address)
    {
        for (int i = 0; i < Math.Min(_count, Kept); i++)
        {
            if (_steps[i].Equals(step))
            {
                address = AddressOf(i);
                return true;
            }
        }

        address = 0;
        return false;
    }

    /// <summary>Uploads a set in the order of the compute stream, over the oldest.</summary>
    public nint Add(TStep step, TDevice numbers)
    {
        int place = _count++ % Kept;
        _steps[place] = step;
        staging.Upload(MemoryMarshal.AsBytes(new ReadOnlySpan<TDevice>(in numbers)), AddressOf(place));
        return AddressOf(place);
    }

    unsafe nint AddressOf(int place) => (nint)_memory.Address + (place * sizeof(TDevice));

    public void Dispose() => _memory.Dispose();
}
