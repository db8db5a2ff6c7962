// A relay for UDP in user space: any number of emulated links on one thread, no root needed.
// While datagrams are on their way the loop turns every 20 to 250 us (1/64 of the shortest delay): read everything in batches
// (GRO), decide fates, send what is due in batches (GSO). One turn handles some 15 datagrams at 856 Mbit/s, which is what
// lets the relay run beside both ends on two cores. A datagram leaves up to one turn late, never early. Idle, it sleeps.
// Invariant: links, flows and packet memory are touched by the loop thread only; others leave notes.
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using OrionNative.Net.Quic;
using OrionNative.Net.Quic.Interop;

namespace OrionNative.Net.Links;

/// <summary>Emulates links for UDP (QUIC). Dispose ends all of them.</summary>
public sealed unsafe class UdpRelay : IDisposable
{
    internal const int PieceBytes = 2048, PiecesMax = 1 << 17, BatchesMax = 32;
    const long TurnMin = 20_000, TurnMax = 250_000, IdleWait = 50_000_000;
    const nuint TimerSlack = 1000;

    readonly Action<string>? _log;
    readonly List<UdpLink> _links = [];
    readonly ConcurrentQueue<Action> _notes = new();
    readonly Thread _thread;
    readonly WakeSignal _wake = new();
    readonly byte* _batch = (byte*)NativeMemory.Alloc(UdpSocket.BatchBytesMax);
    Libc.pollfd[] _polls = new Libc.pollfd[64];
    volatile bool _stopping;

    /// <summary>Starts the loop.</summary>
    public UdpRelay(Action<string>? log = null)
    {
        _log = log;
        _thread = new Thread(Run) { IsBackground = true, Name = "udp relay" };
        _thread.Start();
    }

    /// <summary>Opens a link: what is sent to <see cref="EmulatedLink.Address"/> comes out at the target. With a
    /// <paramref name="bottleneck"/> the new link shares that one's rate and queue, as two routes over one cable do.</summary>
    public EmulatedLink Add(IPEndPoint listen, IPEndPoint target, LinkProfile profile, int seed, EmulatedLink? bottleneck = null)
    {
        ObjectDisposedException.ThrowIf(_stopping, this);
        var link = new UdpLink(listen, target, profile, seed, (UdpLink?)bottleneck, Post, _log);
        Post(() => _links.Add(link));
        return link;
    }

    /// <summary>Closes a link.</summary>
    public void Remove(EmulatedLink link) => Post(() =>
    {
        if (_links.Remove((UdpLink)link)) ((UdpLink)link).Dispose();
    });

    void Post(Action note)
    {
        _notes.Enqueue(note);
        _wake.Ring();
    }

    void Run()
    {
        _ = Libc.prctl(Libc.PR_SET_TIMERSLACK, TimerSlack, 0, 0, 0);
        while (!_stopping)
        {
            while (_notes.TryDequeue(out Action? note)) note();
            bool busy = false;
            long turn = TurnMax;
            foreach (UdpLink link in _links)
            {
                if (link.IsReady) busy |= link.Receive(Stopwatch.GetTimestamp());
                busy |= link.Release(Stopwatch.GetTimestamp(), _batch);
                turn = Math.Min(turn, link.DelayNanoseconds / 64);
            }
            if (busy) Sleep(Math.Max(TurnMin, turn));
            Poll(busy ? 0 : IdleWait);
        }
        foreach (UdpLink link in _links) link.Dispose();
        NativeMemory.Free(_batch);
    }

    static void Sleep(long nanoseconds)
    {
        var time = new Libc.timespec { tv_nsec = nanoseconds };
        _ = Libc.ppoll(null, 0, &time, null);
    }

    // One call says which of many sockets have something, which beats asking each of them every turn.
    void Poll(long nanoseconds)
    {
        int count = 1;
        foreach (UdpLink link in _links) count += link.Descriptors.Count;
        if (_polls.Length < count) _polls = new Libc.pollfd[2 * count];
        _polls[0] = new Libc.pollfd { fd = _wake.Descriptor, events = Libc.POLLIN };
        int next = 1;
        foreach (UdpLink link in _links)
            foreach (int descriptor in link.Descriptors) _polls[next++] = new Libc.pollfd { fd = descriptor, events = Libc.POLLIN };
        var time = new Libc.timespec { tv_nsec = nanoseconds };
        fixed (Libc.pollfd* p = _polls) _ = Libc.ppoll(p, (nuint)count, &time, null);
        next = 1;
        foreach (UdpLink link in _links)
        {
            link.IsReady = link.Descriptors.Count == 0;
            for (int i = 0; i < link.Descriptors.Count; i++) link.IsReady |= _polls[next++].revents != 0;
        }
        if (_polls[0].revents != 0) _wake.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_stopping) return;
        _stopping = true;
        Post(static () => { });
        if (Environment.CurrentManagedThreadId != _thread.ManagedThreadId) _thread.Join();
        _wake.Dispose();
    }
}
