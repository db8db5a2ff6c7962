// What the orchestrator is told about the run, and its patience.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

sealed record ControlSettings
{
    public required string Version { get; init; }

    public required string ModelHash { get; init; }

    public required string TokenizerHash { get; init; }

    /// <summary>S.</summary>
    public required int StageCount { get; init; }

    /// <summary>The run begins when StageCount * ReplicaCount peers have joined (or on StartAsked); more may come later.</summary>
    public required int ReplicaCount { get; init; }

    /// <summary>Holders that a stage takes beyond ReplicaCount: each peer keeps page-locked room for the links of so many
    /// neighbours.</summary>
    public const int SpareReplicas = 5;

    /// <summary>M: microbatches of one inner step.</summary>
    public required int MicrobatchCount { get; init; }

    public required int StepCount { get; init; }

    /// <summary>What the model's parts cost and need; Bytes is what a holder must offer.</summary>
    public required ModelCosts Model { get; init; }

    /// <summary>Largest global gradient norm; 0 turns clipping off.</summary>
    public double ClipNorm { get; init; } = 1;

    /// <summary>Steps between checkpoints; 0: none but the last.</summary>
    public int CheckpointEvery { get; init; } = 100;

    /// <summary>Microbatches that a holder of stage 0 may have unfinished.</summary>
    public required int GrantWindow { get; init; }

    public TimeSpan LeaseLasts { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>A member that is not heard for this long, and that a neighbour suspects as well, is removed before its lease
    /// ends if its stage has another holder: two witnesses from different places are not both behind the same bad link. The
    /// same holds for one that says itself that it does not hear the orchestrator for this long, and is suspected of deafness
    /// or finds its neighbours silent too.</summary>
    public TimeSpan SilenceLimit { get; init; } = TimeSpan.FromSeconds(1.6);

    /// <summary>A member whose compute thread has been at one task for this multiple of the time that such a task usually takes
    /// it hangs, and is removed if the run can do without it. Larger than any slowing down within one task that a shared
    /// machine shows.</summary>
    public double HangFactor { get; init; } = 8;

    /// <summary>No microbatch hangs earlier: with a heartbeat and a tick it is noticed within 3 s.</summary>
    public TimeSpan HangLeast { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Nothing else hangs earlier: a sum or an apply may take milliseconds, which a busy machine stretches to seconds.</summary>
    public TimeSpan HangLeastOfOthers { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Patience with a task whose usual time nobody knows: the first microbatch.</summary>
    public TimeSpan HangFirst { get; init; } = HangFirstDefault;

    public static readonly TimeSpan HangFirstDefault = TimeSpan.FromSeconds(30);

    /// <summary>A task that has lasted longer hangs.</summary>
    public TimeSpan PatienceWith(in OpenTask open)
    {
        TimeSpan usual = open.Usual * HangFactor, least = open.Task == ComputeTask.Microbatch ? HangLeast : HangLeastOfOthers;
        return usual == TimeSpan.Zero ? HangFirst : usual > least ? usual : least;
    }

    /// <summary>How often each member hears something, so that it can tell deafness from quiet.</summary>
    public TimeSpan PulseInterval { get; init; } = TimeSpan.FromSeconds(0.5);

    /// <summary>How long a member whose connection broke may take to come back.</summary>
    public TimeSpan ReconnectWithin { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>How long a holder of stage 0 that was silent or disconnected gets no new microbatches.</summary>
    public TimeSpan DoubtLasts { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>A neighbour's suspicion counts as a witness for this long.</summary>
    public TimeSpan AccusationLasts { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>A newcomer has its state within this and the time that the stage's bytes take (<see cref="Patience"/>); later, if it still
    /// comes and has not stood still for <see cref="BulkStandsStill"/>.</summary>
    public TimeSpan HandoverWithin { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>A state of which nothing has come for this long comes no more.</summary>
    public TimeSpan BulkStandsStill { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>What a link is believed to carry at least where a stage's bytes travel.</summary>
    public const double BytesPerSecondLeast = 10e6;

    /// <summary>A patience for what takes longer the more bytes a stage has: state and gradient shares, which are less than those.</summary>
    public static TimeSpan Patience(TimeSpan least, long stageBytes) => least + TimeSpan.FromSeconds(stageBytes / BytesPerSecondLeast);

    /// <summary>A reduction in which nobody has got on (no share has moved) for this long, and for the time that the bytes of the largest stage take, has two
    /// replicas that do not reach each other; one of them leaves. Once the same replicas have reduced: HangFactor times what that
    /// took, ReduceLeast at least.</summary>
    public TimeSpan ReduceWithin { get; init; } = ReduceWithinDefault;

    public static readonly TimeSpan ReduceWithinDefault = TimeSpan.FromSeconds(120);

    public TimeSpan ReduceLeast { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>A step that nothing was contributed to for so long (or twice the last step's time) is looked after.</summary>
    public TimeSpan RecheckAfter { get; init; } = TimeSpan.FromSeconds(10);
}
