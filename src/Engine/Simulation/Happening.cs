// One thing to come in the simulated world, as one value: what the virtual queue holds and what the trace prints.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;

namespace OrionNative.Engine.Simulation;

enum HappeningKind : byte
{
    Tick, OrchestratorTick, Work, ToPeer, ToOrchestrator, Part, Computed, Reduced, Applied, Loaded, CheckpointWritten,
    LinkUp, LinkDown, Fault, Recover, Restart, OrchestratorRestart, Heal, Resume,
    PieceLeft, Acknowledged,
}

readonly record struct Happening(HappeningKind Kind, int Node)
{
    public int From { get; init; }

    /// <summary>The process life and the connection for which this was meant; stale ones are lost.</summary>
    public int Life { get; init; }

    public int Connection { get; init; }

    public int Serial { get; init; }

    public ComputeKind Compute { get; init; }

    public int Step { get; init; }

    public int Microbatch { get; init; }

    public int Stage { get; init; }

    public long ReduceId { get; init; }

    public ulong Payload { get; init; }

    public FaultKinds Fault { get; init; }

    public WorkMessage Message { get; init; }

    public object? Detail { get; init; }

    /// <summary>The same happening gives the same number in every process.</summary>
    public ulong Fingerprint()
    {
        ulong hash = FakeModel.Hash((ulong)Kind, (ulong)Node, (ulong)From);
        hash = FakeModel.Hash(hash, (ulong)Step << 32 | (uint)Microbatch, (ulong)Compute);
        WorkMessage m = Message;
        hash = FakeModel.Hash(hash, (ulong)m.Work.Step << 32 | (uint)m.Work.Microbatch, (ulong)m.Kind << 16 | (ulong)m.Verdict << 8 | (ulong)m.Reason);
        hash = FakeModel.Hash(hash, (ulong)m.Work.Epoch << 32 | (uint)m.Work.Attempt, (ulong)m.Load.Queued << 32 | (uint)m.Load.FreeSlots);
        foreach (char letter in Detail?.GetType().Name ?? "")
            hash = FakeModel.Hash(hash, letter, Payload);
        return FakeModel.Hash(hash, Payload, (ulong)ReduceId);
    }

    public override string ToString() => Kind switch
    {
        HappeningKind.Work => $"{From} -> {Node}  {Message}",
        HappeningKind.ToPeer => $"0 -> {Node}  {Describe(Detail!)}",
        HappeningKind.ToOrchestrator => $"{From} -> 0  {Describe(Detail!)}",
        HappeningKind.Part => $"{From} -> {Node}  gradient share {Payload:x16} of step {Step}",
        HappeningKind.Computed => $"{Node} {Compute} of step {Step} microbatch {Microbatch} done",
        HappeningKind.LinkUp or HappeningKind.LinkDown => $"{Node} {Kind} {From}",
        HappeningKind.Fault or HappeningKind.Recover => $"{Node} {Kind} {Fault}",
        HappeningKind.Loaded or HappeningKind.Applied => $"{Node} {Kind} step {Step}",
        _ => $"{Node} {Kind}",
    };

    static string Describe(object message) => message switch
    {
        OrchestratorMessage.Placed placed => $"Placed epoch {placed.Placement.Epoch}: {Members(placed.Placement)}",
        OrchestratorMessage.Welcome welcome => $"Welcome term {welcome.Term} epoch {welcome.Placement.Epoch}",
        OrchestratorMessage.Grant grant => $"Grant step {grant.Step} microbatches {string.Join(',', grant.Microbatches)}",
        OrchestratorMessage.Reduce reduce => $"Reduce step {reduce.Step}: {string.Join(' ', reduce.Shares.Select(s => $"stage{s.Stage}:{SwarmWorld.NumberOf(s.Peer)}{s.Microbatches}"))}",
        PeerMessage.Join join => $"Join {SwarmWorld.NumberOf(join.Profile.Peer)}",
        PeerMessage.Suspects suspects => $"Suspects {SwarmWorld.NumberOf(suspects.Peer)}: {suspects.Reason}",
        PeerMessage.Reduced reduced => $"Reduced step {reduced.Step}",
        PeerMessage.Hello hello => $"Hello admitted {hello.AdmittedEpoch} step {hello.Report.Step} summed {hello.Report.Contributed}",
        _ => message.ToString()!,
    };

    static string Members(Run.Placement placement) =>
        string.Join(' ', placement.Members.Select(m => $"{SwarmWorld.NumberOf(m.Peer)}@{m.Stage}{(m.State == Run.MemberState.Active ? "" : $"({m.State})")}"));
}
