// What this peer says of its own load and speed, and what it makes of what its neighbours say of theirs.
//   service = f + b      f, b: averages of its forwards and its backwards; before the first backward b = 2 f
//   owed    = sum over accepted: f + b if it waits for its forward, b from then on, less what has run of the compute that is open
// A half that took less than half the average replaces it: no compute is faster than the device, so the average was made of cold
// starts or of other work. Who gets no work cannot show that it is fast again: after a while without any, it counts as unmeasured.
// Neighbours hear it with every answer, at every interval, when a full peer frees a slot, and when the first half is measured.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed partial class PeerSchedule
{
    /// <summary>Service times without work after which the measurement is void; being wrong costs one of them.</summary>
    const int ForgetAfterServices = 20;

    static readonly TimeSpan _forgetAfterLeast = TimeSpan.FromSeconds(2);
    TimeSpan _unused;

    /// <summary>Microbatches that wait for the compute or are in it; what waits for a gradient does not count.</summary>
    public int Queued
    {
        get
        {
            int count = 0;
            foreach (ref readonly Entry entry in _entries.AsSpan())
                count += entry.Own is Own.Queued or Own.Forwarding or Own.GradientReady or Own.Backwarding ? 1 : 0;
            return count;
        }
    }

    /// <summary>Compute of one microbatch, forward and backward; 0: not measured.</summary>
    public long ServiceNanoseconds => (long)((_forwardSeconds + BackwardSeconds) * 1e9);

    double BackwardSeconds => _backwardSeconds > 0 ? _backwardSeconds : 2 * _forwardSeconds;

    void Measure(ComputeKind kind, Instant now, PeerEffects effects)
    {
        bool isFirst = ServiceNanoseconds == 0;
        _unused = TimeSpan.Zero;
        if (_computeStoodStill)
            return;   // the whole process was stopped meanwhile
        double seconds = (now - _computeBegan).TotalSeconds;
        if (kind == ComputeKind.Forward)
            _forwardSeconds = TaskClock.Averaged(_forwardSeconds, seconds);
        else if (kind == ComputeKind.Backward)
            _backwardSeconds = TaskClock.Averaged(_backwardSeconds, seconds);
        if (isFirst && ServiceNanoseconds > 0)
            TellStatus(now, effects);
    }

    // Counts only time in which there was work for others: not the end of a step, not a HOLD.
    void ForgetSpeedIfUnused(TimeSpan passed)
    {
        if (!IsWorking || IsSealed || _inFlight > 0 || ServiceNanoseconds == 0)
            return;
        _unused += passed < _settings.StatusInterval ? passed : _settings.StatusInterval;
        if (_unused > _forgetAfterLeast && _unused.TotalSeconds > ForgetAfterServices * (_forwardSeconds + BackwardSeconds))
            (_forwardSeconds, _backwardSeconds) = (0, 0);
    }

    WorkMessage WithLoad(in WorkMessage message, Instant now)
    {
        int accepted = 0;
        double owed = 0;
        foreach (ref readonly Entry entry in _entries.AsSpan())
        {
            accepted += entry.Own is Own.None or Own.Superseded ? 0 : 1;
            owed += entry.Own switch
            {
                Own.Queued or Own.Forwarding => _forwardSeconds + BackwardSeconds,
                Own.Forwarded or Own.GradientReady or Own.Backwarding => BackwardSeconds,
                _ => 0,
            };
        }
        double open = _computing == ComputeKind.Forward ? _forwardSeconds : IsComputing ? BackwardSeconds : 0;
        owed -= Math.Min(open, (now - _computeBegan).TotalSeconds);
        int free = IsWorking && !IsSealed ? Math.Max(0, _slotCount - _inFlight) : 0;
        return message with { Load = new PeerLoad(Queued, free, accepted, ServiceNanoseconds, (long)(Math.Max(0, owed) * 1e9)) };
    }

    // Whoever else feeds this peer knows at once what one of them has just put on it: three senders that each give a straggler
    // "its one" microbatch give it three.
    void TellOtherFeeders(PeerId from, Instant now, PeerEffects effects)
    {
        WorkMessage status = default;
        foreach (ref readonly Neighbour neighbour in _neighbours.AsSpan())
        {
            if (!neighbour.IsLinked || neighbour.Member.Stage != Stage - 1 || neighbour.Member.Peer == from)
                continue;
            if (status == default)
                status = WithLoad(new WorkMessage(WorkKind.Status, new WorkId(_placement.Epoch, Step, 0, Stage, 0)), now);
            Send(neighbour.Member.Peer, status, effects);
        }
    }

    // What a neighbour did in another step says nothing of this one.
    void TakeLoad(PeerId from, in WorkMessage message, Instant now)
    {
        bool isOfThisStep = message.Work.Step == Step && message.Reason != RefusalReason.NotYet;
        if (message.Load.Queued == 0 && _neighbourIndex.TryGetValue(from, out int i))
            _neighbours[i].IdleAt = now;
        _pathfinder.HandleStatus(from, isOfThisStep ? message.Load : message.Load with { Accepted = 0, OwedNanoseconds = 0 }, now);
    }
}
