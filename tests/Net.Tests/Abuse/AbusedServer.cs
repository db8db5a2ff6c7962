// The process under attack: one identity, both transports, links that accept every message and send one on request. A process
// of its own, because a failed assertion in the native library ends the process, and because its memory is then its own.
// It writes its log to a file; the test reads it as an operator would.
using System.Diagnostics;
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;
using OrionNative.Net.Tests.Links;
using OrionNative.Net.Tls;

namespace OrionNative.Net.Tests.Abuse;

public sealed class AbusedServer : IDisposable
{
    const string ReportVariable = "ORION_ABUSE_REPORT";

    /// <summary>A request of this one byte is answered with a message of <see cref="MessageBytes"/>.</summary>
    public const byte SendMeOne = 1;

    public const int MessageBytes = 60_000, SlotsPerLink = 6;

    /// <summary>What the server's links and endpoints are patient for; short, so that the tests are.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    readonly string _report = Path.Combine(Path.GetTempPath(), $"orion-abuse-{Environment.ProcessId}-{Guid.NewGuid():n}");
    readonly Process _process;

    public AbusedServer()
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true };
        foreach (string argument in (string[])[typeof(AbusedServer).Assembly.Location, "-explicit", "only", "-method", $"{typeof(AbusedServerProcess).FullName}.{nameof(AbusedServerProcess.Serve)}"]) start.ArgumentList.Add(argument);
        start.Environment[ReportVariable] = _report;
        _process = Process.Start(start)!;
        _process.OutputDataReceived += static (_, _) => { };
        _process.BeginOutputReadLine();
        long began = Stopwatch.GetTimestamp();
        while (!File.Exists(_report))
        {
            Assert.False(_process.HasExited, "the server did not start");
            Assert.True(Stopwatch.GetElapsedTime(began).TotalSeconds < 60, "the server did not report its address");
            Thread.Sleep(20);
        }
        string[] words = File.ReadAllText(_report).Split(' ');
        Assert.True(NodeId.TryParse(words[0], out NodeId id));
        (Id, QuicPort, TcpPort) = (id, int.Parse(words[1]), int.Parse(words[2]));
    }

    public NodeId Id { get; }

    public int QuicPort { get; }

    public int TcpPort { get; }

    public bool IsAlive => !_process.HasExited;

    public IPEndPoint Address(TransportKind kind) => new(IPAddress.Loopback, kind == TransportKind.Quic ? QuicPort : TcpPort);

    public long ResidentBytes
    {
        get
        {
            string line = File.ReadLines($"/proc/{_process.Id}/status").First(static l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
            return 1024 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]);
        }
    }

    /// <summary>Bytes of the log so far.</summary>
    public long LogBytes => File.Exists(_report + ".log") ? new FileInfo(_report + ".log").Length : 0;

    /// <summary>The log from a byte of it on.</summary>
    public string Log(long from)
    {
        using var file = new FileStream(_report + ".log", FileMode.OpenOrCreate, FileAccess.Read, FileShare.ReadWrite);
        file.Position = Math.Min(from, file.Length);
        return new StreamReader(file).ReadToEnd();
    }

    public void Dispose()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        foreach (string file in (string[])[_report, _report + ".log"]) File.Delete(file);
    }

    /// <summary>Runs in the child until it is killed.</summary>
    internal static void Serve()
    {
        string report = Environment.GetEnvironmentVariable(ReportVariable) ?? throw new InvalidOperationException($"{ReportVariable} is not set.");
        using var identity = NodeIdentity.Create();
        using var pool = new PinnedPool(new SlotClass(MessageBytes, 1024));
        using var log = new StreamWriter(new FileStream(report + ".log", FileMode.Create, FileAccess.Write, FileShare.ReadWrite)) { AutoFlush = true };
        void Tell(string line)
        {
            lock (log) log.WriteLine(line);
        }

        var links = new LinkOptions { Run = LinkedPair.Run, Window = new DuplicateWindow(), Patience = Patience };
        Admission Admit(ITransportConnection connection) => Admission.Accept(new PeerLink(links, new Serving(pool)));
        var options = new QuicOptions
        {
            Listen = new IPEndPoint(IPAddress.Any, 0),
            Admit = Admit,
            Log = Tell,
            HandshakeTimeout = 2 * Patience,
            IdleTimeout = 4 * Patience,
            KeepAlive = Patience,
            StrangersEvery = Patience / 2,
        };
        using var quic = QuicLibrary.IsSupported ? new QuicEndpoint(identity, options) : null;
        using var tcp = new TlsEndpoint(identity, new TlsOptions
        {
            Listen = options.Listen,
            Admit = Admit,
            Log = Tell,
            HandshakeTimeout = options.HandshakeTimeout,
            IdleTimeout = options.IdleTimeout,
            KeepAlive = options.KeepAlive,
            StrangersEvery = options.StrangersEvery,
        });
        File.WriteAllText(report + ".part", $"{identity.Id} {quic?.LocalAddress.Port ?? 0} {tcp.LocalAddress.Port}");
        File.Move(report + ".part", report);
        Thread.Sleep(Timeout.Infinite);
    }

    sealed class Serving(PinnedPool pool) : ILinkHandler
    {
        uint _sent;

        public void Opened(PeerLink link)
        {
            for (int i = 0; i < SlotsPerLink && pool.TryRent(MessageBytes, out Slot slot); i++) link.Grant(slot, (Lane)(1 + (i % 3)));
        }

        public Answer Admit(PeerLink link, in MessageHeader header) => Answer.Accepted;

        public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
        {
            link.Grant(slot, header.Lane);
            return Answer.Accepted;
        }

        public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body)
        {
            link.Respond(id, 0, body);
            if (body is [SendMeOne]) _ = SendAsync(link);
        }

        public void Closed(PeerLink link, CloseReason reason) { }

        async Task SendAsync(PeerLink link)
        {
            if (!pool.TryRent(MessageBytes, out Slot slot)) return;
            await link.SendAsync(new MessageHeader { Run = LinkedPair.Run, Microbatch = _sent++, Kind = MessageKind.Code, PayloadBytes = MessageBytes }, slot);
            pool.Return(slot);
        }
    }
}

/// <summary>The entry of the child process; never run by itself.</summary>
public class AbusedServerProcess
{
    [Fact(Explicit = true)]
    public void Serve() => AbusedServer.Serve();
}
