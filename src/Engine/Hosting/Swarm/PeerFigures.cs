// What a peer counts about itself and tells with every heartbeat and every applied step. Counts are sums since its process
// started; a process that comes back starts at zero, so the orchestrator adds what its former lives had reached.
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>Sums of one process. Bytes and packets as counted at the UDP socket, towards other peers only.</summary>
/// <param name="NextBytes">Sent to holders of the next stage: codes, answers, acknowledgements.</param>
/// <param name="PreviousBytes">Sent to holders of the stage before: code gradients, answers, acknowledgements.</param>
/// <param name="ReplicaBytes">Sent to holders of the same stage: gradient shares, state.</param>
/// <param name="ReceivedBytes">From all of them.</param>
/// <param name="SentPackets">Datagrams.</param>
/// <param name="LostPackets">Of those, sent again.</param>
/// <param name="Microbatches">Backwards computed.</param>
/// <param name="BusySeconds">The compute thread's time at work.</param>
/// <param name="AllocatedBytes">Managed memory allocated by the whole process.</param>
/// <param name="DataPathAllocatedBytes">Of those, while microbatches of a step were under way: from the first compute to the
/// last contribution.</param>
/// <param name="CodeBytes">Payload bytes of codes that the receiver took.</param>
/// <param name="GradientBytes">Payload bytes of code gradients that the receiver took.</param>
readonly record struct PeerCounts(
    long NextBytes, long PreviousBytes, long ReplicaBytes, long ReceivedBytes, long SentPackets, long LostPackets, long Microbatches, double BusySeconds, long AllocatedBytes, long DataPathAllocatedBytes, long CodeBytes, long GradientBytes)
{
    public long SentBytes => NextBytes + PreviousBytes + ReplicaBytes;

    public static PeerCounts operator +(PeerCounts a, PeerCounts b) => new(
        a.NextBytes + b.NextBytes, a.PreviousBytes + b.PreviousBytes, a.ReplicaBytes + b.ReplicaBytes, a.ReceivedBytes + b.ReceivedBytes,
        a.SentPackets + b.SentPackets, a.LostPackets + b.LostPackets, a.Microbatches + b.Microbatches, a.BusySeconds + b.BusySeconds, a.AllocatedBytes + b.AllocatedBytes, a.DataPathAllocatedBytes + b.DataPathAllocatedBytes, a.CodeBytes + b.CodeBytes, a.GradientBytes + b.GradientBytes);

    /// <summary>What a link has carried to a peer that is <paramref name="stagesAhead"/> stages further on.</summary>
    public static PeerCounts Of(PeerLink link, int stagesAhead)
    {
        TransportStatistics transport = link.Statistics.Transport;
        long sent = transport.SentBytes;
        return new PeerCounts
        {
            NextBytes = stagesAhead > 0 ? sent : 0,
            PreviousBytes = stagesAhead < 0 ? sent : 0,
            ReplicaBytes = stagesAhead == 0 ? sent : 0,
            ReceivedBytes = transport.ReceivedBytes,
            SentPackets = transport.SentPackets,
            LostPackets = transport.LostPackets,
        };
    }
}

/// <summary>What a peer tells of itself, in the order of the fields on the wire.</summary>
readonly record struct PeerTold(int Queued, int Held, int Slots, int Contributed, PeerCounts Counts)
{
    public static PeerTold Of(PeerSchedule schedule, in PeerCounts counts) =>
        new(schedule.Queued, schedule.InFlight, schedule.SlotCount, schedule.Contributed.Count, counts);
}

/// <summary>What a peer last told of itself.</summary>
/// <param name="Stage">Its stage then; -1: none.</param>
/// <param name="At">When.</param>
/// <param name="Queued">Microbatches that wait for its compute.</param>
/// <param name="InFlight">Accepted and unfinished microbatches.</param>
/// <param name="Life">Sums of the process that runs.</param>
/// <param name="Former">Sums of those before it.</param>
sealed record PeerFigures(int Stage, DateTimeOffset At, int Queued, int InFlight, PeerCounts Life, PeerCounts Former)
{
    /// <summary>Sums over all its processes.</summary>
    public PeerCounts Total => Life + Former;

    public long SentBytes => Total.SentBytes;

    public long ReceivedBytes => Total.ReceivedBytes;

    public double BusySeconds => Total.BusySeconds;

    /// <summary>Microbatches that it could hold.</summary>
    public int Slots { get; init; }

    /// <summary>Microbatches in its gradient sum.</summary>
    public int Contributed { get; init; }

    /// <summary>Compute time over wall time since the figures before.</summary>
    public double BusyShare { get; init; }

    /// <summary>Takes what a peer told now after what it told before.</summary>
    public static PeerFigures Read(in PeerTold told, int stage, PeerFigures? before)
    {
        PeerCounts life = told.Counts;
        bool isAnotherProcess = before is not null && life.AllocatedBytes < before.Life.AllocatedBytes;
        PeerCounts former = before is null ? default : isAnotherProcess ? before.Total : before.Former;
        DateTimeOffset now = DateTimeOffset.UtcNow;
        double wall = before is null ? 0 : (now - before.At).TotalSeconds;
        return new PeerFigures(stage, now, told.Queued, told.Held, life, former)
        {
            Slots = told.Slots,
            Contributed = told.Contributed,
            BusyShare = wall > 0 ? Math.Clamp(((life + former).BusySeconds - before!.BusySeconds) / wall, 0, 1) : 0,
        };
    }
}
