// A simulated host around one PeerCore: what Hosting and Pipeline do with tensors and sockets, done with numbers and the
// virtual queue. It performs effects in order and holds no decisions.
using System.Collections.Immutable;
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

sealed class SimPeer(int node, PeerCore core, SwarmWorld world, int life)
{
    sealed class Kept
    {
        public ulong Input, Output, OutputGradient, InputGradient;
    }

    readonly PeerEffects _effects = new();
    readonly Dictionary<(int Step, int Microbatch), Kept> _kept = [];
    readonly Dictionary<int, GradientPart> _parts = [];
    readonly Dictionary<int, (int Connection, int Step, ulong Name)> _given = [];
    OrchestratorMessage.Reduce? _reduce;
    int[] _counts = new int[world.Options.Microbatches];
    int[] _reducedCounts = [];
    ulong _weights, _sum, _reducedSum;
    /// <summary>What a host's estimate says of tasks that have not been measured: a cold start, and rates of a slow machine.</summary>
    const double ColdSeconds = 2;
    const double EstimatedOver = 3;

    readonly TaskClock _clock = NewClock(world.Options);
    readonly HashSet<ComputeTask> _warm = [];
    bool _isLoading, _isSummed;
    int _stateSerial;
    ushort _shareSerial;
    int _backwards;
    int _contributions;

    public PeerCore Core => core;

    public int Node => node;

    public int Life => life;

    public bool IsHung { get; set; }

    public bool IsComputeHung { get; set; }

    /// <summary>The fault that begins with its next task of that kind.</summary>
    public FaultKinds HangsIn { get; set; }

    public double Slowness { get; set; } = 1;

    public int AppliedStep { get; private set; } = -1;

    public ulong Weights => _weights;

    /// <summary>What its compute thread is at.</summary>
    public OpenTask Look() => _clock.Look(world.Now);

    public int KeptCount => _kept.Count;

    string Name => $"peer {node}";

    /// <summary>Runs one event through the core and performs what it asks for.</summary>
    public void Handle(Action<PeerEffects> happening)
    {
        _effects.Clear();
        happening(_effects);
        Perform();
    }

    public void HandleMessage(int from, in WorkMessage message, ulong payload)
    {
        _effects.Clear();
        core.Schedule.HandleMessage(PeerId.FromNumber(from), message, world.Now, _effects);
        KeepIfAccepted(from, message, payload);
        Perform();
    }

    // The payload of an ACCEPTED code or gradient is kept until the step is released; any other is let go.
    void KeepIfAccepted(int from, in WorkMessage message, ulong payload)
    {
        for (int i = 0; i < _effects.Count; i++)
        {
            ref readonly PeerEffect effect = ref _effects[i];
            if (effect.Kind != PeerEffectKind.Send || effect.Message.Kind != WorkKind.Answer || effect.Message.Work != message.Work)
                continue;
            if (effect.Peer != PeerId.FromNumber(from) || effect.Message.Answered != message.Kind || effect.Message.Verdict != Verdict.Accepted)
                continue;
            if (message.Kind == WorkKind.Forward)
                KeptOf(message.Work.Step, message.Work.Microbatch).Input = payload;
            else if (message.Kind == WorkKind.Gradient)
                KeptOf(message.Work.Step, message.Work.Microbatch).OutputGradient = payload;
        }
    }

    Kept KeptOf(int step, int microbatch)
    {
        if (!_kept.TryGetValue((step, microbatch), out Kept? kept))
            _kept[(step, microbatch)] = kept = new Kept();
        return kept;
    }

    void Perform()
    {
        for (int i = 0; i < _effects.Count; i++)
        {
            PeerEffect effect = _effects[i];
            switch (effect.Kind)
            {
                case PeerEffectKind.Send:
                    world.SendWork(node, NumberOf(effect.Peer), effect.Message, PayloadOf(effect.Message));
                    break;
                case PeerEffectKind.Compute:
                    Compute(effect);
                    break;
                case PeerEffectKind.TellContributed:
                    if (world.Options.Sabotage == Sabotage.DropContribution && ++_contributions % 40 == 0)
                        break;
                    world.Tell(node, new PeerMessage.Contributed(effect.Step, effect.Generation, effect.Microbatch, effect.Loss));
                    break;
                case PeerEffectKind.TellHeartbeat:
                    world.Tell(node, new PeerMessage.Heartbeat(effect.ServiceNanoseconds, effect.SilenceNanoseconds, effect.Open, world.BulkBytesOf(node)));
                    break;
                case PeerEffectKind.Tell:
                    world.Tell(node, (PeerMessage)effect.Detail!);
                    break;
                case PeerEffectKind.ResetGradients:
                    if (world.Options.Sabotage != Sabotage.KeepOldSum)
                        ClearSum();
                    break;
                case PeerEffectKind.GiveShare:
                    GiveShare(NumberOf(effect.Peer), effect.Step, effect.ShareName);
                    break;
                case PeerEffectKind.Reduce:
                    BeginReduce((OrchestratorMessage.Reduce)effect.Detail!);
                    break;
                case PeerEffectKind.AbandonReduce:
                    _reduce = null;
                    break;
                case PeerEffectKind.Apply:
                    Apply(effect);
                    break;
                case PeerEffectKind.Load:
                    _stateSerial++;
                    Clear();
                    BeginLoad();
                    world.BeginLoad(this, effect.Step, NumberOf(effect.Peer), _stateSerial);
                    break;
                case PeerEffectKind.WriteCheckpoint:
                    world.WriteCheckpoint(this, effect.Step, core.Schedule.Stage, _weights);
                    break;
                case PeerEffectKind.ReleaseStep:
                    foreach ((int Step, int Microbatch) key in _kept.Keys.Where(k => k.Step <= effect.Step).ToArray())
                        _kept.Remove(key);
                    break;
                case PeerEffectKind.Placed:
                    world.Checks.Placed(PeerId.FromNumber(node), (Placement)effect.Detail!);
                    break;
                case PeerEffectKind.Forget:
                    _stateSerial++;
                    Clear();
                    break;
                default:
                    throw new InvalidOperationException(effect.Kind.ToString());
            }
        }
    }

    static int NumberOf(PeerId peer) => SwarmWorld.NumberOf(peer);

    ulong PayloadOf(in WorkMessage message) => message.Kind switch
    {
        WorkKind.Forward => KeptOf(message.Work.Step, message.Work.Microbatch).Output,
        WorkKind.Gradient => KeptOf(message.Work.Step, message.Work.Microbatch).InputGradient,
        _ => 0,
    };

    void Clear()
    {
        _kept.Clear();
        _parts.Clear();
        _reduce = null;
        AppliedStep = -1;
        ClearSum();
    }

    void ClearSum()
    {
        _sum = 0;
        _counts = new int[_counts.Length];
    }

    void Compute(in PeerEffect effect)
    {
        double seconds = SecondsOf(effect.Compute) * Slowness;
        Begin(ComputeTask.Microbatch);
        world.After(world.Serve(seconds), new Happening(HappeningKind.Computed, node)
        {
            Life = life,
            Serial = _stateSerial,
            Compute = effect.Compute,
            Step = effect.Step,
            Microbatch = effect.Microbatch,
        });
    }

    double SecondsOf(ComputeKind kind)
    {
        if (world.Options.Costs is not { } costs)
            return world.Options.ServiceSeconds[node - 1] * kind switch { ComputeKind.Forward => 1.0 / 3, ComputeKind.Backward => 2.0 / 3, _ => 1 };
        StageCosts stage = costs.Stages[core.Schedule.Stage];
        return (kind == ComputeKind.Backward ? 0 : stage.ForwardSeconds) + (kind == ComputeKind.Forward ? 0 : stage.BackwardSeconds);
    }

    /// <summary>A compute's virtual time is over: its numbers take effect, then the core hears of it.</summary>
    public void Computed(Happening done)
    {
        _clock.Ended(world.Now);
        double loss = 0;
        if (done.Serial == _stateSerial)
        {
            Kept kept = KeptOf(done.Step, done.Microbatch);
            int stage = core.Schedule.Stage;
            if (stage == 0)
                kept.Input = world.Model.Data(done.Step, done.Microbatch);
            if (done.Compute != ComputeKind.Backward)
                kept.Output = FakeModel.Forward(_weights, kept.Input);
            if (stage == world.Options.Stages - 1)
            {
                kept.OutputGradient = FakeModel.LossGradient(kept.Output);
                loss = FakeModel.Loss(kept.Output);
            }
            if (done.Compute != ComputeKind.Forward)
                AddGradient(kept, done.Microbatch);
        }
        _effects.Clear();
        core.Schedule.HandleComputed(done.Compute, done.Step, done.Microbatch, loss, world.Now, _effects);
        Perform();
    }

    void AddGradient(Kept kept, int microbatch)
    {
        int times = world.Options.Sabotage == Sabotage.AddTwice && (_backwards + 1) % 40 == 0 ? 2 : 1;
        _backwards++;
        _sum += (ulong)times * FakeModel.Gradient(_weights, kept.Input, kept.OutputGradient);
        _counts[microbatch] += times;
        kept.InputGradient = FakeModel.Backward(_weights, kept.Input, kept.OutputGradient);
    }

    void BeginReduce(OrchestratorMessage.Reduce reduce)
    {
        (_reduce, _isSummed) = (reduce, false);
        TryFinishReduce();
    }

    void GiveShare(int to, int step, ulong name)
    {
        (int, int, ulong) given = (world.ConnectionOf(node, to), step, name);
        if (_given.TryGetValue(to, out (int, int, ulong) last) && last == given || !world.TrySendPart(node, to, core.Schedule.Stage, new GradientPart(new ShareTransfer(core.AdmittedEpoch, step, name, ++_shareSerial), _sum, [.. _counts])))
            return;
        _given[to] = given;
    }

    public void HandlePart(int from, GradientPart part)
    {
        if (AppliedStep < 0 || part.Transfer.Step <= AppliedStep || _parts.TryGetValue(from, out GradientPart known) && !known.Transfer.IsFollowedBy(part.Transfer))
            return;
        _parts[from] = part;
        TryFinishReduce();
    }

    bool IsAnyName => world.Options.Sabotage == Sabotage.ShareOfAnyName;

    void TryFinishReduce()
    {
        if (_reduce is not { } reduce || _isSummed)
            return;
        ulong sum = 0;
        var counts = new int[_counts.Length];
        foreach (GradientShare share in reduce.Shares.Where(s => s.Stage == core.Schedule.Stage))
        {
            GradientPart part = new(default, _sum, [.. _counts]);
            if (NumberOf(share.Peer) != node && !(_parts.TryGetValue(NumberOf(share.Peer), out part) && part.Transfer.IsOf(reduce.Step, IsAnyName ? part.Transfer.Name : share.Name)))
                return;
            sum += part.Sum;
            for (int m = 0; m < counts.Length; m++)
                counts[m] += part.Counts[m];
        }
        (_reducedSum, _reducedCounts, _isSummed) = (sum, counts, true);
        world.After(world.Serve(Begin(ComputeTask.Sum, SumSeconds)), new Happening(HappeningKind.Reduced, node) { Life = life, ReduceId = reduce.ReduceId });
    }

    public void Reduced(long reduceId)
    {
        _clock.Ended(world.Now);
        if (_reduce?.ReduceId != reduceId)
            return;
        _effects.Clear();
        core.Schedule.HandleReduced(reduceId, [FakeModel.Square(_reducedSum)], _effects);
        Perform();
    }

    void Apply(in PeerEffect effect)
    {
        ulong next = FakeModel.Apply(_weights, _reducedSum, effect.Scale);
        world.Checks.Applied(Name, core.Schedule.Stage, effect.Step, effect.Scale, _reducedCounts, next);
        _weights = next;
        AppliedStep = effect.Step;
        _reduce = null;
        ClearSum();
        foreach (int from in _parts.Where(p => p.Value.Transfer.Step <= AppliedStep).Select(p => p.Key).ToArray())
            _parts.Remove(from);
        world.After(world.Serve(Begin(ComputeTask.Apply, ApplySeconds)), new Happening(HappeningKind.Applied, node) { Life = life, Serial = _stateSerial, Step = effect.Step });
    }

    public void Applied(Happening done)
    {
        _clock.Ended(world.Now);
        if (done.Serial != _stateSerial)
            return;
        _effects.Clear();
        core.Schedule.HandleApplied(done.Step, _weights, world.Now, _effects);
        Perform();
    }

    // A task begins on the compute thread; returns how long it will take.
    double Begin(ComputeTask task, double seconds = 0)
    {
        _clock.Began(task, world.Now);
        if (TaskOf(HangsIn) == task)
        {
            world.HangNow(this, HangsIn);
            HangsIn = FaultKinds.None;
        }
        bool isCold = _warm.Add(task);
        double factor = world.Options.TaskFactors is { Length: > 0 } factors ? factors[node - 1] : 1;
        return seconds * Slowness * factor + (isCold ? world.Options.ColdSeconds : 0);
    }

    double SumSeconds => world.Options.Costs?.Stages[core.Schedule.Stage].SumSeconds ?? world.Options.SumSeconds;

    double ApplySeconds => world.Options.Costs?.Stages[core.Schedule.Stage].ApplySeconds ?? world.Options.ApplySeconds;

    static ComputeTask TaskOf(FaultKinds fault) => fault switch
    {
        FaultKinds.HangInSum or FaultKinds.PauseInSum => ComputeTask.Sum,
        FaultKinds.HangInApply => ComputeTask.Apply,
        FaultKinds.HangInLoad => ComputeTask.Load,
        _ => ComputeTask.None,
    };

    static TaskClock NewClock(SwarmOptions options)
    {
        var clock = new TaskClock();
        clock.Expect(ComputeTask.Sum, ColdSeconds + EstimatedOver * Most(options, stage => stage.SumSeconds, options.SumSeconds));
        clock.Expect(ComputeTask.Apply, ColdSeconds + EstimatedOver * Most(options, stage => stage.ApplySeconds, options.ApplySeconds));
        clock.Expect(ComputeTask.Load, ColdSeconds);
        return clock;
    }

    static double Most(SwarmOptions options, Func<StageCosts, double> of, double otherwise) => options.Costs?.Stages.Max(of) ?? otherwise;

    void BeginLoad()
    {
        if (!_isLoading)
            Begin(ComputeTask.Load);
        _isLoading = true;
    }

    /// <summary>The compute thread's part of a load is over; what is left is waiting for others.</summary>
    public void EndLoad()
    {
        if (_isLoading)
            _clock.Ended(world.Now);
        _isLoading = false;
    }

    public void Loaded(Happening done, ulong weights, string failure)
    {
        if (done.Serial != _stateSerial)
            return;
        if (failure.Length == 0)
        {
            _weights = weights;
            AppliedStep = done.Step;
        }
        _effects.Clear();
        core.HandleLoaded(done.Step, failure, world.Now, _effects);
        Perform();
    }
}

readonly record struct GradientPart(ShareTransfer Transfer, ulong Sum, ImmutableArray<int> Counts);
