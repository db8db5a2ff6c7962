// One peer's work within one inner step: which microbatch it computes, hands on, sends back, and for whom.
// Each microbatch has three independent parts here:
//   own        None -> Queued -> Forwarding -> Forwarded -> GradientReady -> Backwarding -> Done      (Superseded: undone)
//   handing    Idle -> Pending -> Sent -> Held          the next stage has it; back to Pending when that peer is lost
//   returning  Idle -> Pending -> Sent -> Returned      the previous stage has its gradient
// Rules: backward before forward, lowest microbatch first (1F1B when one path exists); accepted and unfinished microbatches
// never exceed SlotCount; a microbatch enters the gradient sum (own = Done) once per generation; codes stay until commit,
// so any part can be done again. Invariant: one compute is open at a time. Pure: time comes with every event.
// With one holder a stage (one path) microbatches enter the sum in ascending order, so its bits are the single process's.
using OrionNative.Engine.Control;
using OrionNative.Engine.Routing;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed partial class PeerSchedule
{
    internal enum Own : byte { None, Queued, Forwarding, Forwarded, GradientReady, Backwarding, Done, Superseded }

    internal enum Leg : byte { Idle, Pending, Sent, Held }

    struct Entry
    {
        public Own Own;
        public Leg Hand;
        public Leg Return;
        public int Attempt;
        public int HandAttempt;
        public PeerId Upstream;
        public PeerId Downstream;
        public PeerId Hint;
        public bool IsHandedOn;
        public bool NeedsReplay;
        public bool IsHandUnderWay;
        public bool IsReturnUnderWay;
        public bool IsAskedAfter;
        public double Loss;
        public Instant SentAt;
        public Instant HeldAt;
        public double ExpectedSeconds;
        public Instant HandAt;
        public Instant ReturnAt;
    }

    readonly ScheduleSettings _settings;
    readonly PeerId _self;
    readonly Entry[] _entries;
    readonly Pathfinder _pathfinder;
    readonly MicrobatchSet _granted;
    MicrobatchSet _contributed;
    Placement _placement = Placement.Empty;
    int _slotCount;
    int _inFlight;
    ComputeKind _computing;
    int _computingMicrobatch;
    bool _computingIsVoid;
    bool _isOnePath;
    Instant _computeBegan;
    bool _computeStoodStill;
    double _forwardSeconds, _backwardSeconds;

    public PeerSchedule(ScheduleSettings settings, PathfinderSettings routing, PeerId self, ulong seed)
    {
        _settings = settings;
        _self = self;
        _entries = new Entry[settings.MicrobatchCount];
        _contributed = new MicrobatchSet(settings.MicrobatchCount);
        _granted = new MicrobatchSet(settings.MicrobatchCount);
        _pathfinder = new Pathfinder(routing, seed);
    }

    public int Stage { get; private set; } = -1;

    /// <summary>The uncommitted step: the last applied one plus one. Zero while this peer holds no weights.</summary>
    public int Step { get; private set; }

    public int Generation { get; private set; }

    public int InFlight => _inFlight;

    public int SlotCount => _slotCount;

    public MicrobatchSet Contributed => _contributed;

    public bool IsComputing => _computing != ComputeKind.None;

    bool IsLastStage => Stage == _settings.StageCount - 1;

    bool IsWorking => Step > 0;

    /// <summary>This peer now holds the weights of the end of <paramref name="step"/> - 1.</summary>
    public void Begin(int stage, int step, Instant now, PeerEffects effects)
    {
        Stage = stage;
        Step = step;
        Generation = 0;
        _slotCount = _settings.SlotCount(stage);
        ClearStep(now);
        TellStatus(now, effects);
        Advance(now, effects);
    }

    /// <summary>This peer holds nothing any more.</summary>
    public void Stop()
    {
        Step = 0;
        Generation = 0;
        ClearStep(Instant.Zero);
        _waitingGrants.Clear();
        _waitingReduce = null;
        _isApplying = false;
        _givenOutStep = 0;
    }

    void ClearStep(Instant now)
    {
        Array.Clear(_entries);
        _contributed = new MicrobatchSet(_settings.MicrobatchCount);
        _granted.Clear();
        _inFlight = 0;
        _computingIsVoid = _computing != ComputeKind.None;
        _pathfinder.BeginStep(now);
        _pendingRebuild = null;
        _pendingReduce = null;
        _sealedId = 0;
        _sealedShare = 0;
        _reducedId = 0;
        _isAllHanded = false;
        _offeredShare = 0;
    }

    /// <summary>A compute ended. Loss counts in the last stage, the backward's over the forward's: a fused head knows it
    /// only then.</summary>
    public void HandleComputed(ComputeKind kind, int step, int microbatch, double loss, Instant now, PeerEffects effects)
    {
        if (kind != _computing || microbatch != _computingMicrobatch)
            throw new InvalidOperationException(
                $"peer {_self.Short}: {kind} of microbatch {microbatch} ended, but {_computing} of {_computingMicrobatch} was running");
        bool isVoid = _computingIsVoid || step != Step;
        _computing = ComputeKind.None;
        _computingIsVoid = false;
        if (!isVoid)
        {
            Measure(kind, now, effects);
            if (kind == ComputeKind.Forward)
                FinishForward(ref _entries[microbatch], loss, now);
            else
                FinishBackward(ref _entries[microbatch], microbatch, loss, now, effects);
        }
        Advance(now, effects);
    }

    void FinishForward(ref Entry entry, double loss, Instant now)
    {
        if (entry.Own != Own.Forwarding)
            return;
        entry.Loss = loss;
        entry.Own = IsLastStage ? Own.GradientReady : Own.Forwarded;
        if (!IsLastStage)
            SetPending(ref entry, now);
    }

    void FinishBackward(ref Entry entry, int microbatch, double loss, Instant now, PeerEffects effects)
    {
        entry.Loss = IsLastStage ? loss : 0;
        bool wasFull = _inFlight >= _slotCount;
        entry.Own = Own.Done;
        _inFlight -= entry.NeedsReplay ? 0 : 1;
        entry.NeedsReplay = false;
        if (!_contributed.Add(microbatch))
            throw new InvalidOperationException($"peer {_self.Short}: microbatch {microbatch} of step {Step} entered the gradient sum twice");
        effects.Add(new PeerEffect(PeerEffectKind.TellContributed)
        {
            Step = Step,
            Microbatch = microbatch,
            Generation = Generation,
            Loss = entry.Loss,
        });
        if (!entry.Upstream.IsNone)
        {
            entry.Return = Leg.Pending;
            entry.ReturnAt = now;
        }
        if (wasFull)
            TellStatus(now, effects);
    }

    // Everything that may move after an event: deferred commands, hand-overs, returns, then the next compute.
    void Advance(Instant now, PeerEffects effects)
    {
        if (!IsWorking)
            return;
        if (!IsComputing)
            RunDeferred(now, effects);
        if (!IsSealed)
        {
            bool isBlocked = false;
            for (int m = 0; m < _entries.Length; m++)
            {
                ref Entry entry = ref _entries[m];
                if (entry.Hand == Leg.Pending && entry.HandAt <= now && !isBlocked)
                    TryHand(ref entry, m, now, effects);
                // on one path those behind it would be turned away: it goes first
                isBlocked |= _isOnePath && entry.Hand == Leg.Pending;
                if (entry.Return == Leg.Pending && entry.ReturnAt <= now)
                    TryReturn(ref entry, m, now, effects);
            }
        }
        if (!IsSealed)
            TakeUpGrants();
        if (!IsComputing && !IsSealed)
            StartCompute(now, effects);
        if (!IsSealed && IsFed)
            Conclude(effects);
    }

    void StartCompute(Instant now, PeerEffects effects)
    {
        int replay = -1, backward = -1, forward = -1;
        int backwardMost = _isOnePath ? FirstNotDone() : _entries.Length;
        for (int m = _entries.Length - 1; m >= 0; m--)
        {
            ref Entry entry = ref _entries[m];
            if (entry.Own == Own.GradientReady)
            {
                if (entry.NeedsReplay)
                    replay = m;
                else if (m <= backwardMost)
                    backward = m;
            }
            else if (entry.Own == Own.Queued)
            {
                forward = m;
            }
        }
        (ComputeKind kind, int microbatch) = replay >= 0 ? (ComputeKind.Replay, replay)
            : backward >= 0 ? (ComputeKind.Backward, backward)
            : forward >= 0 ? (ComputeKind.Forward, forward)
            : (ComputeKind.None, -1);
        if (kind == ComputeKind.None)
            return;
        _entries[microbatch].Own = kind == ComputeKind.Forward ? Own.Forwarding : Own.Backwarding;
        _computing = kind;
        _computingMicrobatch = microbatch;
        (_computeBegan, _computeStoodStill) = (now, false);
        effects.Add(new PeerEffect(PeerEffectKind.Compute) { Compute = kind, Step = Step, Microbatch = microbatch });
    }

    int FirstNotDone()
    {
        int m = 0;
        while (m < _entries.Length && _entries[m].Own == Own.Done)
            m++;
        return m;
    }

    WorkId Work(int microbatch, int stage, int attempt) => new(_placement.Epoch, Step, microbatch, stage, attempt);

    static void Send(PeerId to, WorkMessage message, PeerEffects effects) =>
        effects.Add(new PeerEffect(PeerEffectKind.Send) { Peer = to, Message = message });
}
