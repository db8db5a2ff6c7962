// What people get wrong with a swarm: each is a sentence with the fix, a documented status (2: the command line or a place that
// the user named; 1: the run or the machine says no), and nothing that was there is lost.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Microsoft.Data.Sqlite;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.EndToEnd.Tests;

public sealed class SwarmBadInputTests : IDisposable
{
    const string Settings = "--data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --boundary none --steps 4";

    readonly TemporaryFolder _folder = new();
    readonly SwarmOfMachines _swarm;

    public SwarmBadInputTests()
    {
        _swarm = new SwarmOfMachines(_folder);
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 300).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
        if (!System.Runtime.InteropServices.NativeLibrary.TryLoad("libngtcp2.so.16", out _))
        {
            Assert.Skip("libngtcp2.so.16 is not on this machine; run this through ./orion test, which fetches it");
        }
    }

    EngineResult Engine(string line) => EngineProcess.Run(_folder.Path, line.Split(' ', StringSplitOptions.RemoveEmptyEntries));

    static void Says(EngineResult result, int status, params string[] words)
    {
        Assert.True(result.Status == status, $"status {result.Status}, expected {status}\n{result.Error}");
        Assert.DoesNotContain("   at ", result.Error);
        Assert.All(words, word => Assert.Contains(word, result.Error));
    }

    EngineResult Join(string arguments) => Engine($"join {_swarm.JoinUrl} --state peer --listen 127.0.0.1:0 --threads 1 --speed 1 {arguments}");

    [Fact]
    public void Join_ThatTheRunRefuses_IsOneSentenceAndStatus1AndTheRunGoesOn()
    {
        _swarm.Orchestrate($"{Settings} --stages 2 --token-uses 2 --out far");
        string right = _swarm.JoinUrl;
        Says(Engine($"join {right[..^4]}0000 --state peer --listen 127.0.0.1:0"), 1, "the token is not one of this run", "ask the run's operator");
        _folder.File("other.yaml", "width: 64\nlayers: 4\nquery-heads: 4\nkv-heads: 4\nhead-width: 16\nfeed-forward: 96\ncontext: 64\n");
        Says(Join("--model other.yaml"), 1, "this peer's model has hash", "use the run's model file");
        Engine("tokenizer train --data text.txt --vocabulary 300 --out tok.json").Succeeded();
        Says(Join("--tokenizer tok.json"), 1, "this peer's tokenizer has hash", "use the run's tokenizer");
        ModelCosts costs = Costs();
        Says(Join("--memory 100kB"), 1, $"the smallest stage of this model needs {ModelCosts.Size(costs.SharedBytes + costs.BlockBytes.Min())} for weights", "this peer offers 100.00 kB");
        OtherVersion(right);

        Process[] peers = [_swarm.Join("a", "--speed 1"), _swarm.Join("b", "--speed 1")];
        Assert.True(_swarm.StatusOf(_swarm.Orchestrator) == 0, _swarm.Log);
        Assert.All(peers, peer => Assert.Equal(0, _swarm.StatusOf(peer, 20)));
    }

    // What the settings above come to; that a stage really needs so much is StageNeedTests' business.
    ModelCosts Costs()
    {
        RunConfig config = new() { Data = [Path.Combine(_folder.Path, "text.txt")], Sequence = 32, MicrobatchSize = 2, Microbatches = 4, Boundary = BoundaryKind.None, Stages = 2 };
        return RunSegments.Costs(ResolvedRun.From(config).Model, config);
    }

    void OtherVersion(string url)
    {
        Assert.True(JoinString.TryParse(url, out JoinString? join, out _));
        using NodeIdentity key = NodeIdentity.LoadOrCreate(Path.Combine(_folder.Path, "old"));
        using PeerHost peer = new(new PeerHostOptions(join, key, new IPEndPoint(IPAddress.Loopback, 0), null, "cpu", 1, 0, Path.Combine(_folder.Path, "old"), _ => { }) { Version = "0.0.9", Speed = 1 });
        using CancellationTokenSource patience = new(TimeSpan.FromSeconds(30));
        string reason = peer.Run(patience.Token);
        Assert.True(peer.WasRefused, reason);
        Assert.Contains($"this peer runs version 0.0.9, the run version {PeerHost.Version}; install {PeerHost.Version}", reason);
    }

    [Fact]
    public void Token_UsedUpOrExpired_AdmitsNobodyNew()
    {
        _swarm.Orchestrate($"{Settings} --stages 2 --token-uses 1 --out far");
        _swarm.Join("a", "--speed 1");
        Assert.True(SwarmUnderTest.Wait(() => _swarm.Log.Contains(" joined from ", StringComparison.Ordinal), 60), _swarm.Log);
        Says(Join(""), 1, "the token was used as often as it may be");
        _swarm.Orchestrator.Kill();
        _swarm.Orchestrate($"{Settings} --stages 2 --token-hours 0.0003 --out expired");
        Thread.Sleep(2200);
        Says(Join(""), 1, "the token expired", "ask the run's operator for a new join string");
    }

    [Fact]
    public async Task Stranger_WhoConnectsAndNeverJoins_IsCutOffAfterAMinute()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("ORION_LONG") == "1", "waits for a minute; fix: ORION_LONG=1");
        _swarm.Orchestrate($"{Settings} --stages 2 --out far");
        Assert.True(JoinString.TryParse(_swarm.JoinUrl, out JoinString? join, out _));
        using NodeIdentity key = NodeIdentity.LoadOrCreate(Path.Combine(_folder.Path, "stranger"));
        using ITransportEndpoint endpoint = Endpoints.Open(key, TransportKind.Quic, new TransportOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0), KeepAlive = TimeSpan.FromSeconds(2) });
        Stranger stranger = new();
        LinkOptions options = new() { Run = PeerIds.RunOf(join.NodeId), Window = new DuplicateWindow() };
        endpoint.Dial(Endpoints.Resolve(join.Host, join.Port, endpoint.LocalAddress), join.NodeId, new PeerLink(options, stranger));
        CloseReason reason = await stranger.End.Task.WaitAsync(TimeSpan.FromSeconds(75), TestContext.Current.CancellationToken);
        Assert.Equal(CloseKind.Remote, reason.Kind); // the stranger is not told why; the operator is
        Assert.Contains("has not joined within 60 s", File.ReadAllText(Path.Combine(_folder.Path, "far", "orchestrator", "wire.log")));
    }

    sealed class Stranger : ILinkHandler
    {
        public TaskCompletionSource<CloseReason> End { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void Opened(PeerLink link)
        {
        }

        public Answer Admit(PeerLink link, in MessageHeader header) => Answer.Refused(Refusal.Unexpected);

        public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id) => Answer.Refused(Refusal.Unexpected);

        public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body)
        {
        }

        public void Closed(PeerLink link, CloseReason reason) => End.TrySetResult(reason);
    }

    [Fact]
    public void Peer_WithTooLittleMemoryForTheCut_IsSentAwayWithTheNumbersAndTheRunWaitsForAnother()
    {
        Process orchestrator = _swarm.Orchestrate($"{Settings} --stages 2 --out far");
        // enough for a block in the middle, not for one with an end of the model: a cut in two has no stage without an end
        ModelCosts costs = Costs();
        long offered = costs.SharedBytes + ((costs.BlockBytes[1] + Math.Min(costs.BlockBytes[0], costs.BlockBytes[^1])) / 2);
        Process small = _swarm.Join("small", $"--speed 1 --memory {offered / 1000}kB");
        Process large = _swarm.Join("large", "--speed 1");
        Assert.Equal(1, _swarm.StatusOf(small));
        long blocks = (2 * costs.SharedBytes) + costs.BlockBytes.Sum() + costs.EmbeddingBytes + costs.HeadBytes;
        Assert.Contains($"no cut of 4 blocks ({ModelCosts.Size(blocks)} with the ends) fits 2 stages ", _swarm.Log);
        Assert.Matches($"small: .*; this peer offers {ModelCosts.Size(offered / 1000 * 1000)}", _swarm.Log);
        Process another = _swarm.Join("another", "--speed 1");
        Assert.True(_swarm.StatusOf(orchestrator) == 0, _swarm.Log);
        Assert.Equal(0, _swarm.StatusOf(large, 20));
        Assert.Equal(0, _swarm.StatusOf(another, 20));
    }

    [Fact]
    public void Places_ThatAreTakenOrWrong_AreNamedWithStatus2()
    {
        using Socket udp = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        udp.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        using Socket tcp = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        tcp.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        tcp.Listen();
        Says(Engine($"orchestrate {Settings} --stages 2 --http 127.0.0.1:0 --out a --listen {udp.LocalEndPoint}"), 2, $"listen '{udp.LocalEndPoint}'", "in use", "--listen");
        Says(Engine($"orchestrate {Settings} --stages 2 --listen 127.0.0.1:0 --out b --http {tcp.LocalEndPoint}"), 2, $"http '{tcp.LocalEndPoint}'", "in use", "--http");
        Assert.False(Directory.Exists(Path.Combine(_folder.Path, "a")) || Directory.Exists(Path.Combine(_folder.Path, "b")));   // the same --out is free for the next try
        Says(Engine($"orchestrate {Settings} --stages 9 --out c"), 2, "9 stages cannot share 4 blocks");
        Says(Engine("join orion://nonsense"), 2, "a join string has the form orion://NODEID@host:port/TOKEN");
        string absent = $"orion://{new string('a', NodeId.TextLength)}@{udp.LocalEndPoint}/abc";
        Says(Engine($"join {absent} --state p --listen {udp.LocalEndPoint}"), 2, $"listen '{udp.LocalEndPoint}'", "in use");
        NodeIdentity.LoadOrCreate(Path.Combine(_folder.Path, "taken")).Dispose();
        using (RunDirectory.Hold(Path.Combine(_folder.Path, "taken"), "it is free"))
        {
            Says(Engine($"join {absent} --state taken --listen 127.0.0.1:0"), 1, "another process takes part with the key in 'taken'", "--state");
        }

        Says(Engine($"join {absent} --state p --advertise peer.example.org:4434"), 2, "advertise 'peer.example.org:4434' is not an address and port", "like 203.0.113.7:4434");
        Directory.CreateDirectory(Path.Combine(_folder.Path, "open"));
        File.WriteAllText(Path.Combine(_folder.Path, "open", "identity.pem"), "");
        Says(Engine($"join {absent} --state open"), 1, "can be used by others", "chmod 600");
        Says(Engine("drain abcd --run a"), 2, "a is not a run directory");
        Says(Engine("status"), 2, "no run under runs/ is running; name one with --run");
    }

    [Fact]
    public void Join_WhereNobodyAnswers_EndsWithTheAddressAndStatus1()
    {
        using Socket silent = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        silent.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        string absent = $"orion://{new string('a', NodeId.TextLength)}@{silent.LocalEndPoint}/abc";
        Says(Engine($"join {absent} --state p --listen 127.0.0.1:0 --speed 1"), 1, $"at {silent.LocalEndPoint} for", "Check the join string");
    }

    [Fact]
    public void Store_ThatCannotBeOpened_IsNamedWithStatus1AndLeftAsItWas()
    {
        Engine($"train {Settings} --stages 2 --out run").Succeeded();
        string store = Path.Combine(_folder.Path, "run", "run.db");
        byte[] whole = File.ReadAllBytes(store);
        string resume = "orchestrate --resume run --steps 8 --listen 127.0.0.1:0 --http 127.0.0.1:0";

        byte[] noDatabase = [.. Enumerable.Range(0, 5000).Select(i => (byte)i)];
        File.WriteAllBytes(store, noDatabase);
        Says(Engine(resume), 1, "run.db cannot be opened: it is not a database", "move it away");
        Assert.Equal(noDatabase, File.ReadAllBytes(store));

        File.WriteAllBytes(store, whole);
        Version(store, SqliteRunStore.SchemaVersion + 6);
        Says(Engine(resume), 1, $"schema version {SqliteRunStore.SchemaVersion + 6}, this program reads version {SqliteRunStore.SchemaVersion}");
        Version(store, SqliteRunStore.SchemaVersion);

        using (SqliteRunStore held = new(store))
        {
            Says(Engine(resume), 1, "run.db cannot be opened: another orchestrator has it open");
        }

        File.Delete(store);
        Directory.CreateDirectory(store);
        Says(Engine(resume), 1, "run.db cannot be opened", "Check that its folder exists");
        Directory.Delete(store);

        // the run itself is untouched: it goes on from its checkpoint
        File.WriteAllBytes(store, whole);
        Engine("train --resume run --steps 6").Succeeded();
        Assert.Equal(Enumerable.Range(1, 6), new RunFiles(Path.Combine(_folder.Path, "run")).Steps);
    }

    [Fact]
    public void Store_ThatIsReadOnly_IsNamed()
    {
        string store = Path.Combine(_folder.Path, "run.db");
        using (SqliteRunStore made = new(store))
        {
            made.Append("{}");
        }

        File.SetUnixFileMode(store, UnixFileMode.UserRead);
        try
        {
            using FileStream probe = new(store, FileMode.Open, FileAccess.ReadWrite);
            Assert.Skip("this user may write read-only files (root); run the tests as another user");
        }
        catch (UnauthorizedAccessException)
        {
            // as it should be
        }

        IOException error = Assert.Throws<IOException>(() => new SqliteRunStore(store));
        Assert.Contains("it is read-only; give this user write permission", error.Message);
    }

    static void Version(string store, int version)
    {
        using SqliteConnection connection = new($"Data Source={store};Pooling=False");
        connection.Open();
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = "PRAGMA user_version=" + version.ToString(System.Globalization.CultureInfo.InvariantCulture);
        command.ExecuteNonQuery();
    }

    public void Dispose()
    {
        _swarm.Dispose();
        _folder.Dispose();
    }
}
