// QUIC over loopback: both ends in this process, one loop thread each, mutual TLS, payload read in place and copied once to
// its final address, as the framing does it. Prints goodput, CPU seconds per gigabyte and the round trip of a unit.
//   quic oneway|round [--cc bbr|cubic] [--mtu BYTES,BYTES,…] [--unit BYTES] [--seconds S]
using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;

namespace OrionNative.Bench;

static class QuicBench
{
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
        using var pair = new LoopbackPair(options, unit);
        pair.Warm(mode);
        if (mode == "round") Round(pair, seconds);
        else OneWay(pair, seconds);
        return 0;
    }

    static void OneWay(LoopbackPair pair, double seconds)
    {
        for (int repeat = 0; repeat < 5; repeat++)
        {
            var cpu = Process.GetCurrentProcess().TotalProcessorTime;
            long allocated = GC.GetTotalAllocatedBytes(), units = pair.Server.Units, packets = pair.Statistics.SentPackets;
            long began = Stopwatch.GetTimestamp();
            while (Stopwatch.GetElapsedTime(began).TotalSeconds < seconds / 5) pair.KeepInFlight(units: 4);
            double elapsed = Stopwatch.GetElapsedTime(began).TotalSeconds;
            double gigabytes = (pair.Server.Units - units) * (double)pair.Unit / 1e9;
            cpu = Process.GetCurrentProcess().TotalProcessorTime - cpu;
            var s = pair.Statistics;
            Console.WriteLine($"{gigabytes * 1000 / elapsed,7:F0} MB/s  {cpu.TotalSeconds / gigabytes:F2} CPU-s/GB  {cpu.TotalSeconds / elapsed:F2} cores  {gigabytes * 1e9 / (s.SentPackets - packets):F0} B/packet  rtt {s.RttNanoseconds / 1000} us  min {s.RttMinNanoseconds / 1000} us  cwnd {s.CongestionWindowBytes >> 10} KiB  lost {s.LostPackets}  alloc {(GC.GetTotalAllocatedBytes() - allocated) >> 10} KiB");
        }
    }

    static void Round(LoopbackPair pair, double seconds)
    {
        var times = new List<double>();
        for (long end = Stopwatch.GetTimestamp() + (long)(seconds * Stopwatch.Frequency); Stopwatch.GetTimestamp() < end;)
        {
            long began = Stopwatch.GetTimestamp();
            pair.Echo();
            times.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
        }
        times.Sort();
        Console.WriteLine($"round trip of {pair.Unit} bytes: median {times[times.Count / 2]:F2} ms, p90 {times[times.Count * 9 / 10]:F2} ms, {times.Count} samples");
    }

    /// <summary>Two endpoints and a connection between them.</summary>
    sealed class LoopbackPair : IDisposable
    {
        readonly NodeIdentity _here = NodeIdentity.Create(), _there = NodeIdentity.Create();
        readonly QuicEndpoint _listener, _dialler;
        long _offered;

        public LoopbackPair(QuicOptions options, int unit)
        {
            Unit = unit;
            Server = new UnitUser(unit);
            Client = new UnitUser(unit);
            _listener = new QuicEndpoint(_there, options with { Admit = _ => Admission.Accept(Server) });
            _dialler = new QuicEndpoint(_here, options);
            _dialler.Dial(_listener.LocalAddress, _there.Id, Client);
            Client.Ready.Wait();
            Server.Ready.Wait();
        }

        public int Unit { get; }

        public UnitUser Server { get; }

        public UnitUser Client { get; }

        public TransportStatistics Statistics => Client.Connection!.Statistics;

        public void Warm(string mode)
        {
            for (int i = 0; i < 20; i++)
            {
                if (mode == "round") Echo();
                else KeepInFlight(4);
            }
        }

        public void KeepInFlight(int units)
        {
            for (; _offered < Server.Units + units; _offered++) Client.Offer();
            Server.Arrived.Wait();
        }

        public void Echo()
        {
            Client.Offer();
            Server.Arrived.Wait();
            Server.Offer();
            Client.Arrived.Wait();
        }

        public void Dispose()
        {
            _dialler.Dispose();
            _listener.Dispose();
            _here.Dispose();
            _there.Dispose();
        }
    }

    /// <summary>Sends the same unit again and again on the forward lane; receives units into one place.</summary>
    sealed unsafe class UnitUser(int unit) : ITransportUser
    {
        readonly byte* _source = (byte*)NativeMemory.AlignedAlloc((nuint)unit, 4096);
        readonly byte* _destination = (byte*)NativeMemory.AlignedAlloc((nuint)unit, 4096);
        long _offered, _sent, _received;

        public ManualResetEventSlim Ready { get; } = new();

        public SemaphoreSlim Arrived { get; } = new(0);

        public ITransportConnection? Connection { get; private set; }

        public long Units => Volatile.Read(ref _received) / unit;

        public void Offer()
        {
            Interlocked.Add(ref _offered, unit);
            Connection!.Wake();
        }

        public nuint Peek(Lane lane, out byte* data)
        {
            long at = _sent % unit;
            data = _source + at;
            return lane == Lane.Forward ? (nuint)Math.Min(Volatile.Read(ref _offered) - _sent, unit - at) : 0;
        }

        public void Advance(Lane lane, nuint bytes) => _sent += (long)bytes;

        public void Acknowledged(Lane lane, nuint bytes)
        {
        }

        public void Receive(Lane lane, byte* data, nuint bytes)
        {
            while (bytes > 0)
            {
                long at = _received % unit;
                nuint take = (nuint)Math.Min((long)bytes, unit - at);
                Buffer.MemoryCopy(data, _destination + at, take, take);
                Volatile.Write(ref _received, _received + (long)take);
                if (at + (long)take == unit) Arrived.Release();
                data += take;
                bytes -= take;
            }
        }

        public void Opened(ITransportConnection connection)
        {
            Connection = connection;
            Ready.Set();
        }

        public void Closed(ITransportConnection connection, CloseReason reason)
        {
            if (reason.Kind != CloseKind.Local && reason.Kind != CloseKind.Remote) Console.WriteLine(reason);
        }
    }
}
