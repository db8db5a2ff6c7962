// Payloads in and out beside the computation: a stream a direction, a few staging buffers a direction, and events between them.
//   in    staging i is filled when the kernels that read its last content are done, and a copy that left from it; compute waits for the fill
//   out   the copy of staging i waits for the kernel that packed it; the next packing into i waits for the copy
// So while a microbatch computes, the next code arrives and the last one leaves. A mark is an event behind both streams.
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

sealed unsafe class CudaTransfers : ITransfers, IDisposable
{
    const int Buffers = 4;
    const int ReadersOpen = 2;
    const int Marks = 64;

    readonly CudaContext _context;
    readonly CudaStream _compute;
    readonly CudaStream _in;
    readonly CudaStream _out;
    readonly Staging[] _arriving;
    readonly Staging[] _departing;
    readonly CudaEvent _computed;
    readonly CudaEvent _left;
    readonly CudaEvent[] _marks;
    long _arrivals;
    long _departures;
    long _lastMark;
    GCHandle _self;

    public CudaTransfers(CudaContext context, CudaStream compute)
    {
        (_context, _compute) = (context, compute);
        _self = GCHandle.Alloc(this);
        (_in, _out) = (new CudaStream(context), new CudaStream(context));
        _arriving = [.. Enumerable.Range(0, Buffers).Select(_ => new Staging(context))];
        _departing = [.. Enumerable.Range(0, Buffers).Select(_ => new Staging(context))];
        _computed = new CudaEvent(context, timing: false);
        _left = new CudaEvent(context, timing: false);
        _marks = [.. Enumerable.Range(0, Marks).Select(_ => new CudaEvent(context, timing: false))];
    }

    /// <inheritdoc/>
    public nint AllocateHost(long bytes, string purpose)
    {
        nint address = _context.AllocateHost(Math.Max(bytes, 1), purpose);
        NativeMemory.Clear((void*)address, (nuint)bytes);
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
        if (_arrivals >= ReadersOpen)
        {
            // whoever reads that arrival has been called by now
            _arriving[(_arrivals - ReadersOpen) % Buffers].Read.Record(_compute);
        }

        Staging staging = _arriving[_arrivals % Buffers];
        if (_arrivals >= Buffers)
        {
            _in.WaitEvent(staging.Read);
            if (staging.HasLeft)
            {
                _in.WaitEvent(staging.Left);
                staging.HasLeft = false;
            }
        }

        _arrivals++;
        nint address = AddressOf(staging, bytes);
        _context.CopyToDeviceAsync(host, address, bytes, _in);
        staging.Filled.Record(_in);
        _compute.WaitEvent(staging.Filled);
        return address;
    }

    /// <inheritdoc/>
    public nint Departing(nint host, long bytes)
    {
        Staging staging = _departing[_departures % Buffers];
        if (staging.HasLeft)
        {
            _compute.WaitEvent(staging.Left);
            staging.HasLeft = false;
        }

        _departures++;
        return AddressOf(staging, bytes);
    }

    nint AddressOf(Staging staging, long bytes)
    {
        if (staging.Bytes < bytes)
        {
            _compute.Synchronize();
            Synchronize();
            staging.Grow(bytes);
        }

        return staging.Address;
    }

    /// <inheritdoc/>
    public void Depart(nint departing, nint host, long bytes)
    {
        _computed.Record(_compute);
        _out.WaitEvent(_computed);
        _context.CopyToHostAsync(departing, host, bytes, _out);
        for (int i = 0; i < Buffers; i++)
        {
            MarkLeft(_departing[i], departing);
            MarkLeft(_arriving[i], departing);
        }
    }

    void MarkLeft(Staging staging, nint address)
    {
        if (staging.Address == address)
        {
            staging.Left.Record(_out);
            staging.HasLeft = true;
        }
    }

    /// <inheritdoc/>
    public void Fence()
    {
        _left.Record(_out);
        _in.WaitEvent(_left);
    }

    /// <inheritdoc/>
    public long Mark()
    {
        _computed.Record(_compute);
        _out.WaitEvent(_computed);
        _lastMark++;
        _marks[_lastMark % Marks].Record(_out);
        if (Reached is not null)
        {
            CudaDriver driver = _context.Enter();
            driver.Check(driver.cuLaunchHostFunc(_out.Handle, &CallReached, (void*)GCHandle.ToIntPtr(_self)), "cuLaunchHostFunc");
        }

        return _lastMark;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(System.Runtime.CompilerServices.CallConvCdecl)])]
    static void CallReached(void* self) => ((CudaTransfers)GCHandle.FromIntPtr((nint)self).Target!).Reached?.Invoke();

    /// <inheritdoc/>
    public Action? Reached { get; set; }

    /// <inheritdoc/>
    public bool IsApart => true;

    /// <inheritdoc/>
    public IFrames OpenFrames(int count) => new CudaFrames(_context, _compute, count);

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
        _left.Dispose();
        _in.Dispose();
        _out.Dispose();
        _self.Free();
    }

    /// <summary>A buffer on the device that grows to the largest payload and is then kept.</summary>
    sealed class Staging(CudaContext context) : IDisposable
    {
        CudaDeviceVariable<byte>? _memory;

        /// <summary>In: the copy into it is done. Unused on the way out.</summary>
        public CudaEvent Filled { get; } = new(context, timing: false);

        /// <summary>In: the kernels that read it are done. Unused on the way out.</summary>
        public CudaEvent Read { get; } = new(context, timing: false);

        /// <summary>The last copy from it to the host is done.</summary>
        public CudaEvent Left { get; } = new(context, timing: false);

        /// <summary>True when such a copy was called and nobody has waited for it.</summary>
        public bool HasLeft { get; set; }

        public long Bytes => _memory?.Bytes ?? 0;

        public nint Address => (nint)(_memory?.Address ?? 0);

        public void Grow(long bytes)
        {
            _memory?.Dispose();
            _memory = new CudaDeviceVariable<byte>(context, bytes);
        }

        public void Dispose()
        {
            _memory?.Dispose();
            Filled.Dispose();
            Read.Dispose();
            Left.Dispose();
        }
    }
}
