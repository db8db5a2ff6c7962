// QUIC between two endpoints of this process, one loop thread each, mutual TLS, payload read in place and copied once to its
// final address, as the framing does it. Over loopback, or through any relay of UDP datagrams that listens elsewhere.
//   quic oneway    goodput and CPU seconds per gigabyte, four units in flight, beside SslStream
//   quic round     time for a unit there and back, beside SslStream
//   quic control   round trip of 64 bytes on the control lane while the bulk lane is full
//   quic connect   dial to the first byte delivered
// Options: --cc bbr|cubic  --mtu BYTES,BYTES,…  --unit BYTES  --seconds S  --listen PORT  --through PORT  --alone  --log
using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using OrionNative.Bench.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;

namespace OrionNative.Bench;

static class QuicBench
{
    const int ControlBytes = 64, SamplesKept = 25;

    public static int Run(string[] arguments)
    {
        if (!QuicLibrary.IsSupported)
        {
            Console.Error.WriteLine(QuicLibrary.NotSupportedReason);
            return 3;
        }
        string mode = arguments.Length > 0 ? arguments[0] : "oneway";
        string Option(string name, string value)
        {
            int at = Array.IndexOf(arguments, name);
            return at >= 0 ? arguments[at + 1] : value;
        }
        string mtu = Option("--mtu", "");
        var options = new QuicOptions
        {
            CongestionControl = Enum.Parse<CongestionControl>(Option("--cc", "bbr"), ignoreCase: true),
            Listen = new IPEndPoint(IPAddress.Loopback, 0),
            Log = arguments.Contains("--log") ? Console.WriteLine : null,
        };
        if (mtu.Length > 0) options = options with { MtuProbes = [.. mtu.Split(',').Select(int.Parse)] };
        int unit = int.Parse(Option("--unit", mode == "round" ? "2306867" : "8388608"));
        double seconds = double.Parse(Option("--seconds", "3"));
        using var pair = new Pair(options, unit, int.Parse(Option("--listen", "0")), int.Parse(Option("--through", "0")));
        using var peer = arguments.Contains("--alone") || Option("--through", "0") != "0" ? null : new SocketPeers(encrypted: true, unit);
        string shape = $"unit={unit} {options.CongestionControl.ToString().ToLowerInvariant()} mtu={(mtu.Length > 0 ? mtu : "discovered")}{(Option("--through", "0") != "0" ? " relayed" : " loopback")}";
        switch (mode)
        {
            case "oneway": OneWay(pair, peer, seconds, shape); break;
            case "round": Round(pair, peer, seconds, shape); break;
            case "control": Control(pair, seconds); break;
            case "connect": Console.WriteLine($"connect to first byte: {pair.ConnectMilliseconds:F1} ms"); break;
            default: throw new FormatException($"'{mode}' is none of oneway, round, control, connect");
        }
        return 0;
    }

    // Both sides alternate, so that whatever else the machine does hits both.
    static void OneWay(Pair pair, SocketPeers? peer, double seconds, string shape)
    {
        const int Repeats = 7, InFlight = 4;
        List<double> ours = [], theirs = [], cpuOurs = [], cpuTheirs = [];
        pair.KeepInFlight(Lane.Forward, InFlight);
        double Measure(Func<long> work, List<double> cpuSeconds)
        {
            var cpu = Process.GetCurrentProcess().TotalProcessorTime;
            long began = Stopwatch.GetTimestamp();
            double gigabytes = work() / 1e9, elapsed = Stopwatch.GetElapsedTime(began).TotalSeconds;
            cpuSeconds.Add((Process.GetCurrentProcess().TotalProcessorTime - cpu).TotalSeconds / gigabytes);
            return gigabytes * 1000 / elapsed;
        }
        for (int repeat = 0; repeat < Repeats; repeat++)
        {
            ours.Add(Measure(() =>
            {
                long before = pair.Server.Received(Lane.Forward), began = Stopwatch.GetTimestamp();
                while (Stopwatch.GetElapsedTime(began).TotalSeconds < seconds / Repeats) pair.KeepInFlight(Lane.Forward, InFlight);
                pair.Drain(Lane.Forward);
                return pair.Server.Received(Lane.Forward) - before;
            }, cpuOurs));
            if (peer is null) continue;
            int units = (int)Math.Max(1, ours[^1] * 1e6 * seconds / Repeats / pair.Unit / 2);
            theirs.Add(Measure(() =>
            {
                peer.Send(units);
                return (long)units * pair.Unit;
            }, cpuTheirs));
        }
        var s = pair.Statistics;
        Console.WriteLine($"quic {Text(ours)} MB/s, {Clock.Median(cpuOurs):F2} CPU-s/GB; {s.SentBytes / Math.Max(1, s.SentPackets)} B/packet, rtt {s.RttNanoseconds / 1000} us, min {s.RttMinNanoseconds / 1000} us, lost {s.LostPackets}");
        if (peer is not null) Console.WriteLine($"tls  {Text(theirs)} MB/s, {Clock.Median(cpuTheirs):F2} CPU-s/GB; ratio of medians {Clock.Median(ours) / Clock.Median(theirs):F2}");
        Record("quic.oneway", shape, "goodputMBps", ours, theirs, cpuOurs, cpuTheirs, higherIsBetter: true);
    }

    static void Round(Pair pair, SocketPeers? peer, double seconds, string shape)
    {
        List<double> ours = [], theirs = [];
        double Time(Action work)
        {
            long began = Stopwatch.GetTimestamp();
            work();
            return Stopwatch.GetElapsedTime(began).TotalMilliseconds;
        }
        for (long end = Stopwatch.GetTimestamp() + (long)(seconds * Stopwatch.Frequency); Stopwatch.GetTimestamp() < end;)
        {
            ours.Add(Time(() => pair.Echo(Lane.Forward)));
            if (peer is not null) theirs.AddRange(peer.RoundTrips(1));
        }
        // The first exchanges compile code and find the path's packet size.
        const int Warm = 10;
        (ours, theirs) = ([.. ours.Skip(Warm)], [.. theirs.Skip(Warm)]);
        Print($"quic round trip of {pair.Unit} bytes", ours);
        if (peer is not null) Print($"tls  round trip of {pair.Unit} bytes", theirs);
        if (peer is not null) Console.WriteLine($"ratio of medians {Clock.Median(ours) / Clock.Median(theirs):F2}");
        Record("quic.round", shape, "roundTripMs", ours, theirs, [], [], higherIsBetter: false);
    }

    static string Text(List<double> samples) => $"{Clock.Median(samples):F0} [{samples.Min():F0} to {samples.Max():F0}]";

    static void Record(string scenario, string shape, string unit, List<double> ours, List<double> theirs, List<double> cpuOurs, List<double> cpuTheirs, bool higherIsBetter)
    {
        var fields = new JsonObject { [unit + "Samples"] = NetRecord.Samples(ours.Take(SamplesKept)), [unit + "Median"] = Math.Round(Clock.Median(ours), 3) };
        if (cpuOurs.Count > 0) fields["cpuSecondsPerGB"] = Math.Round(Clock.Median(cpuOurs), 3);
        if (theirs.Count > 0)
        {
            fields["peer"] = "SslStream TLS 1.3, one TCP connection";
            fields["peerSamples"] = NetRecord.Samples(theirs.Take(SamplesKept));
            fields["peerMedian"] = Math.Round(Clock.Median(theirs), 3);
            if (cpuTheirs.Count > 0) fields["peerCpuSecondsPerGB"] = Math.Round(Clock.Median(cpuTheirs), 3);
            fields["ratio"] = Math.Round(Clock.Median(ours) / Clock.Median(theirs), 3);
            fields["ratioIs"] = higherIsBetter ? "ours / peer, more is better" : "ours / peer, less is better";
        }
        NetRecord.Write(scenario, shape, fields);
    }

    static void Control(Pair pair, double seconds)
    {
        var times = new List<double>();
        long start = Stopwatch.GetTimestamp(), end = start + (long)(seconds * Stopwatch.Frequency);
        long bytes = 0, measuredFrom = 0;
        while (Stopwatch.GetTimestamp() < end)
        {
            pair.Fill(Lane.Bulk, 4);
            long began = Stopwatch.GetTimestamp();
            pair.Echo(Lane.Control);
            // The first two seconds are the bulk transfer's start-up, before BBR knows the link; they are left out.
            if (Stopwatch.GetElapsedTime(start).TotalSeconds < 2) (bytes, measuredFrom) = (pair.Server.Received(Lane.Bulk), Stopwatch.GetTimestamp());
            else times.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
        }
        double rate = (pair.Server.Received(Lane.Bulk) - bytes) / Stopwatch.GetElapsedTime(measuredFrom).TotalSeconds / 1e6;
        Print($"control round trip beside {rate:F1} MB/s of bulk", times);
    }

    static void Print(string what, List<double> times)
    {
        times.Sort();
        Console.WriteLine($"{what}: median {times[times.Count / 2]:F2} ms, p90 {times[times.Count * 9 / 10]:F2} ms, p99 {times[times.Count * 99 / 100]:F2} ms, {times.Count} samples");
    }

    /// <summary>Two endpoints and a connection between them.</summary>
    sealed class Pair : IDisposable
    {
        readonly NodeIdentity _here = NodeIdentity.Create(), _there = NodeIdentity.Create();
        readonly QuicEndpoint _listener, _dialler;

        public Pair(QuicOptions options, int unit, int listen, int through)
        {
            Unit = unit;
            Server = new UnitUser(unit) { EchoesControl = true };
            Client = new UnitUser(unit);
            _listener = new QuicEndpoint(_there, options with { Listen = new IPEndPoint(IPAddress.Loopback, listen), Admit = _ => Admission.Accept(Server) });
            _dialler = new QuicEndpoint(_here, options);
            long began = Stopwatch.GetTimestamp();
            Client.Offer(Lane.Control, ControlBytes);
            _dialler.Dial(new IPEndPoint(IPAddress.Loopback, through != 0 ? through : _listener.LocalAddress.Port), _there.Id, Client);
            Server.Arrived[(int)Lane.Control].Wait();
            ConnectMilliseconds = Stopwatch.GetElapsedTime(began).TotalMilliseconds;
            Client.Arrived[(int)Lane.Control].Wait();
        }

        public int Unit { get; }

        public double ConnectMilliseconds { get; }

        public UnitUser Server { get; }

        public UnitUser Client { get; }

        public TransportStatistics Statistics => Client.Connection!.Statistics;

        public void Fill(Lane lane, int units)
        {
            while (Client.Offered(lane) < Server.Received(lane) + (long)units * Unit) Client.Offer(lane, Unit);
        }

        /// <summary>Waits until all that is on offer has arrived.</summary>
        public void Drain(Lane lane)
        {
            while (Server.Received(lane) < Client.Offered(lane)) Server.Arrived[(int)lane].Wait();
        }

        public void KeepInFlight(Lane lane, int units)
        {
            Fill(lane, units);
            Server.Arrived[(int)lane].Wait();
        }

        public void Echo(Lane lane)
        {
            Client.Offer(lane, UnitUser.Bytes(lane, Unit));
            if (lane != Lane.Control)
            {
                Server.Arrived[(int)lane].Wait();
                Server.Offer(lane, Unit);
            }
            Client.Arrived[(int)lane].Wait();
        }

        public void Dispose()
        {
            _dialler.Dispose();
            _listener.Dispose();
            _here.Dispose();
            _there.Dispose();
        }
    }

    /// <summary>Sends the same unit again and again; receives units into one place.</summary>
    sealed unsafe class UnitUser(int unit) : ITransportUser
    {
        readonly byte* _source = (byte*)NativeMemory.AlignedAlloc((nuint)unit, 4096);
        readonly byte* _destination = (byte*)NativeMemory.AlignedAlloc((nuint)unit, 4096);
        readonly long[] _offered = new long[4], _sent = new long[4], _received = new long[4];

        public SemaphoreSlim[] Arrived { get; } = [new(0), new(0), new(0), new(0)];

        public ITransportConnection? Connection { get; private set; }

        public bool EchoesControl { get; init; }

        public static int Bytes(Lane lane, int unit) => lane == Lane.Control ? ControlBytes : unit;

        public long Offered(Lane lane) => Volatile.Read(ref _offered[(int)lane]);

        public long Received(Lane lane) => Volatile.Read(ref _received[(int)lane]);

        public void Offer(Lane lane, int bytes)
        {
            Interlocked.Add(ref _offered[(int)lane], bytes);
            Connection?.Wake();
        }

        public nuint Peek(Lane lane, out byte* data)
        {
            int n = (int)lane;
            long at = _sent[n] % Bytes(lane, unit);
            data = _source + at;
            return (nuint)Math.Min(Volatile.Read(ref _offered[n]) - _sent[n], Bytes(lane, unit) - at);
        }

        public void Advance(Lane lane, nuint bytes) => _sent[(int)lane] += (long)bytes;

        public void Acknowledged(Lane lane, nuint bytes)
        {
        }

        public void Receive(Lane lane, byte* data, nuint bytes)
        {
            int n = (int)lane, whole = Bytes(lane, unit);
            while (bytes > 0)
            {
                long at = _received[n] % whole;
                nuint take = (nuint)Math.Min((long)bytes, whole - at);
                Buffer.MemoryCopy(data, _destination + at, take, take);
                Volatile.Write(ref _received[n], _received[n] + (long)take);
                if (at + (long)take == whole)
                {
                    Arrived[n].Release();
                    if (lane == Lane.Control && EchoesControl) Offer(lane, ControlBytes);
                }
                data += take;
                bytes -= take;
            }
        }

        public void Opened(ITransportConnection connection) => Connection = connection;

        public void Closed(ITransportConnection connection, CloseReason reason)
        {
            if (reason.Kind is not (CloseKind.Local or CloseKind.Remote)) Console.WriteLine(reason);
        }
    }
}
