// What happens to the orchestrator and what it asks of its host.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

abstract record OrchestratorEvent
{
    /// <summary>First event of a process, after Restore.</summary>
    public sealed record Started : OrchestratorEvent;

    public sealed record TokenIssued(string Hash, int Uses, long ExpiresUnixSeconds) : OrchestratorEvent;

    /// <summary>UnixSeconds: wall clock, for token expiry only.</summary>
    public sealed record Received(PeerId Peer, PeerMessage Message, long UnixSeconds) : OrchestratorEvent;

    /// <summary>IsGone: its host says that the process is no more; nobody comes back with this state.</summary>
    public sealed record Disconnected(PeerId Peer, bool IsGone) : OrchestratorEvent;

    /// <summary>At least every half second.</summary>
    public sealed record Tick : OrchestratorEvent;

    /// <summary>Begin with the peers that are here.</summary>
    public sealed record StartAsked : OrchestratorEvent;

    public sealed record DrainAsked(PeerId Peer) : OrchestratorEvent;

    /// <summary>End after the step under way, with a checkpoint of it.</summary>
    public sealed record StopAsked(string Reason) : OrchestratorEvent;
}

abstract record OrchestratorEffect
{
    /// <summary>Append and make durable before going on to the next effect.</summary>
    public sealed record Persist(DurableRecord Record) : OrchestratorEffect;

    public sealed record Send(PeerId Peer, OrchestratorMessage Message) : OrchestratorEffect;

    /// <summary>For the event log and people; decides nothing.</summary>
    public sealed record Note(string Text) : OrchestratorEffect;
}

// Gathering -> Loading -> Running <-> Reducing -> (commit) -> Running | Handover -> Running ... -> Finishing -> Ended
//   Recovering   after a restart, until every member was heard or has lost its lease
//   Handover     between two steps: newcomers take weights from living replicas
//   Hold         a stage has no holder; a newcomer leads to Loading from the newest checkpoint
enum RunPhase : byte { Gathering, Loading, Running, Reducing, Handover, Hold, Recovering, Finishing, Ended }
