// The link laboratory as an operator uses it: serve, test through an emulated link, change it by typing, read what went wrong.
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Net.Quic;

namespace OrionNative.EndToEnd.Tests;

public sealed class LinkTests : IDisposable
{
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(60);

    readonly TemporaryFolder _folder = new();
    readonly List<Running> _running = [];

    /// <summary>A command that goes on until it is told to stop; its lines as they come.</summary>
    sealed class Running : IDisposable
    {
        readonly Process _process;
        readonly ConcurrentQueue<string> _lines = new();

        public Running(string folder, string line)
        {
            _process = EngineProcess.Start(folder, line.Split(' '));
            foreach (StreamReader reader in new[] { _process.StandardOutput, _process.StandardError }) _ = ReadAsync(reader);
        }

        async Task ReadAsync(StreamReader reader)
        {
            while (await reader.ReadLineAsync() is { } line) _lines.Enqueue(line);
        }

        public void Type(string line)
        {
            _process.StandardInput.WriteLine(line);
            _process.StandardInput.Flush();
        }

        /// <summary>The first line that came or comes with this text.</summary>
        public string Line(string text)
        {
            long began = Stopwatch.GetTimestamp();
            while (Stopwatch.GetElapsedTime(began) < _patience)
            {
                if (_lines.FirstOrDefault(line => line.Contains(text, StringComparison.Ordinal)) is { } found) return found;
                if (_process.HasExited && _lines.All(line => !line.Contains(text, StringComparison.Ordinal))) Thread.Sleep(200);
                Thread.Sleep(20);
            }
            throw new TimeoutException($"no line with '{text}' came:\n{string.Join('\n', _lines)}");
        }

        public int Status()
        {
            Assert.True(_process.WaitForExit(_patience), "the command did not end");
            return _process.ExitCode;
        }

        public void Dispose()
        {
            if (!_process.HasExited) _process.Kill(entireProcessTree: true);
            _process.Dispose();
        }
    }

    Running Start(string line)
    {
        var running = new Running(_folder.Path, line);
        _running.Add(running);
        return running;
    }

    (string Address, string Node) Serve(string transport)
    {
        Running server = Start($"link serve --listen 127.0.0.1:0 --message 64KiB --transport {transport}");
        string address = server.Line("serving ").Split(" at ")[1].Split(';')[0];
        return (address, server.Line("--node ").Split("--node ")[1].Trim());
    }

    static void SkipWithoutQuic(string transport)
    {
        if (transport == "quic" && QuicLibrary.NotSupportedReason is { } missing) Assert.Skip(missing);
    }

    [Theory]
    [InlineData("quic")]
    [InlineData("tcp")]
    public void Test_ThroughAnEmulatedLinkThatIsChangedByTyping_FeelsTheChange(string transport)
    {
        SkipWithoutQuic(transport);
        (string address, string node) = Serve(transport);
        Running link = Start($"link emulate --transport {transport} --profile perfect --listen 127.0.0.1:0 --target {address}");
        string relay = link.Line(" -> ").Split(' ')[1];
        JsonObject Measure()
        {
            string line = $"link test {relay} --node {node} --transport {transport} --seconds 1 --message 64KiB --depth 4 --json";
            JsonObject report = EngineProcess.Run(_folder.Path, line.Split(' ')).Succeeded().Json["links"]![0]!.AsObject();
            Assert.Equal(transport, (string?)report["transport"]);
            foreach (string direction in new[] { "up", "down" })
                foreach (string key in new[] { "megabytesPerSecond", "bytes", "senderCpuSecondsPerGigabyte", "receiverCpuSecondsPerGigabyte", "rttLoadedMsP50" })
                    Assert.True((double)report[direction]![key]! > 0, $"{direction} {key} in {report}");
            Assert.InRange((double)report["resentFraction"]!, 0, 1);
            return report;
        }
        Measure();
        link.Line(" MB/s "); // the live report, once a second while something moves
        link.Type("delay 40ms");
        link.Line("40 ms");
        link.Type("rate 80mbit");
        link.Line("80 Mbit/s");
        JsonObject slow = Measure();
        Assert.True((double)slow["rttIdleMsP50"]! >= 80, $"two ways of 40 ms: {slow}");
        Assert.True((double)slow["up"]!["megabytesPerSecond"]! <= 11, $"80 Mbit/s are 10 MB/s, a tenth more for where the second begins and ends: {slow}");
        link.Type("speed 3");
        link.Line("unknown word 'speed'");
        link.Type("blackhole both");
        link.Line("BLACKHOLE");
        link.Type("quit");
        Assert.Equal(0, link.Status());
    }

    [Fact]
    public void Emulate_PortInUse_SaysWhichAndWhatToDo()
    {
        using var tcp = new TcpListener(IPAddress.Loopback, 0);
        tcp.Start();
        using var udp = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        int tcpPort = ((IPEndPoint)tcp.LocalEndpoint).Port, udpPort = ((IPEndPoint)udp.Client.LocalEndPoint!).Port;
        foreach (string line in new[]
        {
            $"link serve --transport tcp --listen 127.0.0.1:{tcpPort}",
            $"link emulate --transport tcp --profile perfect --target 127.0.0.1:1 --listen 127.0.0.1:{tcpPort}",
            $"link emulate --profile perfect --target 127.0.0.1:1 --listen 127.0.0.1:{udpPort}",
        })
        {
            EngineResult result = EngineProcess.Run(_folder.Path, line.Split(' '));
            Assert.Equal(1, result.Status);
            Assert.Contains(line.Split(' ')[^1], result.Error, StringComparison.Ordinal);
            Assert.Contains("Address already in use", result.Error, StringComparison.Ordinal);
            Assert.Contains("Fix: ", result.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("   at ", result.Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void ServeAndEmulate_Json_IsOneObjectAtTheEnd()
    {
        using Process serve = EngineProcess.Start(_folder.Path, "link serve --listen 127.0.0.1:0 --transport tcp --json".Split(' '));
        string node = serve.StandardError.ReadLine() + serve.StandardError.ReadLine();
        EngineProcess.Interrupt(serve.Id);
        EngineResult served = EngineProcess.End(serve, _patience);
        Assert.Equal(130, served.Status);
        Assert.Contains((string)served.Json["node"]!, node, StringComparison.Ordinal);

        JsonObject link = EngineProcess.Run(_folder.Path, "link", "emulate", "--target", "127.0.0.1:9", "--set", "loss 1%", "--seconds", "0.2", "--json").Succeeded().Json;
        Assert.Equal(0, (long)link["up"]!["packets"]!);
        Assert.Contains("loss 1 %", (string)link["down"]!["conditions"]!, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("link serve --listen nonsense", 2, "--listen wants HOST:PORT")]
    [InlineData("link serve --listen 127.0.0.1:99999", 2, "--listen wants HOST:PORT")]
    [InlineData("link test 127.0.0.1:1 --node short", 2, "NodeId of 52 characters")]
    [InlineData("link test 127.0.0.1:1 --transport tcp --node aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1, "127.0.0.1:1 could not be reached")]
    [InlineData("link emulate --target 127.0.0.1:1 --profile mars", 2, "mars")]
    [InlineData("link emulate --target 127.0.0.1:1 --set loss", 2, "'loss' is not understood")]
    [InlineData("link emulate --target 127.0.0.1:1 --transport tcp --profile lossy", 2, "A TCP relay cannot lose")]
    public void BadInput_IsOneSentenceWithItsStatus(string line, int status, string expected)
    {
        EngineResult result = EngineProcess.Run(_folder.Path, line.Split(' '));
        Assert.Contains(expected, result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", result.Error, StringComparison.Ordinal);
        Assert.Equal(status, result.Status);
    }

    [Fact]
    public void Test_AnotherNodeAnswers_IsRefusedWithBothNames()
    {
        (string address, string node) = Serve("tcp");
        string other = OrionNative.Net.Identity.NodeIdentity.Create().Id.ToString();
        EngineResult result = EngineProcess.Run(_folder.Path, "link", "test", address, "--node", other, "--transport", "tcp", "--seconds", "1");
        Assert.Equal(1, result.Status);
        Assert.Contains($"expected {other[..8]}", result.Error, StringComparison.Ordinal);
        Assert.Contains(node[..8], result.Error, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        foreach (Running running in _running) running.Dispose();
        _folder.Dispose();
    }
}
