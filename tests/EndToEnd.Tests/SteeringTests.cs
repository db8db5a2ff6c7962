// Looking at and steering a run from outside: HTTP on loopback, the commands over it, the page.
using System.Diagnostics;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;

namespace OrionNative.EndToEnd.Tests;

public sealed class SteeringTests : IDisposable
{
    const string Settings = "--data text.txt --sequence 32 --microbatch-size 2 --microbatches 8 --seed 7 --http 127.0.0.1:0 --checkpoint-every 0";

    const string Exact = "--boundary none --wire fp32 --schedule constant --warmup 0";

    readonly TemporaryFolder _folder = new();
    readonly SwarmOfMachines _swarm;

    public SteeringTests()
    {
        _swarm = new SwarmOfMachines(_folder);
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
        if (!System.Runtime.InteropServices.NativeLibrary.TryLoad("libngtcp2.so.16", out _))
        {
            Assert.Skip("libngtcp2.so.16 is not on this machine; run this through ./orion test, which fetches it");
        }
    }

    RunFiles Files => new(Path.Combine(_folder.Path, "far"));

    EngineResult Engine(string line) => EngineProcess.Run(_folder.Path, $"{line} --run far".Split(' '));

    JsonObject Status()
    {
        JsonObject control = JsonNode.Parse(File.ReadAllText(Path.Combine(_folder.Path, "far", "control.json")))!.AsObject();
        using HttpClient http = new();
        return JsonNode.Parse(http.GetStringAsync(new Uri($"{control["url"]}/api/status")).GetAwaiter().GetResult())!.AsObject();
    }

    JsonObject StatusWhen(Func<JsonObject, bool> holds)
    {
        for (int tries = 0; tries < 600; tries++)
        {
            JsonObject status = Status();
            if (holds(status))
            {
                return status;
            }

            Thread.Sleep(100);
        }

        throw new TimeoutException($"the run did not come to where it should\n{Status()}\n{_swarm.Log}");
    }

    static double Parse(string text) => double.Parse(text, System.Globalization.CultureInfo.InvariantCulture);

    static string[] PeersOf(JsonObject status, int stage) =>
        [.. status["peers"]!.AsArray().Where(peer => (int)peer!["stage"]! == stage).Select(peer => (string)peer!["peer"]!)];

    [Fact]
    public void Drain_OfOneOfTwoReplicas_LosesNoMicrobatchAndTheRunFinishes()
    {
        EngineProcess.Run(_folder.Path, $"train {Settings} {Exact} --steps 50 --out one".Split(' ')).Succeeded();
        Process orchestrator = _swarm.Orchestrate($"{Settings} {Exact} --steps 50 --stages 2 --replicas 2 --out far");
        Process[] peers = [_swarm.Join("a"), _swarm.Join("b"), _swarm.Join("c"), _swarm.Join("d")];
        string leaving = PeersOf(StatusWhen(status => (int)status["step"]! >= 3), stage: 1)[0];
        Assert.Contains("finishes what it holds and leaves", Engine($"drain {leaving[..8]}").Succeeded().Output);
        JsonObject after = StatusWhen(status => PeersOf(status, 1).Length == 1);
        Assert.DoesNotContain(leaving, PeersOf(after, 1));
        Assert.True((int)after["step"]! < 50, "the run was over before the drain: give it more steps");
        Assert.True(_swarm.StatusOf(orchestrator) == 0, _swarm.Log);
        Assert.All(peers, peer => Assert.Equal(0, _swarm.StatusOf(peer, 20)));
        Assert.Single(_swarm.Log.Split('\n'), line => line.EndsWith(" drained", StringComparison.Ordinal) && line.Contains("forgets", StringComparison.Ordinal));
        Assert.Equal(Enumerable.Range(1, 50), Files.Steps);
        Assert.Contains(Files.Events, line => (string?)line["event"] == "PeerRemoved" && (string?)line["Peer"] == leaving && (string?)line["Reason"] == "drained");
        Assert.DoesNotContain(Files.Events, line => (string?)line["event"] is "RolledBack");
        // a microbatch lost or done twice changes the gradient by an eighth; the order of two sums only its last bits
        int until = 5 + Files.Events.TakeWhile(line => (string?)line["event"] != "PeerRemoved").Count(line => (string?)line["event"] == "StepCommitted");
        Assert.All(new RunFiles(Path.Combine(_folder.Path, "one")).Losses.Zip(Files.Losses).Take(until), pair =>
            Assert.InRange(Math.Abs(Parse(pair.First) - Parse(pair.Second)), 0, 1e-4 * Parse(pair.First)));
    }

    [Fact]
    public void Terminated_OnePeerThenAllProcesses_HandsOverAndNothingIsLost()
    {
        Process orchestrator = _swarm.Orchestrate($"{Settings} --steps 100000 --stages 2 --replicas 2 --out far");
        Process[] peers = [_swarm.Join("a"), _swarm.Join("b"), _swarm.Join("c"), _swarm.Join("d")];
        StatusWhen(status => (int)status["step"]! >= 3);
        EngineProcess.Terminate(peers[2].Id);
        Assert.Equal(0, _swarm.StatusOf(peers[2], 20));
        StatusWhen(status => status["peers"]!.AsArray().Count == 3);
        Assert.Contains(Files.Events, line => (string?)line["event"] == "PeerRemoved" && (string?)line["Reason"] == "drained");

        // as a service manager ends a group: nobody is left to hand over to, and the step still ends with its checkpoint
        Array.ForEach((Process[])[peers[0], peers[1], peers[3], orchestrator], process => EngineProcess.Terminate(process.Id));
        Assert.Equal(130, _swarm.StatusOf(orchestrator));
        Assert.All(peers, peer => Assert.Equal(0, _swarm.StatusOf(peer, 20)));
        Assert.Equal($"step-{Files.Steps[^1]:D8}", File.ReadAllText(Path.Combine(_folder.Path, "far", "latest")).Trim());
        Assert.DoesNotContain(Files.Events, line => (string?)line["event"] is "RolledBack");
        Assert.DoesNotContain(Files.Events, line => (string?)line["Reason"] == "lease expired");

        // the log alone tells who held what: two by two at first, and every microbatch in one sum of each stage
        foreach ((int step, int holders) in (ReadOnlySpan<(int, int)>)[(1, 4), (Files.Steps[^1], 3)])
        {
            JsonArray past = JsonNode.Parse(Engine($"status --at {step} --json").Succeeded().Output)!["peers"]!.AsArray();
            Assert.InRange(past.Count, 2, holders);
            Assert.All(past.GroupBy(peer => (int)peer!["stage"]!), stage => Assert.Equal(8, stage.Sum(peer => (int)peer!["summed"]!)));
        }

        Assert.Contains("no commit of step 99999", Engine("status --at 99999").Error);
    }

    [Fact]
    public void Stop_OfARunningJob_EndsAfterTheStepWithACheckpointOfIt()
    {
        Process orchestrator = _swarm.Orchestrate($"{Settings} --steps 100000 --stages 2 --out far");
        Process[] peers = [_swarm.Join("a"), _swarm.Join("b")];
        StatusWhen(status => (int)status["step"]! >= 3);
        string table = Engine("status").Succeeded().Output;
        Assert.Matches("phase   (running|reducing|handover)", table);
        Assert.Contains("stage  peer", table);
        Assert.Contains("with a checkpoint", Engine("stop").Succeeded().Output);
        Assert.Equal(130, _swarm.StatusOf(orchestrator));
        Assert.All(peers, peer => Assert.Equal(0, _swarm.StatusOf(peer, 20)));
        int last = Files.Steps[^1];
        Assert.Equal($"step-{last:D8}", File.ReadAllText(Path.Combine(_folder.Path, "far", "latest")).Trim());
        EngineResult gone = Engine("status");
        Assert.Equal(1, gone.Status);
        Assert.Contains($"is not running (its last step is {last})", gone.Error);
    }

    [Fact]
    public async Task Events_Followed_ComeOnceInOrderAndEndWithTheRun()
    {
        Process orchestrator = _swarm.Orchestrate($"{Settings} --steps 40 --stages 2 --out far");
        _swarm.Join("a");
        using Process follow = EngineProcess.Start(_folder.Path, "events --follow --lines --run far".Split(' '));
        Task<string> output = follow.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        _swarm.Join("b");
        Assert.True(_swarm.StatusOf(orchestrator) == 0, _swarm.Log);
        Assert.True(follow.WaitForExit(TimeSpan.FromSeconds(20)));
        JsonObject[] happened = [.. (await output).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonNode.Parse(line)!.AsObject())];
        Assert.Equal(Enumerable.Range(1, happened.Length), happened.Select(line => (int)line["id"]!));
        // the last words may be cut off by the end of the server, the steps before them not
        int[] steps = [.. happened.Where(line => (string?)line["event"] == "StepCommitted").Select(line => (int)line["Step"]!)];
        Assert.Equal(Enumerable.Range(1, steps.Length), steps);
        Assert.InRange(steps.Length, 30, 40);
    }

    [Fact]
    public async Task Http_WithoutTheKey_ReadsOnLoopbackAndSteersNothing()
    {
        _swarm.Orchestrate($"{Settings} --steps 5 --stages 2 --out far");
        JsonObject control = JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(_folder.Path, "far", "control.json"), TestContext.Current.CancellationToken))!.AsObject();
        using HttpClient http = new() { BaseAddress = new Uri((string)control["url"]!) };
        CancellationToken cancel = TestContext.Current.CancellationToken;
        string page = await http.GetStringAsync("/", cancel);
        Assert.Contains("<title>orion</title>", page);
        Assert.DoesNotContain("http://", page.Replace("http://www.w3.org/2000/svg", "", StringComparison.Ordinal));
        Assert.DoesNotContain("https://", page);
        JsonObject status = JsonNode.Parse(await http.GetStringAsync("/api/status", cancel))!.AsObject();
        Assert.Equal("gathering", (string?)status["phase"]);

        using HttpResponseMessage stop = await http.PostAsync("/api/stop", null, cancel);
        Assert.Equal(HttpStatusCode.Unauthorized, stop.StatusCode);
        using HttpRequestMessage elsewhere = new(HttpMethod.Get, "/api/status") { Headers = { Host = "evil.example" } };
        using HttpResponseMessage read = await http.SendAsync(elsewhere, cancel);
        Assert.Equal(HttpStatusCode.Unauthorized, read.StatusCode);
        Assert.Equal("gathering", (string?)Status()["phase"]);
    }

    public void Dispose()
    {
        _swarm.Dispose();
        _folder.Dispose();
    }
}
