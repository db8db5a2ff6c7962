// The limits and the patience of one peer's schedule. Times are what a wide-area run needs by default; the budgets they
// serve: first rerouted microbatch under 1 s after a crash (the host refuses what is sent: one status interval and a round trip) and under 3 s after a hang
// (SilenceLimit + one status interval + one tick).
namespace OrionNative.Engine.Pipeline.Schedule;

sealed record ScheduleSettings
{
    public required int StageCount { get; init; }

    /// <summary>M: microbatches of one inner step.</summary>
    public required int MicrobatchCount { get; init; }

    /// <summary>Bytes of one code on the wire; what the pathfinder weighs links with.</summary>
    public required long CodeBytes { get; init; }

    /// <summary>Slots beyond the 1F1B minimum of (stages from here to the end): they cover round trips and the unevenness of
    /// random paths, and cost memory (codes only with recomputation, else activations). docs/decisions/0045 has the sweep.</summary>
    public int SlackSlots { get; init; } = 6;

    public TimeSpan StatusInterval { get; init; } = TimeSpan.FromSeconds(0.25);

    /// <summary>A neighbour that says nothing for this long is suspected.</summary>
    public TimeSpan SilenceLimit { get; init; } = TimeSpan.FromSeconds(1.6);

    /// <summary>A message that has arrived and is not answered for this long has a suspected receiver; so has one that is on its way
    /// while nothing moves for this long.</summary>
    public TimeSpan AnswerLimit { get; init; } = TimeSpan.FromSeconds(1.6);

    /// <summary>No payload whose link moves is overdue earlier; later, it is after OverdueFactor times what one usually takes there.</summary>
    public TimeSpan TransferLeast { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>Accepted work is overdue after this multiple of the neighbour's own usual time.</summary>
    public double OverdueFactor { get; init; } = 4;

    /// <summary>No work is overdue earlier.</summary>
    public TimeSpan OverdueLeast { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Patience with a neighbour whose usual time is not known yet.</summary>
    public TimeSpan OverdueFirst { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>A neighbour suspected for overdue work is tried again after this.</summary>
    public TimeSpan SuspicionLasts { get; init; } = TimeSpan.FromSeconds(5);

    public TimeSpan RetryAfter { get; init; } = TimeSpan.FromSeconds(0.2);

    /// <summary>In-flight microbatches of a stage: accepted and not finished.</summary>
    public int SlotCount(int stage) => Math.Min(MicrobatchCount, StageCount - stage + SlackSlots);
}
