// Measures a link between two machines: goodput each way, round trip idle and under load, loss, processor time per gigabyte.
// The server side is LinkServer; both sides are one process each, so their processor times are apart.
//   goodput = payload bytes between the first and the last delivery / that time, taken at the receiver
using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;
using OrionNative.Net.Tls;

namespace OrionNative.Net.Links;

/// <summary>What to measure.</summary>
public sealed record MeterOptions
{
    /// <summary>How long each direction sends.</summary>
    public TimeSpan Duration { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Bytes of one message: a 2.2 MiB code by default.</summary>
    public int MessageBytes { get; init; } = 2_306_867;

    /// <summary>Messages under way at once.</summary>
    public int Depth { get; init; } = 8;

    /// <summary>Receives a snapshot twice a second.</summary>
    public Action<MeterSnapshot>? Progress { get; init; }
}

/// <summary>Where a running measurement stands.</summary>
public readonly record struct MeterSnapshot(TransportKind Transport, string Phase, double Seconds, double MegabytesPerSecond, double RttMilliseconds, double LossFraction);

/// <summary>One direction of a measured link.</summary>
public sealed record DirectionReport(double MegabytesPerSecond, long Bytes, double Seconds, double SenderCpuSecondsPerGigabyte, double ReceiverCpuSecondsPerGigabyte, double RttLoadedMsP50, double RttLoadedMsP99);

/// <summary>A measured link. Loss counts this side's packets that had to be sent again.</summary>
public sealed record LinkReport(TransportKind Transport, string Peer, double ConnectMs, double RttIdleMsP50, double RttIdleMsP99, DirectionReport Up, DirectionReport Down, double LossFraction);

/// <summary>The client side of a link measurement.</summary>
public static class LinkMeter
{
    const int EchoesIdle = 50;
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(30), _pause = TimeSpan.FromMilliseconds(20);

    /// <summary>An endpoint of the chosen transport with its default options.</summary>
    public static ITransportEndpoint Endpoint(TransportKind kind, NodeIdentity identity, IPEndPoint listen, Admit? admit, Action<string>? log) => kind == TransportKind.Quic
        ? new QuicEndpoint(identity, new QuicOptions { Listen = listen, Admit = admit, Log = log })
        : new TlsEndpoint(identity, new TlsOptions { Listen = listen, Admit = admit, Log = log });

    /// <summary>Any port of this machine, in the family of an address that it is to reach.</summary>
    public static IPEndPoint AnyAddress(IPEndPoint target) =>
        new(target.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? IPAddress.IPv6Any : IPAddress.Any, 0);

    /// <summary>Measures one link. Throws <see cref="IOException"/> if it cannot be opened or breaks.</summary>
    public static async Task<LinkReport> MeasureAsync(ITransportEndpoint endpoint, IPEndPoint address, NodeId server, MeterOptions options, CancellationToken cancellation)
    {
        using var probe = new ProbePeer(options.MessageBytes, options.Depth);
        long dialled = Stopwatch.GetTimestamp();
        ITransportConnection connection = endpoint.Dial(address, server, probe.Link);
        try
        {
            await probe.Opened.WaitAsync(_patience, cancellation).ConfigureAwait(false);
            double connectMs = Stopwatch.GetElapsedTime(dialled).TotalMilliseconds;
            List<double> idle = [];
            for (int i = 0; i < EchoesIdle; i++) idle.Add(await EchoAsync(probe.Link, cancellation).ConfigureAwait(false));
            DirectionReport up = await DirectionAsync(probe, "up", options, connection, cancellation).ConfigureAwait(false);
            DirectionReport down = await DirectionAsync(probe, "down", options, connection, cancellation).ConfigureAwait(false);
            return new LinkReport(endpoint.Kind, server.ToString(), connectMs, Percentile(idle, 0.5), Percentile(idle, 0.99), up, down, Loss(connection.Statistics));
        }
        finally
        {
            connection.Close("the measurement is done");
            await probe.Closed.WaitAsync(_patience, CancellationToken.None).ConfigureAwait(false);
        }
    }

    static async Task<DirectionReport> DirectionAsync(ProbePeer probe, string phase, MeterOptions options, ITransportConnection connection, CancellationToken cancellation)
    {
        double usage = ProbePeer.Usage(), remote = await UsageAsync(probe.Link, cancellation).ConfigureAwait(false);
        long began = Stopwatch.GetTimestamp(), bytes;
        probe.Restart();
        using var done = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task<List<double>> echoes = EchoWhileAsync(probe, phase, options, connection, began, done.Token);
        double seconds;
        List<double> loaded;
        try
        {
            if (phase == "up")
            {
                bytes = await probe.SendAsync(options.Duration, cancellation).ConfigureAwait(false);
                seconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
            }
            else
            {
                byte[] body = new byte[5];
                body[0] = (byte)'S';
                BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(1), (uint)options.Duration.TotalMilliseconds);
                Response response = await probe.Link.RequestAsync(body, options.Duration + _patience, cancellation).ConfigureAwait(false);
                if (response.Status != 0) throw new IOException($"the server could not send: {System.Text.Encoding.UTF8.GetString(response.Body)}");
                (bytes, seconds) = (probe.ReceivedBytes, probe.ReceivedFor.TotalSeconds);
            }
            if (bytes == 0) throw new IOException($"no more than one message of {options.MessageBytes} bytes came {phase} in {options.Duration.TotalSeconds} s, which is no measurement; fix: smaller messages, or more seconds");
        }
        finally
        {
            await done.CancelAsync().ConfigureAwait(false);
            loaded = await echoes.ConfigureAwait(false);
        }
        double local = (ProbePeer.Usage() - usage) / (bytes / 1e9);
        double far = (await UsageAsync(probe.Link, cancellation).ConfigureAwait(false) - remote) / (bytes / 1e9);
        return new DirectionReport(bytes / seconds / 1e6, bytes, seconds, phase == "up" ? local : far, phase == "up" ? far : local, Percentile(loaded, 0.5), Percentile(loaded, 0.99));
    }

    static async Task<List<double>> EchoWhileAsync(ProbePeer probe, string phase, MeterOptions options, ITransportConnection connection, long began, CancellationToken cancellation)
    {
        List<double> times = [];
        long shownAt = began, shownBytes = 0;
        try
        {
            while (true)
            {
                await Task.Delay(_pause, cancellation).ConfigureAwait(false);
                times.Add(await EchoAsync(probe.Link, cancellation).ConfigureAwait(false));
                TimeSpan since = Stopwatch.GetElapsedTime(shownAt);
                if (since < TimeSpan.FromSeconds(0.5)) continue;
                LinkStatistics now = probe.Link.Statistics;
                long bytes = phase == "up" ? now.Sent.SentPayloadBytes : now.Received.ReceivedPayloadBytes;
                if (shownBytes > 0)
                    options.Progress?.Invoke(new MeterSnapshot(connection.Kind, phase, Stopwatch.GetElapsedTime(began).TotalSeconds, (bytes - shownBytes) / since.TotalSeconds / 1e6, times[^1], Loss(now.Transport)));
                (shownAt, shownBytes) = (Stopwatch.GetTimestamp(), bytes);
            }
        }
        catch (Exception ended) when (ended is OperationCanceledException or IOException or TimeoutException)
        {
            // over, or the link broke: the direction that is measured meanwhile says so
            return times;
        }
    }

    static async Task<double> EchoAsync(PeerLink link, CancellationToken cancellation)
    {
        long began = Stopwatch.GetTimestamp();
        await link.RequestAsync("E"u8.ToArray(), _patience, cancellation).ConfigureAwait(false);
        return Stopwatch.GetElapsedTime(began).TotalMilliseconds;
    }

    static async Task<double> UsageAsync(PeerLink link, CancellationToken cancellation) =>
        BinaryPrimitives.ReadDoubleLittleEndian((await link.RequestAsync("U"u8.ToArray(), _patience, cancellation).ConfigureAwait(false)).Body);

    static double Loss(in TransportStatistics statistics) => statistics.SentPackets == 0 ? 0 : (double)statistics.LostPackets / statistics.SentPackets;

    internal static double Percentile(List<double> values, double share)
    {
        if (values.Count == 0) return 0;
        values.Sort();
        return values[Math.Min(values.Count - 1, (int)(share * values.Count))];
    }
}
