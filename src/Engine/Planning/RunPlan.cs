// The prediction of a run, in numbers: memory of every stage, bytes of every boundary, time of a step, totals.
using OrionNative.Engine.Model;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Planning;

/// <summary>What a plan assumes of every peer; all are alike.</summary>
/// <param name="Speed">How fast it computes.</param>
/// <param name="MemoryBytes">What it offers.</param>
/// <param name="MemorySource">Who says so.</param>
/// <param name="Link">Its access link.</param>
/// <param name="LinkName">The link in the operator's words.</param>
/// <param name="AtOnce">Peers that can compute at the same time, on one machine that all share; 0: each has a machine of its own.</param>
sealed record PeerAssumptions(IPeerSpeed Speed, long MemoryBytes, string MemorySource, LinkProfile Link, string LinkName, int AtOnce);

/// <summary>One stage, at one of its peers.</summary>
/// <param name="Memory">What the worker lays out.</param>
/// <param name="NeededBytes">What the peer looks for before it loads the stage.</param>
/// <param name="AskedBytes">What the orchestrator looks for before it places the peer; it counts a CPU's elements.</param>
/// <param name="BufferBytes">Slots of payloads and shares of other replicas, wherever they lie.</param>
/// <param name="ShareBytes">One gradient share on the wire; 0 without replicas.</param>
/// <param name="FlopPerMicrobatch">Model FLOP, forward and backward.</param>
/// <param name="SentBytes">In a step, of an average peer: codes, code gradients, shares.</param>
/// <param name="ReceivedBytes">The same coming in, with the ids that stage 0 gets.</param>
/// <param name="StateBytes">Its part of a checkpoint.</param>
sealed record StagePlan(
    int Index, StageRange Range, long Parameters, MemoryPlan Memory, long NeededBytes, long AskedBytes, long BufferBytes, long ShareBytes,
    double FlopPerMicrobatch, StageSeconds Seconds, double SentBytes, double ReceivedBytes, long StateBytes);

/// <summary>What binds, and what to do about it.</summary>
/// <param name="Kind">A word for programs: memory, link, bubble, shares, balance, patience, vocabulary, loss, simulation.</param>
/// <param name="Text">What is the case.</param>
/// <param name="Fix">What would change it.</param>
sealed record PlanWarning(string Kind, string Text, string Fix);

/// <summary>The whole prediction.</summary>
/// <param name="CutFailure">Why the orchestrator would find no cut; empty if it finds one.</param>
/// <param name="FlopPerStep">Model FLOP of a step.</param>
/// <param name="Efficiency">Compute over time, of all peers (or of the processors they share).</param>
/// <param name="Mfu">Model FLOP over time and peak of all peers (or of the processors); NaN where the peak is unknown.</param>
/// <param name="Checkpoints">Written in the run.</param>
sealed record RunPlan(
    PlannedRun Run, PeerAssumptions Peers, StagePlan[] Stages, string CutFailure, StepForecast Step, double FlopPerStep, double Efficiency, double Mfu,
    int Checkpoints)
{
    /// <summary>What binds; made from all the rest.</summary>
    public IReadOnlyList<PlanWarning> Warnings { get; init; } = [];

    public double TokensPerSecond => Run.Config.TokensPerStep / Step.Step;

    public double RunSeconds => Run.Config.Steps * Step.Step;

    public long CheckpointBytes => Stages.Sum(stage => stage.StateBytes);

    /// <summary>The stage that takes longest for a microbatch.</summary>
    public StagePlan Slowest => Stages.MaxBy(stage => stage.Seconds.Microbatch)!;
}
