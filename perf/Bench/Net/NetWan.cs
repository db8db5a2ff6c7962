// One flow over the open internet, emulated: QUIC through the UDP relay, both ends and the relay in this process.
// Sketch: 856 Mbit/s less 28 + about 27 bytes of headers per 1472 leaves 104 MB/s; a window of 60 ms holds 6.4 MB.
// Goals: 97 MB/s without loss, 95 at 0.1 %, 75 (goal 85) at 1 %.
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.Net.Framing;
using OrionNative.Net.Links;
using OrionNative.Net.Quic;

namespace OrionNative.Bench.Net;

static class NetWan
{
    const int MessageBytes = 2_306_867, Depth = 14, Samples = 5;
    public const double RttMs = 60;

    public static int RunGoodput(string[] arguments)
    {
        if (Missing()) return 3;
        foreach (string link in arguments.Length > 0 ? arguments : ["0", "0.1", "1"]) Goodput(link);
        return 0;
    }

    static void Goodput(string name)
    {
        bool isNamed = LinkProfile.Named.TryGetValue(name, out var named);
        LinkProfile profile = isNamed ? named.Profile : Profile(856e6, double.Parse(name, CultureInfo.InvariantCulture) / 100);
        string shape = isNamed ? $"profile {name}: up {profile.Up}; down {profile.Down}" : $"856 Mbit/s, {RttMs} ms, {name} % loss each way";
        using var relay = new UdpRelay();
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
        NetRecord.Write("net.wan.goodput", $"{shape}, QUIC BBR", new JsonObject
        {
            ["megabytesPerSecondSamples"] = NetRecord.Samples(rates),
            ["megabytesPerSecondMedian"] = Math.Round(Clock.Median(rates), 1),
            ["cpuSecondsPerGigabyteWithRelay"] = Math.Round((Cpu() - cpu) / (pair.AcceptorBytes / 1e9), 2),
            ["relayLost"] = link!.Up.Lost + link.Down.Lost,
            ["relayQueueDropped"] = link.Up.Overflowed + link.Down.Overflowed,
        });
    }

    static double Rate(BenchLink pair, TimeSpan time)
    {
        long before = pair.AcceptorBytes, began = Stopwatch.GetTimestamp();
        Thread.Sleep(time);
        return (pair.AcceptorBytes - before) / Stopwatch.GetElapsedTime(began).TotalSeconds / 1e6;
    }

    public static LinkProfile Profile(double rate, double loss) =>
        LinkProfile.Both(new LinkConditions { BitsPerSecond = rate, Delay = TimeSpan.FromMilliseconds(RttMs / 2), Loss = loss });

    public static IPEndPoint Any() => new(IPAddress.Loopback, 0);

    public static bool Missing()
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
