// The orchestrator as people and programs see it: a text of JSON, made anew by the loop a few times a second, read by anybody.
using System.Text.Json.Nodes;
using OrionNative.Engine.Control;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class OrchestratorHost : IRunControl
{
    static readonly TimeSpan _statusEvery = TimeSpan.FromMilliseconds(250);

    readonly CodePayload _payload;
    long[] _codeBytes = [];
    long[] _gradientBytes = [];
    CommittedStep? _lastStep;
    volatile string _status = "{}";
    long _statusAt;

    /// <inheritdoc/>
    public string Status => _status;

    /// <inheritdoc/>
    public (long Id, string Line)[] EventsAfter(long id, int limit) => _directory.EventsAfter(id, limit);

    /// <inheritdoc/>
    public JsonArray Metrics(int afterStep, int pointsMax)
    {
        JsonObject[] lines = [.. RunDirectory.ReadMetrics(_directory.Path).Where(line => (int?)line["step"] > afterStep)];
        int every = Math.Max(1, (lines.Length + pointsMax - 1) / pointsMax);
        return new JsonArray([.. lines.Where((_, index) => index % every == 0 || index == lines.Length - 1)]);
    }

    /// <inheritdoc/>
    public (bool Done, string Text) Drain(string peer)
    {
        TaskCompletionSource<(bool, string)> answered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _events.Add(() => answered.SetResult(DrainNow(peer)));
        return answered.Task.GetAwaiter().GetResult();
    }

    (bool, string) DrainNow(string name)
    {
        MemberView[] found = [.. _core.View(Now).Where(member => name.Length >= 4 && member.Profile.Peer.ToString().StartsWith(name, StringComparison.Ordinal))];
        if (found.Length != 1 || found[0].Stage < 0)
        {
            return (false, found.Length > 1 ? $"'{name}' names {found.Length} peers; give more of the id" : $"no member of this run has an id that begins with '{name}' (four characters at least); `orion-engine status` lists them");
        }

        Step(new OrchestratorEvent.DrainAsked(found[0].Profile.Peer));
        bool isLast = !_core.View(Now).Any(member => member.Stage == found[0].Stage && member.State == MemberState.Active);
        return (true, isLast
            ? $"{found[0].Profile.Peer.Short} is the last holder of stage {found[0].Stage}: it goes on until another one has its state, then leaves"
            : $"{found[0].Profile.Peer.Short} gets nothing new, finishes what it holds and leaves");
    }

    /// <inheritdoc/>
    string IRunControl.Stop(string reason)
    {
        Stop(reason);
        return "the run ends after the step under way, with a checkpoint";
    }

    /// <summary>FLOP/s of all devices that hold a stage, as their peers measured them; NaN if one did not. On the loop's thread.</summary>
    public double PeakFlops
    {
        get
        {
            double[] peaks = [.. _core.View(Now).Where(member => member.Stage >= 0).Select(member => member.Profile.PeakFlops)];
            return peaks.Length > 0 && peaks.All(peak => peak > 0) ? peaks.Sum() : double.NaN;
        }
    }

    void TakeFigures(PeerId peer, in PeerTold told)
    {
        int stage = _core.Placement.TryFind(peer, out Member member) ? member.Stage : -1;
        _figures.TryGetValue(peer, out PeerFigures? before);
        PeerFigures figures = PeerFigures.Read(told, stage, before);
        _figures[peer] = figures;
        if (stage >= 0)
        {
            Array.Resize(ref _codeBytes, Math.Max(_codeBytes.Length, _run.Config.Stages));
            Array.Resize(ref _gradientBytes, _codeBytes.Length);
            _codeBytes[stage] += figures.Total.CodeBytes - (before?.Total.CodeBytes ?? 0);
            _gradientBytes[stage] += figures.Total.GradientBytes - (before?.Total.GradientBytes ?? 0);
        }
    }

    void TellStatus()
    {
        if (_statusAt != 0 && TimeProvider.System.GetElapsedTime(_statusAt) < _statusEvery)
        {
            return;
        }

        _statusAt = TimeProvider.System.GetTimestamp();
        string now = StatusNow().ToJsonString();
        if (now != _status)
        {
            _status = now;
        }
    }

    JsonObject StatusNow() => new()
    {
        ["run"] = _directory.Path,
        ["version"] = PeerHost.Version,
        ["model"] = _run.Config.Model,
        ["parameters"] = _run.Model.Parameters,
        ["boundary"] = _run.Model.Boundary.ToString().ToLowerInvariant(),
        ["phase"] = _core.Phase.ToString().ToLowerInvariant(),
        ["hold"] = _core.HoldReason,
        ["term"] = _core.Term,
        ["epoch"] = _core.Placement.Epoch,
        ["branch"] = _core.Branch,
        ["step"] = _core.CommittedStep,
        ["steps"] = _run.Config.Steps,
        ["checkpointStep"] = _core.CheckpointStep,
        ["microbatches"] = _run.Config.Microbatches,
        ["loss"] = _lastStep is { } last && double.IsFinite(last.Loss) ? last.Loss : null,
        ["gradientNorm"] = _lastStep?.GradientNorm,
        ["secondsPerStep"] = _lastStep?.Seconds,
        ["tokensPerSecond"] = _lastStep is { Seconds: > 0 } step ? _run.Config.TokensPerStep / step.Seconds : null,
        ["events"] = _directory.EventCount,
        ["places"] = _run.Config.Stages * _run.Config.Replicas,
        ["stages"] = new JsonArray([.. Stages()]),
        ["boundaries"] = new JsonArray([.. Boundaries()]),
        ["peers"] = new JsonArray([.. _core.View(Now).Select(PeerNow)]),
    };

    IEnumerable<JsonNode> Stages()
    {
        int[] covered = _core.Covered();
        for (int stage = 0; stage < _core.Placement.StageCount; stage++)
        {
            StageSlice slice = _core.Placement.Slices[stage];
            Model.StageRange range = RunSegments.Range(_run.Model, slice);
            yield return new JsonObject
            {
                ["stage"] = stage,
                ["firstBlock"] = range.FirstBlock,
                ["lastBlock"] = range.EndBlock - 1,
                ["hasEmbedding"] = range.HasEmbedding,
                ["hasHead"] = range.HasHead,
                ["contributed"] = covered[stage],
                ["bytesNeeded"] = _costs.Bytes(slice),
            };
        }
    }

    IEnumerable<JsonNode> Boundaries()
    {
        for (int stage = 0; stage + 1 < _run.Config.Stages; stage++)
        {
            yield return new JsonObject
            {
                ["from"] = stage,
                ["to"] = stage + 1,
                ["codeBytes"] = stage < _codeBytes.Length ? _codeBytes[stage] : 0,
                ["gradientBytes"] = stage + 1 < _gradientBytes.Length ? _gradientBytes[stage + 1] : 0,
                ["bytesPerMicrobatch"] = _payload.ForwardBytes + _payload.CodeBytes,
                ["fullBytesPerMicrobatch"] = 2 * 2L * _payload.Rows * _run.Model.Width,
            };
        }
    }

    JsonNode PeerNow(MemberView member)
    {
        PeerId peer = member.Profile.Peer;
        _figures.TryGetValue(peer, out PeerFigures? figures);
        return new JsonObject
        {
            ["peer"] = peer.ToString(),
            ["name"] = peer.Short,
            ["address"] = member.Profile.Address,
            ["stage"] = member.Stage,
            ["state"] = member.State.ToString().ToLowerInvariant(),
            ["connected"] = _links.ContainsKey(peer),
            ["heard"] = member.IsHeard,
            ["doubted"] = member.IsDoubted,
            ["admittedEpoch"] = member.AdmittedEpoch,
            ["memoryBytes"] = member.Profile.MemoryBytes,
            ["bytesNeeded"] = _core.Placement.TryFind(peer, out Member placed) ? _costs.Bytes(_core.Placement.Slices[placed.Stage], member.Profile.IsApart) : null,
            ["speed"] = member.Profile.Speed,
            ["microbatchSeconds"] = member.ServiceNanoseconds / 1e9,
            ["held"] = figures?.InFlight ?? 0,
            ["slots"] = figures?.Slots ?? 0,
            ["contributed"] = figures?.Contributed ?? 0,
            ["busyShare"] = figures?.BusyShare ?? 0,
            ["sentBytes"] = figures?.SentBytes ?? 0,
            ["receivedBytes"] = figures?.ReceivedBytes ?? 0,
        };
    }
}
