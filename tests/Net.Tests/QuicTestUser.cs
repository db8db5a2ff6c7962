// A user whose lanes carry a known endless pattern: byte p of lane n is pattern[(p + n) % prime]. The sender only counts how
// much of it is on offer, the receiver compares every byte with the place it must have, so loss, order and doubling all show.
using System.Runtime.InteropServices;
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests;

sealed unsafe class QuicTestUser : ITransportUser, IDisposable
{
    public const int Lanes = 4;
    const int Period = 1_048_573;

    static readonly byte[] _source = Pattern();

    /// <summary>One period of the pattern.</summary>
    public static ReadOnlySpan<byte> Source => _source;

    readonly byte* _pattern;
    readonly long[] _offered = new long[Lanes], _sent = new long[Lanes], _acknowledged = new long[Lanes], _received = new long[Lanes];
    readonly ManualResetEventSlim _changed = new();

    public QuicTestUser()
    {
        _pattern = (byte*)NativeMemory.AlignedAlloc(Period, 4096);
        _source.CopyTo(new Span<byte>(_pattern, Period));
    }

    public ITransportConnection? Connection { get; private set; }

    public CloseReason? Reason { get; private set; }

    public bool IsDamaged { get; private set; }

    /// <summary>Called on the loop thread with every delivery.</summary>
    public Action<QuicTestUser, Lane, nuint>? OnReceive { get; set; }

    public long Received(Lane lane) => Volatile.Read(ref _received[(int)lane]);

    public long Acknowledgements(Lane lane) => Volatile.Read(ref _acknowledged[(int)lane]);

    public void Offer(Lane lane, long bytes)
    {
        Interlocked.Add(ref _offered[(int)lane], bytes);
        Connection?.Wake();
    }

    /// <summary>Waits until a condition over this user's counters holds.</summary>
    public bool Wait(Func<bool> condition, double seconds = 20)
    {
        long end = Environment.TickCount64 + (long)(1000 * seconds);
        while (!condition())
        {
            long left = end - Environment.TickCount64;
            if (left <= 0) return false;
            _changed.Wait((int)Math.Min(left, 50));
            _changed.Reset();
        }
        return true;
    }

    public bool WaitOpen(double seconds = 20) => Wait(() => Connection is not null || Reason is not null, seconds) && Connection is not null;

    public bool WaitClosed(double seconds = 20) => Wait(() => Reason is not null, seconds);

    public nuint Peek(Lane lane, out byte* data)
    {
        int n = (int)lane;
        long left = Volatile.Read(ref _offered[n]) - _sent[n];
        long at = (_sent[n] + n) % Period;
        data = _pattern + at;
        return (nuint)Math.Min(left, Period - at);
    }

    public void Advance(Lane lane, nuint bytes) => _sent[(int)lane] += (long)bytes;

    public void Acknowledged(Lane lane, nuint bytes)
    {
        Volatile.Write(ref _acknowledged[(int)lane], _acknowledged[(int)lane] + (long)bytes);
        _changed.Set();
    }

    public void Receive(Lane lane, byte* data, nuint bytes)
    {
        int n = (int)lane;
        long done = 0;
        while (done < (long)bytes)
        {
            long at = (_received[n] + done + n) % Period;
            long take = Math.Min((long)bytes - done, Period - at);
            if (!new ReadOnlySpan<byte>(data + done, (int)take).SequenceEqual(new ReadOnlySpan<byte>(_pattern + at, (int)take))) IsDamaged = true;
            done += take;
        }
        Volatile.Write(ref _received[n], _received[n] + (long)bytes);
        OnReceive?.Invoke(this, lane, bytes);
        _changed.Set();
    }

    public void Opened(ITransportConnection connection)
    {
        Connection = connection;
        _changed.Set();
    }

    public void Closed(ITransportConnection connection, CloseReason reason)
    {
        Assert.Null(Reason);
        Reason = reason;
        _changed.Set();
    }

    static byte[] Pattern()
    {
        var bytes = new byte[Period];
        new Random(3).NextBytes(bytes);
        return bytes;
    }

    public void Dispose()
    {
        _changed.Dispose();
        NativeMemory.AlignedFree(_pattern);
    }
}
