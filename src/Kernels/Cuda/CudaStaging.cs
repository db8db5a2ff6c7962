// Small uploads that do not wait: token ids and step settings are copied into a page-locked ring and go from there in the order of
// the compute stream, so the caller's memory is free at once and the host runs on. The ring has two halves; before a half is filled
// again its last copy must have been done, which after half a ring of uploads it has. Large uploads (weights) go from where they are.
namespace OrionNative.Kernels.Cuda;

sealed unsafe class CudaStaging : IDisposable
{
    const int HalfBytes = 1 << 20;
    const int Alignment = 64;

    readonly CudaContext _context;
    readonly CudaStream _stream;
    readonly CudaPageLockedHostMemory<byte> _ring;
    readonly CudaEvent[] _done;
    int _half;
    int _used;

    public CudaStaging(CudaContext context, CudaStream stream)
    {
        (_context, _stream) = (context, stream);
        _ring = new CudaPageLockedHostMemory<byte>(context, 2 * HalfBytes);
        _done = [new CudaEvent(context, timing: false), new CudaEvent(context, timing: false)];
    }

    /// <summary>Copies host bytes to the device before the operations called later; the source is free when this returns.</summary>
    public void Upload(ReadOnlySpan<byte> source, nint destination)
    {
        if (source.Length > HalfBytes)
        {
            // Where a card reads the host's pages by itself (HMM, Grace) such a copy may still be under way when the call returns, and these
            // bytes may move then: only weights are that large, and nobody waits for anything else meanwhile.
            fixed (byte* from = source)
            {
                _context.CopyToDeviceAsync((nint)from, destination, source.Length, _stream);
                _stream.Synchronize();
            }

            return;
        }

        int bytes = (source.Length + Alignment - 1) / Alignment * Alignment;
        if (_used + bytes > HalfBytes)
        {
            _done[_half].Record(_stream);
            (_half, _used) = (1 - _half, 0);
            if (!_done[_half].IsReached())
            {
                _done[_half].Synchronize();
            }
        }

        byte* at = _ring.Pointer + (_half * HalfBytes) + _used;
        source.CopyTo(new Span<byte>(at, source.Length));
        _used += bytes;
        _context.CopyToDeviceAsync((nint)at, destination, source.Length, _stream);
    }

    public void Dispose()
    {
        _stream.Synchronize();
        Array.ForEach(_done, done => done.Dispose());
        _ring.Dispose();
    }
}
