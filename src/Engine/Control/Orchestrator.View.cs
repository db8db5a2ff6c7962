// What people and the dashboard may see of the orchestrator: a copy, made between two events.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

/// <summary>A peer as the orchestrator knows it.</summary>
/// <param name="Profile">What it brought.</param>
/// <param name="Stage">The stage it holds or will hold; -1 while the run gathers.</param>
/// <param name="State">Where it stands.</param>
/// <param name="AdmittedEpoch">Its incarnation.</param>
/// <param name="IsHeard">False after an orchestrator restart until it has reported.</param>
/// <param name="IsDoubted">True while it gets no new microbatches.</param>
/// <param name="Granted">Microbatches that it was given to start and has not finished, at stage 0.</param>
sealed record MemberView(PeerProfile Profile, int Stage, MemberState State, int AdmittedEpoch, bool IsHeard, bool IsDoubted, int Granted, long ServiceNanoseconds);

sealed partial class Orchestrator
{
    /// <summary>Members by stage and peer, then those that wait for the run to begin.</summary>
    public MemberView[] View(Instant now) =>
    [
        .. _members.OrderBy(m => m.Value.Stage).ThenBy(m => m.Key).Select(m => new MemberView(
            m.Value.Profile, m.Value.Stage, m.Value.State, m.Value.AdmittedEpoch, m.Value.IsHeard, m.Value.DoubtedUntil > now, _table.Outstanding(m.Key), m.Value.ServiceNanoseconds)),
        .. _waiting.Values.Select(profile => new MemberView(profile, -1, MemberState.Joining, 0, true, false, 0, 0)),
    ];

    /// <summary>True for a peer that has shown a token that was good, now or in an earlier life of this orchestrator.</summary>
    public bool HasAdmitted(PeerId peer) => _known.ContainsKey(peer);

    /// <summary>Whether a peer may hear what the run is: one that was admitted, or who shows a token that admits; if not, why.</summary>
    public bool MayAsk(PeerId peer, string token, long unixSeconds, out string refusal)
    {
        refusal = "";
        return HasAdmitted(peer) || _tokens.Admits(token, unixSeconds, out _, out refusal);
    }

    /// <summary>Microbatches of the uncommitted step that each stage has in its sums.</summary>
    public int[] Covered() => [.. Enumerable.Range(0, _settings.StageCount).Select(_table.CoveredAt)];
}
