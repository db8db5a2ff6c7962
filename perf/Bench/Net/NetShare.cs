// What shares a link: two flows, control messages beside bulk, the first byte of a connection. Emulated as in NetWan.
// Goals: of two flows the worse has at least 40 %; at 100 Mbit/s the 99th percentile of a control message during bulk is at
// most 2 round trips; the first byte comes within 2.5.
using System.Diagnostics;
using System.Text.Json.Nodes;
using OrionNative.Net.Framing;
using OrionNative.Net.Links;

namespace OrionNative.Bench.Net;

static class NetShare
{
    const int MessageBytes = 2_306_867, Depth = 14, Runs = 3, SettleSeconds = 3, RunSeconds = 8;

    public static int Run(string[] arguments)
    {
        if (NetWan.Missing()) return 3;
        string[] parts = Suite.Parts(arguments, "flows", "control", "first-byte");
        if (parts.Contains("flows")) TwoFlows();
        if (parts.Contains("control")) ControlDuringBulk();
        if (parts.Contains("first-byte")) FirstByte();
        return 0;
    }

    // The second flow comes to a link that the first one has to itself, again and again on new connections.
    static void TwoFlows()
    {
        List<double> shares = [], totals = [];
        for (int run = 0; run < Runs; run++) TwoFlows(run, shares, totals);
        NetRecord.Write("net.wan.fairness", $"two flows, 400 Mbit/s, {NetWan.RttMs} ms, the second joins a full link; {Runs} runs, each second from 3 to {SettleSeconds + RunSeconds} after that", new JsonObject
        {
            ["worseShareSamples"] = NetRecord.Samples(shares),
            ["worseShareMedian"] = Math.Round(Clock.Median(shares), 3),
            ["worseShareLeast"] = Math.Round(shares.Min(), 3),
            ["totalMegabytesPerSecondMedian"] = Math.Round(Clock.Median(totals), 1),
        });
    }

    static void TwoFlows(int run, List<double> shares, List<double> totals)
    {
        using var relay = new UdpRelay();
        EmulatedLink? link = null;
        using var first = new BenchLink(TransportKind.Quic, MessageBytes, target => (link = relay.Add(NetWan.Any(), target, NetWan.Profile(400e6, 0), run)).Address, 8);
        using var second = new BenchLink(TransportKind.Quic, MessageBytes, target => relay.Add(NetWan.Any(), target, NetWan.Profile(400e6, 0), run, link).Address, 8);
        using var stop = new CancellationTokenSource();
        Task a = first.SendAsync(int.MaxValue, Depth, stop.Token);
        Thread.Sleep(1500);
        Task b = second.SendAsync(int.MaxValue, Depth, stop.Token);
        for (int i = 0; i < SettleSeconds + RunSeconds; i++)
        {
            long beganA = first.AcceptorBytes, beganB = second.AcceptorBytes, began = Stopwatch.GetTimestamp();
            Thread.Sleep(1000);
            double gotA = first.AcceptorBytes - beganA, gotB = second.AcceptorBytes - beganB;
            Console.WriteLine($"{i,3} s  first {gotA / 1e6,6:0.0} MB, {Beliefs(first)}   second {gotB / 1e6,6:0.0} MB, {Beliefs(second)}");
            if (i < SettleSeconds) continue;
            shares.Add(Math.Min(gotA, gotB) / (gotA + gotB));
            totals.Add((gotA + gotB) / Stopwatch.GetElapsedTime(began).TotalSeconds / 1e6);
        }
        stop.Cancel();
        Task.WaitAll(a, b);
    }

    static string Beliefs(BenchLink link)
    {
        TransportStatistics s = link.Dialler.Statistics.Transport;
        return $"window {s.CongestionWindowBytes / 1e6,5:0.00} MB, in flight {s.InFlightBytes / 1e6,5:0.00}, rtt {s.RttNanoseconds / 1e6,5:0.0} ms";
    }

    static void ControlDuringBulk()
    {
        using var relay = new UdpRelay();
        using var pair = new BenchLink(TransportKind.Quic, MessageBytes, target => relay.Add(NetWan.Any(), target, NetWan.Profile(100e6, 0), 1).Address, 8);
        using var stop = new CancellationTokenSource();
        Task sending = pair.SendAsync(int.MaxValue, Depth, stop.Token);
        Thread.Sleep(3000);
        List<double> times = [];
        byte[] body = new byte[100];
        for (int i = 0; i < 400; i++)
        {
            long began = Stopwatch.GetTimestamp();
            _ = pair.Dialler.RequestAsync(body, TimeSpan.FromSeconds(10)).Result;
            times.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
        }
        stop.Cancel();
        sending.Wait();
        times.Sort();
        NetRecord.Write("net.wan.controlDuringBulk", $"100 Mbit/s, {NetWan.RttMs} ms, 100-byte request and response during bulk, 400 of them", new JsonObject
        {
            ["roundTripMsP50"] = Math.Round(times[200], 2),
            ["roundTripMsP99"] = Math.Round(times[396], 2),
            ["roundTripMsMax"] = Math.Round(times[^1], 2),
            ["roundTripsP99"] = Math.Round(times[396] / NetWan.RttMs, 3),
        });
    }

    static void FirstByte()
    {
        using var relay = new UdpRelay();
        List<double> times = [];
        for (int i = 0; i < 7; i++)
        {
            using var pair = new BenchLink(TransportKind.Quic, 65536, target => relay.Add(NetWan.Any(), target, NetWan.Profile(856e6, 0), i).Address, 2);
            times.Add(pair.FirstByte.TotalMilliseconds);
        }
        NetRecord.Write("net.wan.firstByte", $"{NetWan.RttMs} ms, from Dial until the acceptor holds the first bytes", new JsonObject
        {
            ["firstByteMsSamples"] = NetRecord.Samples(times),
            ["firstByteMsMedian"] = Math.Round(Clock.Median(times), 2),
            ["roundTrips"] = Math.Round(Clock.Median(times) / NetWan.RttMs, 3),
        });
    }
}
