// Loopback, both ends in this process on this machine's cores: 8 MiB messages one way, and 2.2 MiB there and back.
// Sketch: 1 GB costs about 0.25 s of AES-GCM on each side, 0.2 s of BLAKE3 on each side, one copy each, and the kernel.
// The links do more than the streams beside them: a digest on both sides, granted slots, an answer per message.
// Goals: QUIC at least 700 MB/s one way; QUIC there and back at or below 1.1 times SslStream.
using System.Diagnostics;
using System.Text.Json.Nodes;
using OrionNative.Net.Framing;
using OrionNative.Net.Quic;

namespace OrionNative.Bench.Net;

static class NetLoopback
{
    const int MessageBytes = 8 << 20, Messages = 20, Depth = 3, CodeBytes = 2_306_867, Rounds = 5, TripRounds = 25, Trips = 5;

    public static int Run()
    {
        string? missing = SystemQuic.Missing();
        if (missing is not null) Console.WriteLine($"System.Net.Quic: SKIPPED: {missing}");
        bool quic = QuicLibrary.IsSupported;
        if (!quic) Console.WriteLine($"QUIC: SKIPPED: {QuicLibrary.NotSupportedReason}");
        OneWay(quic, missing);
        ThereAndBack(quic, missing);
        return 0;
    }

    static void OneWay(bool quic, string? missing)
    {
        using var tcp = new SocketPeers(false, MessageBytes);
        using var tls = new SocketPeers(true, MessageBytes);
        using BenchLink? quicLink = quic ? new BenchLink(TransportKind.Quic, MessageBytes) : null;
        using var tcpLink = new BenchLink(TransportKind.Tcp, MessageBytes);
        using SocketPeers? systemQuic = missing is null ? new SocketPeers(MessageBytes, SystemQuic.Connect) : null;
        var runs = new Dictionary<string, Action<int>> { ["rawTcp"] = tcp.Send, ["sslStream"] = tls.Send, ["tcpLink"] = n => tcpLink.SendAsync(n, Depth).Wait() };
        if (systemQuic is not null) runs["systemNetQuic"] = systemQuic.Send;
        if (quicLink is not null) runs["quicLink"] = n => quicLink.SendAsync(n, Depth).Wait();
        Dictionary<string, List<double>> rates = [], costs = [];
        foreach ((string name, Action<int> send) in runs)
        {
            send(6); // warm up
            (rates[name], costs[name]) = ([], []);
        }
        for (int round = 0; round < Rounds; round++)
        {
            foreach ((string name, Action<int> send) in runs)
            {
                double cpu = Cpu();
                long began = Stopwatch.GetTimestamp();
                send(Messages);
                double gigabytes = (double)MessageBytes * Messages / 1e9;
                rates[name].Add(gigabytes * 1000 / Stopwatch.GetElapsedTime(began).TotalSeconds);
                costs[name].Add((Cpu() - cpu) / gigabytes);
            }
        }
        var values = new JsonObject { ["systemNetQuic"] = missing is null ? "measured" : $"SKIPPED: {missing}" };
        foreach (string name in runs.Keys)
        {
            values[name + "MegabytesPerSecondSamples"] = NetRecord.Samples(rates[name]);
            values[name + "MegabytesPerSecondMedian"] = Math.Round(Clock.Median(rates[name]), 1);
            values[name + "CpuSecondsPerGigabyteMedian"] = Math.Round(Clock.Median(costs[name]), 3);
            Console.WriteLine($"{name,-10} {Clock.Median(rates[name]),8:0} MB/s   {Clock.Median(costs[name]):0.00} CPU s/GB");
        }
        NetRecord.Write("net.loopback.oneway", "8 MiB messages, both ends on one machine", values);
    }

    static void ThereAndBack(bool quic, string? missing)
    {
        using var tls = new SocketPeers(true, CodeBytes);
        using BenchLink? quicLink = quic ? new BenchLink(TransportKind.Quic, CodeBytes) : null;
        using var tcpLink = new BenchLink(TransportKind.Tcp, CodeBytes);
        using SocketPeers? systemQuic = missing is null ? new SocketPeers(CodeBytes, SystemQuic.Connect) : null;
        var runs = new Dictionary<string, Func<int, List<double>>> { ["sslStream"] = tls.RoundTrips, ["tcpLink"] = tcpLink.RoundTrips };
        if (systemQuic is not null) runs["systemNetQuic"] = systemQuic.RoundTrips;
        if (quicLink is not null) runs["quicLink"] = quicLink.RoundTrips;
        Dictionary<string, List<double>> medians = [];
        foreach ((string name, Func<int, List<double>> go) in runs)
        {
            go(10);
            medians[name] = [];
        }
        for (int round = 0; round < TripRounds; round++)
            foreach ((string name, Func<int, List<double>> go) in runs) medians[name].Add(Clock.Median(go(Trips)));
        var values = new JsonObject();
        foreach (string name in runs.Keys)
        {
            values[name + "MsSamples"] = NetRecord.Samples(medians[name]);
            values[name + "MsMedian"] = Math.Round(Clock.Median(medians[name]), 3);
            values[name + "RatioToSslStream"] = Math.Round(Clock.Median(medians[name]) / Clock.Median(medians["sslStream"]), 3);
            Console.WriteLine($"{name,-10} {Clock.Median(medians[name]),8:0.00} ms there and back   {Clock.Median(medians[name]) / Clock.Median(medians["sslStream"]):0.00} x SslStream");
        }
        NetRecord.Write("net.loopback.roundtrip", "2.2 MiB there and back", values);
    }

    static double Cpu()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime.TotalSeconds;
    }
}
