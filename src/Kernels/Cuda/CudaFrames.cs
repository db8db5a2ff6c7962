// Frames on two streams of their own beside the computation, ordered by events alone: the host never waits, and a graph can hold it all.
//   departure  out waits for what was called (computed), copies, records left;    a claim makes compute wait for left
//   fetch      in waits for what was called (computed), copies, records filled;   an await makes compute wait for filled
// Both streams start and end every pass joined to compute, which is what lets a pass be recorded: no event outlives its pass.
namespace OrionNative.Kernels.Cuda;

sealed class CudaFrames : IFrames
{
    readonly CudaContext _context;
    readonly CudaStream _compute;
    readonly CudaStream _in;
    readonly CudaStream _out;
    readonly CudaEvent _computed;
    readonly CudaEvent _allLeft;
    readonly CudaEvent[] _left;
    readonly CudaEvent[] _filled;
    readonly bool[] _isLeaving;
    bool _hasDeparted;

    public CudaFrames(CudaContext context, CudaStream compute, int count)
    {
        (_context, _compute) = (context, compute);
        (_in, _out) = (new CudaStream(context), new CudaStream(context));
        (_computed, _allLeft) = (new CudaEvent(context, timing: false), new CudaEvent(context, timing: false));
        _left = [.. Enumerable.Range(0, count).Select(_ => new CudaEvent(context, timing: false))];
        _filled = [.. Enumerable.Range(0, count).Select(_ => new CudaEvent(context, timing: false))];
        _isLeaving = new bool[count];
    }

    /// <inheritdoc/>
    public void Begin()
    {
        Array.Clear(_isLeaving);
        _hasDeparted = false;
    }

    /// <inheritdoc/>
    public void Claim(int frame)
    {
        if (_isLeaving[frame])
        {
            _compute.WaitEvent(_left[frame]);
            _isLeaving[frame] = false;
        }
    }

    /// <inheritdoc/>
    public void Depart(int frame, nint device, nint host, long bytes)
    {
        _computed.Record(_compute);
        _out.WaitEvent(_computed);
        _context.CopyToHostAsync(device, host, bytes, _out);
        _left[frame].Record(_out);
        (_isLeaving[frame], _hasDeparted) = (true, true);
    }

    /// <inheritdoc/>
    public void Fetch(int frame, nint host, nint device, long bytes)
    {
        _computed.Record(_compute);
        _in.WaitEvent(_computed);
        _context.CopyToDeviceAsync(host, device, bytes, _in);
        _filled[frame].Record(_in);
    }

    /// <inheritdoc/>
    public void Await(int frame) => _compute.WaitEvent(_filled[frame]);

    /// <inheritdoc/>
    public void End()
    {
        if (_hasDeparted)
        {
            _allLeft.Record(_out);
            _compute.WaitEvent(_allLeft);
        }
    }

    public void Dispose()
    {
        _compute.Synchronize();
        _in.Synchronize();
        _out.Synchronize();
        Array.ForEach(_left, left => left.Dispose());
        Array.ForEach(_filled, filled => filled.Dispose());
        _computed.Dispose();
        _allLeft.Dispose();
        _in.Dispose();
        _out.Dispose();
    }
}
