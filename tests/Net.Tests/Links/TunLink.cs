// A link for any protocol, TCP included, on one machine: a TUN device whose other end is a mirror. What this machine sends to
// the mirror comes back with source and destination exchanged (checksums do not change by that), so a dialler that dials the
// mirror reaches a listener of its own machine, and every IP packet of both passes a LinkShaper on its way.
//   10.211.n.1:client -> 10.211.n.2:port   becomes   10.211.n.2:client -> 10.211.n.1:port
// Needs root and /dev/net/tun; NotSupportedReason says what is missing.
using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OrionNative.Net.Links;
using OrionNative.Net.Quic.Interop;

namespace OrionNative.Net.Tests.Links;

sealed unsafe partial class TunLink : IDisposable
{
    const nuint TUNSETIFF = 0x400454ca;
    const short IFF_TUN = 1, IFF_NO_PI = 0x1000;
    const int IpHeaderBytes = 20, UdpHeaderBytes = 8, PacketBytesMax = 2048;

    static int _count;

    readonly SafeFileHandle _device;
    readonly Thread _thread;
    readonly LinkProfile _profile;
    readonly LinkShaper _up, _down;
    readonly PriorityQueue<byte[], (long Due, long Order)> _line = new();
    readonly int _number;
    volatile int _port;
    volatile bool _stopping;
    long _order;

    public TunLink(LinkProfile profile, int seed)
    {
        (_profile, _up, _down) = (profile, new LinkShaper(seed), new LinkShaper(~seed));
        _number = 1 + (((Environment.ProcessId * 7) + Interlocked.Increment(ref _count)) % 250);
        string name = $"orion{Environment.ProcessId % 10000}x{_number}";
        _device = Open(name);
        if (Ip($"addr add {Here}/30 dev {name}") is { } problem) throw new InvalidOperationException(problem);
        if (Ip($"link set {name} mtu 1500 txqueuelen 10000 up") is { } other) throw new InvalidOperationException(other);
        _thread = new Thread(Run) { IsBackground = true, Name = name };
        _thread.Start();
    }

    /// <summary>Why there can be no such link on this machine; null if there can.</summary>
    public static string? NotSupportedReason()
    {
        if (Environment.UserName != "root") return "a TUN device needs root. Fix: run this test as root";
        if (!File.Exists("/dev/net/tun")) return "there is no /dev/net/tun. Fix: modprobe tun";
        if (!File.Exists("/usr/sbin/ip")) return "the command ip is missing. Fix: install iproute2";
        return null;
    }

    /// <summary>This machine's address on the link: where to listen.</summary>
    public IPAddress Here => IPAddress.Parse($"10.211.{_number}.1");

    /// <summary>Where to dial a listener at <see cref="Here"/>.</summary>
    public IPEndPoint Mirror(IPEndPoint listener)
    {
        _port = listener.Port;
        return new IPEndPoint(IPAddress.Parse($"10.211.{_number}.2"), _port);
    }

    public int Lost { get; private set; }

    public int Late { get; private set; }

    public int Doubled { get; private set; }

    public int Passed { get; private set; }

    static SafeFileHandle Open(string name)
    {
        SafeFileHandle device = File.OpenHandle("/dev/net/tun", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        byte* request = stackalloc byte[40];
        new Span<byte>(request, 40).Clear();
        System.Text.Encoding.ASCII.GetBytes(name, new Span<byte>(request, 15));
        *(short*)(request + 16) = IFF_TUN | IFF_NO_PI;
        if (ioctl((int)device.DangerousGetHandle(), TUNSETIFF, request) < 0) throw new InvalidOperationException($"no TUN device {name}: errno {Marshal.GetLastPInvokeError()}");
        return device;
    }

    static string? Ip(string arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo("/usr/sbin/ip", arguments) { RedirectStandardError = true })!;
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? null : $"ip {arguments}: {error}";
    }

    void Run()
    {
        int descriptor = (int)_device.DangerousGetHandle();
        byte* buffer = stackalloc byte[PacketBytesMax];
        while (!_stopping)
        {
            long now = Now();
            while (_line.TryPeek(out byte[]? packet, out var when) && when.Due <= now)
            {
                _line.Dequeue();
                fixed (byte* data = packet) _ = Libc.write(descriptor, data, (nuint)packet.Length);
                Passed++;
            }
            long wait = _line.TryPeek(out _, out var next) ? Math.Clamp(next.Due - now, 0, 20_000_000) : 20_000_000;
            var poll = new Libc.pollfd { fd = descriptor, events = Libc.POLLIN };
            var time = new Libc.timespec { tv_nsec = wait };
            if (Libc.ppoll(&poll, 1, &time, null) <= 0) continue;
            int bytes = (int)Libc.read(descriptor, buffer, PacketBytesMax);
            // IPv4 without options: the kernel announces itself in IPv6 and IGMP too
            if (bytes > IpHeaderBytes + 4 && buffer[0] == 0x45) Take(new Span<byte>(buffer, bytes));
        }
    }

    void Take(Span<byte> packet)
    {
        bool isUp = BinaryPrimitives.ReadUInt16BigEndian(packet[(IpHeaderBytes + 2)..]) == _port;
        // the shaper adds the headers of UDP over IPv4 to what it is told
        Fate fate = (isUp ? _up : _down).Offer(isUp ? _profile.Up : _profile.Down, Now(), packet.Length - IpHeaderBytes - UdpHeaderBytes, out long arrives, out long copy);
        if (fate == Fate.Lost) Lost++;
        if (fate == Fate.Late) Late++;
        if (fate is not (Fate.Pass or Fate.Late)) return;
        uint source = BinaryPrimitives.ReadUInt32BigEndian(packet[12..]);
        packet.Slice(16, 4).CopyTo(packet[12..]);
        BinaryPrimitives.WriteUInt32BigEndian(packet[16..], source);
        byte[] kept = packet.ToArray();
        _line.Enqueue(kept, (arrives, _order++));
        if (copy == 0) return;
        Doubled++;
        _line.Enqueue(kept, (copy, _order++));
    }

    static long Now() => Stopwatch.GetTimestamp();

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(int descriptor, nuint request, byte* argument);

    public void Dispose()
    {
        _stopping = true;
        _thread.Join();
        _device.Dispose(); // the device goes with its last descriptor
    }
}
