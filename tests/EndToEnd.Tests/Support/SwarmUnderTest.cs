// A swarm of real processes that a test may hurt: the orchestrator in this process, the peers as children, signals by number,
// and what the run wrote about itself afterwards.
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using OrionNative.Engine.Control;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;
using OrionNative.Net.Links;

namespace OrionNative.EndToEnd.Tests.Support;

sealed partial class SwarmUnderTest : IDisposable
{
    const int SigKill = 9, SigContinue = 18, SigStop = 19;

    readonly TemporaryFolder _folder = new();
    readonly ManualResetEventSlim _moved = new();
    readonly CancellationTokenSource _interrupt = new();
    Thread? _thread;
    Exception? _failure;
    volatile int _step;

    public SwarmUnderTest(RunConfig config, LinkProfile? links = null)
    {
        if (!NativeLibrary.TryLoad("libngtcp2.so.16", out _))
        {
            Assert.Skip("libngtcp2.so.16 is not on this machine; run this through ./orion test, which fetches it");
        }

        TextFile = _folder.File("text.txt", string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
        RunPath = Path.Combine(_folder.Path, "run");
        Swarm = new LocalSwarm(ResolvedRun.From(config with { Data = [TextFile], Out = RunPath }), resumeFrom: null, TextWriter.Null, links: links);
    }

    /// <summary>A run of the tiny model whose steps take hardly longer than peers rehearse.</summary>
    public static RunConfig Small(int stages, int replicas, int steps) => new()
    {
        Stages = stages,
        Replicas = replicas,
        Steps = steps,
        Sequence = 32,
        MicrobatchSize = 2,
        Microbatches = 12,
        LearningRate = 3e-3,
        CheckpointEvery = 0,
        Seed = 7,
    };

    public LocalSwarm Swarm { get; }

    public string RunPath { get; }

    public string TextFile { get; }

    public int Step => _step;

    public TrainingOutcome? Outcome { get; private set; }

    /// <summary>Starts the run on a thread of its own.</summary>
    public void Start()
    {
        _thread = new Thread(() =>
        {
            try
            {
                using PlainTrainingView view = new(TextWriter.Null, TimeProvider.System);
                Outcome = Swarm.Train(view, step =>
                {
                    _step = step.Step;
                    _moved.Set();
                }, _interrupt.Token);
            }
            catch (Exception error)
            {
                _failure = error;
            }

            _step = int.MaxValue;
            _moved.Set();
        })
        { IsBackground = true };
        _thread.Start();
    }

    /// <summary>Waits until a step is committed.</summary>
    public void WaitForStep(int step, double seconds = 120) =>
        Assert.True(Wait(() => _step >= step, seconds), $"step {step} was not committed within {seconds} s; the run stands at {_step}. {Swarm.Orchestrator.HoldReason}\n{Logs()}");

    /// <summary>Waits until the run has ended as it should.</summary>
    public void WaitForEnd(double seconds)
    {
        WaitForStep(int.MaxValue, seconds);
        _thread!.Join();
        Assert.True(_failure is null, _failure?.ToString());
        Assert.False(Outcome!.Interrupted);
    }

    public static bool Wait(Func<bool> condition, double seconds)
    {
        long began = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(began).TotalSeconds > seconds)
            {
                return false;
            }

            Thread.Sleep(10);
        }

        return true;
    }

    /// <summary>The process index of a holder of a stage.</summary>
    public int HolderOf(int stage) => Holders(stage)[0];

    public int[] Holders(int stage) =>
        [.. Enumerable.Range(0, Swarm.Ids.Count).Where(i => Swarm.Orchestrator.Placement.TryFind(Swarm.Ids[i], out Member member) && member.Stage == stage && Swarm.Peers[i] is { HasExited: false })];

    public DateTime Kill(int peer) => Signal(peer, SigKill);

    public DateTime Stop(int peer) => Signal(peer, SigStop);

    public DateTime Continue(int peer) => Signal(peer, SigContinue);

    DateTime Signal(int peer, int signal)
    {
        DateTime at = DateTime.UtcNow;
        Assert.Equal(0, kill(Swarm.Peers[peer]!.Id, signal));
        return at;
    }

    /// <summary>When a microbatch was first offered or given to another peer again, over all peers, after a time.</summary>
    public DateTime? FirstReroute(DateTime after)
    {
        DateTime? first = null;
        for (int i = 0; i < Swarm.Ids.Count; i++)
        {
            foreach (string line in ReadShared(Path.Combine(Swarm.FolderOf(i), "peer.log")))
            {
                if (!line.Contains("again", StringComparison.Ordinal) || !DateTime.TryParseExact(line.AsSpan(0, Math.Min(12, line.Length)), "HH:mm:ss.fff", CultureInfo.InvariantCulture, DateTimeStyles.None, out DateTime time))
                {
                    continue;
                }

                DateTime at = after.Date + time.TimeOfDay;
                first = at >= after && (first is null || at < first) ? at : first;
            }
        }

        return first;
    }

    public IEnumerable<JsonObject> Events(string kind) => ReadShared(Path.Combine(RunPath, "events.jsonl"))
        .Select(line => JsonNode.Parse(line)!.AsObject()).Where(line => (string?)line["event"] == kind);

    public double[] Losses() => [.. ReadShared(Path.Combine(RunPath, "metrics.jsonl")).Select(line => (double)JsonNode.Parse(line)!["loss"]!)];

    public double[] StepSeconds() => [.. ReadShared(Path.Combine(RunPath, "metrics.jsonl")).Select(line => (double)JsonNode.Parse(line)!["seconds"]!)];

    /// <summary>The log of contributions: each (step, microbatch, stage) in the applied gradients exactly once. Steps that were
    /// undone by a rollback count in the branch that stayed.</summary>
    public void RequireExactlyOnce(RunConfig config)
    {
        Dictionary<int, JsonObject> commits = [];
        foreach (JsonObject commit in Events("StepCommitted"))
        {
            commits[(int)commit[nameof(DurableRecord.StepCommitted.Step)]!] = commit;
        }

        Assert.Equal(Enumerable.Range(1, config.Steps), commits.Keys.Order());
        foreach ((int step, JsonObject commit) in commits)
        {
            int[,] times = new int[config.Stages, config.Microbatches];
            foreach (JsonNode? share in commit["Shares"]!.AsArray())
            {
                foreach (JsonNode? microbatch in share!["Microbatches"]!.AsArray().Skip(1))
                {
                    times[(int)share["Stage"]!, (int)microbatch!]++;
                }
            }

            Assert.True(times.Cast<int>().All(count => count == 1), $"step {step}: {commit["Shares"]!.ToJsonString()}");
        }
    }

    public string Logs() => string.Join("\n", Enumerable.Range(0, Swarm.Ids.Count).Select(i => $"--- peer {i}\n" + string.Join("\n", ReadShared(Path.Combine(Swarm.FolderOf(i), "peer.log")).TakeLast(15))));

    // others append to these files
    static string[] ReadShared(string path)
    {
        if (!File.Exists(path))
        {
            return [];
        }

        using StreamReader reader = new(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        string text = reader.ReadToEnd();
        return [.. text[..(text.LastIndexOf('\n') + 1)].Split('\n', StringSplitOptions.RemoveEmptyEntries)];
    }

    [LibraryImport("libc")]
    private static partial int kill(int process, int signal);

    public void Dispose()
    {
        _interrupt.Cancel();
        _thread?.Join(TimeSpan.FromSeconds(10));
        Swarm.Dispose();
        _moved.Dispose();
        _interrupt.Dispose();
        _folder.Dispose();
    }
}
