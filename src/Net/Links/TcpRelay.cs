// A relay for TCP: rate, delay, jitter and blackholes for the TCP transport. Each TCP connection is ended here and begun anew
// towards the target, so loss, reordering and duplication cannot be emulated (the kernel hides them on both sides), and the
// congestion control of the ends sees two clean local paths. Whoever sets them is told so: the relay refuses.
// Pieces of up to 16 KiB pass the same shaper as datagrams; reading stops when the link holds more than its delay and queue.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;

namespace OrionNative.Net.Links;

/// <summary>Emulates one link for TCP (the fallback transport).</summary>
public sealed class TcpRelay : EmulatedLink, IDisposable
{
    const int PieceBytes = 16 << 10, SegmentBytes = 1448, HeaderBytes = 40;
    static readonly TimeSpan _look = TimeSpan.FromMilliseconds(5);

    readonly Socket _listener;
    readonly CancellationTokenSource _end = new();
    readonly LinkShaper _up, _down;

    /// <summary>Listens and relays until disposed. Throws <see cref="NotSupportedException"/> for conditions that TCP cannot show.</summary>
    public TcpRelay(IPEndPoint listen, IPEndPoint target, LinkProfile profile, int seed) : this(Tls.TcpListening.At(listen, backlog: 128), target, profile, seed) { }

    TcpRelay(Socket listener, IPEndPoint target, LinkProfile profile, int seed) : base((IPEndPoint)listener.LocalEndPoint!, target, profile)
    {
        (_listener, _up, _down) = (listener, new LinkShaper(seed), new LinkShaper(~seed));
        try
        {
            Check(profile);
        }
        catch
        {
            Dispose();
            throw;
        }
        _ = AcceptAsync();
    }

    private protected override void Check(LinkProfile profile)
    {
        foreach (LinkConditions side in new[] { profile.Up, profile.Down })
            if (side.Loss > 0 || side.Reorder > 0 || side.Duplicate > 0)
                throw new NotSupportedException($"A TCP relay cannot lose, reorder or duplicate segments ({side}). Fix: leave these out, or rehearse with QUIC.");
    }

    /// <inheritdoc/>
    public override void ChangeSourcePort() => throw new NotSupportedException("A TCP connection cannot change its address. Fix: rehearse with QUIC.");

    async Task AcceptAsync()
    {
        CancellationToken end = _end.Token;
        while (!end.IsCancellationRequested)
        {
            try
            {
                _ = RelayAsync(await _listener.AcceptAsync(end).ConfigureAwait(false));
            }
            catch (SocketException) when (!end.IsCancellationRequested)
            {
                // descriptors may be short for a while; whoever was waiting comes again
                await Task.Delay(_look).ConfigureAwait(false);
            }
            catch (Exception disposed) when (disposed is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    async Task RelayAsync(Socket client)
    {
        using (client)
        {
            using var both = CancellationTokenSource.CreateLinkedTokenSource(_end.Token);
            try
            {
                using var server = new Socket(Target.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                client.NoDelay = server.NoDelay = true;
                await server.ConnectAsync(Target, both.Token).ConfigureAwait(false);
                Task up = PumpAsync(client, server, _up, static p => p.Up, Up, both.Token);
                Task down = PumpAsync(server, client, _down, static p => p.Down, Down, both.Token);
                await Task.WhenAny(up, down).ConfigureAwait(false);
                await both.CancelAsync().ConfigureAwait(false);
                await Task.WhenAll(up, down).ConfigureAwait(false);
            }
            catch (Exception failure) when (failure is OperationCanceledException or SocketException)
            {
                // one end is gone; the other learns it from its closed socket
            }
        }
    }

    async Task PumpAsync(Socket from, Socket to, LinkShaper shaper, Func<LinkProfile, LinkConditions> side, LinkTally tally, CancellationToken cancellation)
    {
        var line = Channel.CreateUnbounded<(byte[] Piece, int Bytes, long Arrives)>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
        var spare = new System.Collections.Concurrent.ConcurrentBag<byte[]>();
        long held = 0;
        Task writing = WriteAsync();
        try
        {
            while (true)
            {
                LinkConditions link = side(Profile);
                double holds = link.BitsPerSecond > 0 ? link.BitsPerSecond / 8 * (link.Delay + link.Jitter + link.Queue).TotalSeconds : 64 << 20;
                if (link.Blackhole || Volatile.Read(ref held) > Math.Max(holds, 4 * PieceBytes))
                {
                    await Task.Delay(_look, cancellation).ConfigureAwait(false);
                    continue;
                }
                byte[] piece = spare.TryTake(out byte[]? used) ? used : new byte[PieceBytes];
                int bytes = await from.ReceiveAsync(piece, SocketFlags.None, cancellation).ConfigureAwait(false);
                if (bytes == 0) break;
                long arrives;
                lock (shaper)
                {
                    LinkConditions patient = side(Profile) with { Blackhole = false, MtuBytes = int.MaxValue, Queue = TimeSpan.FromDays(1) };
                    shaper.Offer(patient, Stopwatch.GetTimestamp(), bytes + (HeaderBytes * (1 + (bytes / SegmentBytes))), out arrives, out _);
                }
                Interlocked.Add(ref held, bytes);
                line.Writer.TryWrite((piece, bytes, arrives));
            }
        }
        finally
        {
            line.Writer.TryComplete();
        }
        await writing.ConfigureAwait(false);

        async Task WriteAsync()
        {
            await foreach ((byte[] piece, int bytes, long arrives) in line.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
            {
                for (long early = arrives - Stopwatch.GetTimestamp(); early > 0 || side(Profile).Blackhole; early = arrives - Stopwatch.GetTimestamp())
                    await Task.Delay(early > 0 ? TimeSpan.FromMilliseconds(Math.Ceiling(early / 1e6)) : _look, cancellation).ConfigureAwait(false);
                for (int sent = 0; sent < bytes;) sent += await to.SendAsync(piece.AsMemory(sent, bytes - sent), SocketFlags.None, cancellation).ConfigureAwait(false);
                tally.Arrived(bytes);
                Interlocked.Add(ref held, -bytes);
                spare.Add(piece);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _end.Cancel();
        _listener.Dispose();
        _end.Dispose();
    }
}
