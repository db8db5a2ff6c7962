// Payloads in and out beside the computation: a stream a direction, a few staging buffers a direction, and events between them.
//   in    staging i is filled when the kernels that read its last content are done; compute waits for the fill
//   out   the copy of staging i waits for the kernel that packed it; the next packing into i waits for the copy
// So while a microbatch computes, the next code arrives and the last one leaves. A mark is an event behind both streams.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

sealed unsafe class CudaTransfers : ITransfers, IDisposable
{
    const int Buffers = 4;
    const int Marks = 64;

    readonly CudaContext _context;
    readonly CudaStream _compute;
    readonly CudaStream _in;
    readonly CudaStream _out;
    readonly Staging[] _arriving;
    readonly Staging[] _departing;
    readonly CudaEvent _computed;
    readonly CudaEvent[] _marks;
    long _arrivals;
    long _departures;
    long _lastMark;

    public CudaTransfers(CudaContext context, CudaStream compute)
    {
        (_context, _compute) = (context, compute);
        (_in, _out) = (new CudaStream(context), new CudaStream(context));
        _arriving = [.. Enumerable.Range(0, Buffers).Select(_ => new Staging(context))];
        _departing = [.. Enumerable.Range(0, Buffers).Select(_ => new Staging(context))];
        _computed = new CudaEvent(context, timing: false);
        _marks = [.. Enumerable.Range(0, Marks).Select(_ => new CudaEvent(context, timing: false))];
    }

    /// <inheritdoc/>
    public nint AllocateHost(long bytes, string purpose)
    {
        nint address = _context.AllocateHost(Math.Max(bytes, 1), purpose);
        new Span<byte>((void*)address, checked((int)bytes)).Clear();
        return address;
    }

    /// <inheritdoc/>
    public void FreeHost(nint address) => _context.FreeHost(address);

    /// <inheritdoc/>
    public void LockHost(nint address, long bytes)
    {
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuMemHostRegister_v2((void*)address, (nuint)bytes, 0), "cuMemHostRegister_v2", "bytes", bytes);
    }

    /// <inheritdoc/>
    public void UnlockHost(nint address)
    {
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuMemHostUnregister((void*)address), "cuMemHostUnregister", "address", address);
    }

    /// <inheritdoc/>
    public nint Arrive(nint host, long bytes)
    {
        if (_arrivals > 0)
        {
            // whoever reads the last arrival has been called by now
            _arriving[(_arrivals - 1) % Buffers].Read.Record(_compute);
        }

        Staging staging = _arriving[_arrivals % Buffers];
        if (_arrivals >= Buffers)
        {
            _in.WaitEvent(staging.Read);
        }

        _arrivals++;
        nint address = staging.AtLeast(bytes, _compute, _in);
        _context.CopyToDeviceAsync(host, address, bytes, _in);
        staging.Filled.Record(_in);
        _compute.WaitEvent(staging.Filled);
        return address;
    }

    /// <inheritdoc/>
    public nint Departing(nint host, long bytes)
    {
        Staging staging = _departing[_departures % Buffers];
        if (_departures >= Buffers)
        {
            _compute.WaitEvent(staging.Read);
        }

        _departures++;
        return staging.AtLeast(bytes, _compute, _out);
    }

    /// <inheritdoc/>
    public void Depart(nint departing, nint host, long bytes)
    {
        _computed.Record(_compute);
        _out.WaitEvent(_computed);
        _context.CopyToHostAsync(departing, host, bytes, _out);
        foreach (Staging staging in _departing)
        {
            if (staging.Holds(departing))
            {
                staging.Read.Record(_out);
            }
        }
    }

    /// <inheritdoc/>
    public long Mark()
    {
        _computed.Record(_compute);
        _out.WaitEvent(_computed);
        _lastMark++;
        _marks[_lastMark % Marks].Record(_out);
        return _lastMark;
    }

    // an event that was recorded again belongs to a later mark, and what is later is done later
    /// <inheritdoc/>
    public bool IsReached(long mark) => mark == 0 || _marks[mark % Marks].IsReached();

    /// <inheritdoc/>
    public void Wait(long mark)
    {
        if (mark != 0)
        {
            _marks[mark % Marks].Synchronize();
        }
    }

    /// <summary>Returns when nothing is under way.</summary>
    public void Synchronize()
    {
        _in.Synchronize();
        _out.Synchronize();
    }

    public void Dispose()
    {
        _compute.Synchronize();
        Synchronize();
        Array.ForEach(_arriving, staging => staging.Dispose());
        Array.ForEach(_departing, staging => staging.Dispose());
        Array.ForEach(_marks, mark => mark.Dispose());
        _computed.Dispose();
        _in.Dispose();
        _out.Dispose();
    }

    /// <summary>A buffer on the device that grows to the largest payload and is then kept.</summary>
    sealed class Staging(CudaContext context) : IDisposable
    {
        CudaDeviceVariable<byte>? _memory;

        /// <summary>In: the copy into it is done. Unused on the way out.</summary>
        public CudaEvent Filled { get; } = new(context, timing: false);

        /// <summary>In: its readers are done. Out: the copy from it is done.</summary>
        public CudaEvent Read { get; } = new(context, timing: false);

        public bool Holds(nint address) => _memory is not null && (nint)_memory.Address == address;

        public nint AtLeast(long bytes, CudaStream user, CudaStream other)
        {
            if (_memory is null || _memory.Bytes < bytes)
            {
                user.Synchronize();
                other.Synchronize();
                _memory?.Dispose();
                _memory = new CudaDeviceVariable<byte>(context, bytes);
            }

            return (nint)_memory.Address;
        }

        public void Dispose()
        {
            _memory?.Dispose();
            Filled.Dispose();
            Read.Dispose();
        }
    }
}
