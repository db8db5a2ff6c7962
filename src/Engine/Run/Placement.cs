// Which peer holds which slice of the model, and the version number of that knowledge.
// Invariant: the slices are contiguous and cover every block exactly once; a published epoch never changes.
// A member's admission epoch is its incarnation: a message stamped with an older epoch comes from a former life.
using System.Collections.Immutable;

namespace OrionNative.Engine.Run;

/// <summary>Blocks [FirstBlock, FirstBlock + BlockCount) of the model.</summary>
readonly record struct StageSlice(int FirstBlock, int BlockCount);

// Joining -> Active -> Draining -> (gone); any -> (gone) when the lease ends.
enum MemberState : byte
{
    /// <summary>Has a stage, not its weights yet; gets no work.</summary>
    Joining,
    Active,

    /// <summary>Finishes what it holds, gets nothing new, leaves at the next step's end.</summary>
    Draining,
}

readonly record struct Member(PeerId Peer, int Stage, int AdmittedEpoch, MemberState State);

sealed record Placement(int Epoch, ImmutableArray<StageSlice> Slices, ImmutableArray<Member> Members)
{
    public static readonly Placement Empty = new(0, [], []);

    public int StageCount => Slices.Length;

    /// <summary>Members that are not listed, see <see cref="Near"/>.</summary>
    public int ElsewhereCount { get; init; }

    /// <summary>Every stage has one holder: a microbatch has one way to go.</summary>
    public bool IsOnePath => Members.Length + ElsewhereCount == StageCount;

    /// <summary>What a holder of a stage must know: the members of its own stage and of the two beside it. With S stages that is
    /// 3/S of all, so what a run tells its peers when somebody comes or goes grows with S * R * R, not with (S * R) squared.</summary>
    public Placement Near(int stage)
    {
        ImmutableArray<Member> near = [.. Members.Where(member => Math.Abs(member.Stage - stage) <= 1)];
        return this with { Members = near, ElsewhereCount = ElsewhereCount + Members.Length - near.Length };
    }

    public bool TryFind(PeerId peer, out Member found)
    {
        foreach (Member member in Members)
        {
            if (member.Peer == peer)
            {
                found = member;
                return true;
            }
        }
        found = default;
        return false;
    }

    /// <summary>Those that hold the stage's weights, in peer order.</summary>
    public IEnumerable<Member> Holders(int stage) =>
        Members.Where(m => m.Stage == stage && m.State != MemberState.Joining).OrderBy(m => m.Peer);

    /// <summary>Those that may get new work: the active, or the draining where no other is left.</summary>
    public PeerId[] Routable(int stage)
    {
        PeerId[] active = [.. Holders(stage).Where(m => m.State == MemberState.Active).Select(m => m.Peer)];
        return active.Length > 0 ? active : [.. Holders(stage).Select(m => m.Peer)];
    }

    /// <summary>Throws unless every block of the model is in exactly one slice and every member in a stage.</summary>
    public void Check(int blockCount)
    {
        int next = 0;
        foreach (StageSlice slice in Slices)
        {
            if (slice.FirstBlock != next || slice.BlockCount < 1)
                throw new InvalidOperationException(
                    $"epoch {Epoch}: a slice of {slice.BlockCount} blocks begins at block {slice.FirstBlock}, expected block {next} and at least one block");
            next += slice.BlockCount;
        }
        if (next != blockCount)
            throw new InvalidOperationException($"epoch {Epoch}: the slices hold {next} blocks, the model has {blockCount}");
        var seen = new HashSet<PeerId>();
        foreach (Member member in Members)
        {
            if (!seen.Add(member.Peer) || (uint)member.Stage >= (uint)StageCount)
                throw new InvalidOperationException($"epoch {Epoch}: peer {member.Peer.Short} is placed twice or in stage {member.Stage} of {StageCount}");
        }
    }
}
