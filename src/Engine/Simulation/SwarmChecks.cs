// What must hold in every simulated run, checked when it can first be seen to fail.
//   exactly once    an applied sum holds each microbatch of the step once, and the weights equal the single process's
//   no fork         one placement per epoch; one commit per (branch, step); epochs and terms only grow; nobody applies
//                   what is not durably committed
//   bounded         accepted work <= slots; codes <= microbatches; messages in flight between two nodes <= a constant
//   progress        once faults end the run finishes within its time (SwarmSimulation)
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

/// <summary>A property that must hold did not.</summary>
sealed class InvariantException(string message) : Exception(message);

sealed class SwarmChecks(FakeModel model, SwarmOptions options)
{
    readonly Dictionary<int, Placement> _epochs = [];
    readonly Dictionary<(int Branch, int Step), double> _commits = [];
    int _branch, _epoch, _term;

    public int CommittedStep { get; private set; }

    /// <summary>Signs of life of the longest silence (14 s, four a second, and those of steps) wait for its end together.</summary>
    public int MessagesBetweenTwo => 70 + 8 * options.Microbatches;

    public void Persisted(DurableRecord record)
    {
        switch (record)
        {
            case DurableRecord.TermStarted started:
                Require(started.Term > _term, $"term {started.Term} after term {_term}");
                _term = started.Term;
                break;
            case DurableRecord.PlacementPublished published:
                Require(published.Placement.Epoch > _epoch, $"epoch {published.Placement.Epoch} published after epoch {_epoch}");
                _epoch = published.Placement.Epoch;
                _epochs[_epoch] = published.Placement;
                break;
            case DurableRecord.RolledBack back:
                Require(back.Branch > _branch && back.FromStep == CommittedStep, $"rolled back from step {back.FromStep}, committed is {CommittedStep}");
                (_branch, CommittedStep) = (back.Branch, back.ToStep);
                break;
            case DurableRecord.StepCommitted commit:
                Require(commit.Step == CommittedStep + 1, $"step {commit.Step} committed after step {CommittedStep}");
                Require(commit.Branch == _branch, $"step {commit.Step} committed in branch {commit.Branch}, the branch is {_branch}");
                Require(_commits.TryAdd((commit.Branch, commit.Step), commit.Scale), $"step {commit.Step} committed twice in branch {commit.Branch}");
                CommittedStep = commit.Step;
                break;
            default:
                break;
        }
    }

    public void Placed(PeerId peer, Placement placement)
    {
        if (placement.Epoch == 0)
            return;
        bool isMember = _epochs.TryGetValue(placement.Epoch, out Placement? published) & placement.TryFind(peer, out Member self);
        Require(isMember && Same(published!.Near(self.Stage), placement), $"peer {peer.Short} was told something else than its part of epoch {placement.Epoch}");
    }

    static bool Same(Placement left, Placement right) =>
        left.IsOnePath == right.IsOnePath && left.Slices.AsSpan().SequenceEqual(right.Slices.AsSpan()) && left.Members.AsSpan().SequenceEqual(right.Members.AsSpan());

    public void Applied(string who, int stage, int step, double scale, int[] counts, ulong weights)
    {
        for (int m = 0; m < counts.Length; m++)
            Require(counts[m] == 1, $"{who} applies step {step} with microbatch {m} {counts[m]} times in the sum of stage {stage}");
        bool isCommitted = Enumerable.Range(0, _branch + 1).Any(b => _commits.TryGetValue((b, step), out double committed) && committed == scale);
        Require(isCommitted, $"{who} applies step {step} with scale {scale}, which is not durably committed");
        Require(weights == model.Reference(step, stage), $"{who} has weights {weights:x16} of stage {stage} after step {step}, a single process has {model.Reference(step, stage):x16}");
    }

    public static void Require(bool holds, string otherwise)
    {
        if (!holds)
            throw new InvariantException(otherwise);
    }
}
