// The open internet, emulated: QUIC through the UDP relay, both ends and the relay in this process.
// Sketch: 856 Mbit/s less 28 + about 27 bytes of headers per 1472 leaves 104 MB/s; a window of 60 ms holds 6.4 MB.
// Goals: 97 MB/s without loss, 95 at 0.1 %, 75 (goal 85) at 1 %; of two flows the worse has at least 40 %; at 100 Mbit/s the
// 99th percentile of a control message during bulk is at most 2 round trips; the first byte comes within 2.5.
using System.Diagnostics;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.Net.Framing;
using OrionNative.Net.Links;
using OrionNative.Net.Quic;

namespace OrionNative.Bench.Net;

static class NetWan
{
    const int MessageBytes = 2_306_867, Depth = 14, Samples = 5;
    const double RttMs = 60;

    public static int RunGoodput(string[] arguments)
    {
        if (Missing()) return 3;
        double[] losses = arguments.Length > 0 ? [.. arguments.Select(double.Parse)] : [0, 0.1, 1];
        foreach (double percent in losses)
        {
            using var relay = new UdpRelay();
            LinkProfile profile = Profile(856e6, percent / 100);
            EmulatedLink? link = null;
            using var pair = new BenchLink(TransportKind.Quic, MessageBytes, target => (link = relay.Add(Any(), target, profile, seed: 1)).Address, Depth + 2);
            using var stop = new CancellationTokenSource();
            double cpu = Cpu();
            Task sending = pair.SendAsync(int.MaxValue, Depth, stop.Token);
            Thread.Sleep(2000); // start-up is the business of net-share
            List<double> rates = [];
            for (int i = 0; i < Samples; i++) rates.Add(Rate(pair, TimeSpan.FromSeconds(3)));
            stop.Cancel();
            sending.Wait();
            NetRecord.Write("net.wan.goodput", $"856 Mbit/s, {RttMs} ms, {percent} % loss each way, QUIC BBR", new JsonObject
            {
                ["megabytesPerSecondSamples"] = NetRecord.Samples(rates),
                ["megabytesPerSecondMedian"] = Math.Round(NetRecord.Median(rates), 1),
                ["cpuSecondsPerGigabyteWithRelay"] = Math.Round((Cpu() - cpu) / (pair.AcceptorBytes / 1e9), 2),
                ["relayLost"] = link!.Up.Lost + link.Down.Lost,
                ["relayQueueDropped"] = link.Up.Overflowed + link.Down.Overflowed,
            });
        }
        return 0;
    }

    public static int RunShare()
    {
        if (Missing()) return 3;
        TwoFlows();
        ControlDuringBulk();
        FirstByte();
        return 0;
    }

    static void TwoFlows()
    {
        using var relay = new UdpRelay();
        EmulatedLink? link = null;
        List<double> shares = [], totals = [];
        using var first = new BenchLink(TransportKind.Quic, MessageBytes, target => (link = relay.Add(Any(), target, Profile(400e6, 0), 1)).Address, 8);
        using var second = new BenchLink(TransportKind.Quic, MessageBytes, target => relay.Add(Any(), target, Profile(400e6, 0), 2, link).Address, 8);
        using var stop = new CancellationTokenSource();
        Task a = first.SendAsync(int.MaxValue, Depth, stop.Token);
        Thread.Sleep(1500);
        Task b = second.SendAsync(int.MaxValue, Depth, stop.Token); // the second one comes to a full link
        Thread.Sleep(3000);
        for (int i = 0; i < Samples; i++)
        {
            long beganA = first.AcceptorBytes, beganB = second.AcceptorBytes;
            Thread.Sleep(3000);
            double gotA = first.AcceptorBytes - beganA, gotB = second.AcceptorBytes - beganB;
            shares.Add(Math.Min(gotA, gotB) / (gotA + gotB));
            totals.Add((gotA + gotB) / 3e6);
        }
        stop.Cancel();
        Task.WaitAll(a, b);
        NetRecord.Write("net.wan.fairness", $"two flows, 400 Mbit/s, {RttMs} ms, the second joins a full link", new JsonObject
        {
            ["worseShareSamples"] = NetRecord.Samples(shares),
            ["worseShareMedian"] = Math.Round(NetRecord.Median(shares), 3),
            ["totalMegabytesPerSecondMedian"] = Math.Round(NetRecord.Median(totals), 1),
        });
    }

    static void ControlDuringBulk()
    {
        using var relay = new UdpRelay();
        using var pair = new BenchLink(TransportKind.Quic, MessageBytes, target => relay.Add(Any(), target, Profile(100e6, 0), 1).Address, 8);
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
        NetRecord.Write("net.wan.controlDuringBulk", $"100 Mbit/s, {RttMs} ms, 100-byte request and response during bulk, 400 of them", new JsonObject
        {
            ["roundTripMsP50"] = Math.Round(times[200], 2),
            ["roundTripMsP99"] = Math.Round(times[396], 2),
            ["roundTripMsMax"] = Math.Round(times[^1], 2),
            ["roundTripsP99"] = Math.Round(times[396] / RttMs, 3),
        });
    }

    static void FirstByte()
    {
        using var relay = new UdpRelay();
        List<double> times = [];
        for (int i = 0; i < 7; i++)
        {
            using var pair = new BenchLink(TransportKind.Quic, 65536, target => relay.Add(Any(), target, Profile(856e6, 0), i).Address, 2);
            times.Add(pair.FirstByte.TotalMilliseconds);
        }
        NetRecord.Write("net.wan.firstByte", $"{RttMs} ms, from Dial until the acceptor holds the first bytes", new JsonObject
        {
            ["firstByteMsSamples"] = NetRecord.Samples(times),
            ["firstByteMsMedian"] = Math.Round(NetRecord.Median(times), 2),
            ["roundTrips"] = Math.Round(NetRecord.Median(times) / RttMs, 3),
        });
    }

    static double Rate(BenchLink pair, TimeSpan time)
    {
        long before = pair.AcceptorBytes, began = Stopwatch.GetTimestamp();
        Thread.Sleep(time);
        return (pair.AcceptorBytes - before) / Stopwatch.GetElapsedTime(began).TotalSeconds / 1e6;
    }

    static LinkProfile Profile(double rate, double loss) =>
        LinkProfile.Both(new LinkConditions { BitsPerSecond = rate, Delay = TimeSpan.FromMilliseconds(RttMs / 2), Loss = loss });

    static IPEndPoint Any() => new(IPAddress.Loopback, 0);

    static bool Missing()
    {
        if (QuicLibrary.IsSupported) return false;
        Console.Error.WriteLine(QuicLibrary.NotSupportedReason);
        return true;
    }

    static double Cpu()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime.TotalSeconds;
    }
}
