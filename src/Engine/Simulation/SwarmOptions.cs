// One simulated run: its shape, its speeds, its faults. Everything not given is drawn from the seed, a random subset of the
// fault kinds included, so that some seeds are dense in one kind of trouble and others in combinations.
using OrionNative.Engine.Routing;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

[Flags]
enum FaultKinds
{
    None = 0,
    Crash = 1,
    Hang = 2,
    Slow = 4,
    LinkBreak = 8,
    Blackhole = 16,
    Partition = 32,
    OrchestratorCrash = 64,
    TornEffects = 128,
    Duplicates = 256,
    Drain = 512,
    ComputeHang = 1024,
    All = 2047,

    /// <summary>Nobody hears the peer; scripted only.</summary>
    BlackholeOut = 2048,

    /// <summary>The peer hears nobody; scripted only.</summary>
    BlackholeIn = 4096,

    /// <summary>The compute thread hangs in the next sum of a reduction; the loop lives. Scripted only, as the next two.</summary>
    HangInSum = 8192,

    /// <summary>In the next optimizer step.</summary>
    HangInApply = 16384,

    /// <summary>In the next load.</summary>
    HangInLoad = 32768,

    /// <summary>The whole process stands still for three seconds in the next sum of a reduction; scripted only.</summary>
    PauseInSum = 65536,
}

/// <summary>A bug planted in the harness on purpose: the checks must turn red.</summary>
enum Sabotage
{
    None,

    /// <summary>A rebuild does not clear the gradient sum.</summary>
    KeepOldSum,

    /// <summary>The orchestrator's last record is lost in a crash: the log is not durable.</summary>
    ForgetLastRecord,

    /// <summary>Every 40th contribution is not told.</summary>
    DropContribution,

    /// <summary>Every 40th backward is added twice.</summary>
    AddTwice,

    /// <summary>The last share that came from a replica in a step counts, whatever it holds.</summary>
    ShareOfAnyName,
}

sealed record SwarmOptions
{
    public required ulong Seed { get; init; }

    public int Stages { get; init; }

    public int Replicas { get; init; }

    public int Microbatches { get; init; }

    public int Steps { get; init; }

    public int CheckpointEvery { get; init; } = 4;

    public FaultKinds Faults { get; init; }

    public double FaultsPerMinute { get; init; } = 20;

    /// <summary>Faults end and everything heals at this time.</summary>
    public double FaultSeconds { get; init; } = 30;

    /// <summary>Virtual time that the run may take once healed.</summary>
    public double HealedSeconds { get; init; } = 240;

    /// <summary>Compute time of a microbatch at each peer (forward and backward), seconds.</summary>
    public double[] ServiceSeconds { get; init; } = [];

    /// <summary>Costs by stage and links, which then win over service, sum and apply.</summary>
    public SwarmCosts? Costs { get; init; }

    /// <summary>Access links that payloads share, or null for links without such limits.</summary>
    public LinkRates? Links { get; init; }

    /// <summary>The sum of a reduction and the optimizer step; times TaskFactors of the peer, if given.</summary>
    public double SumSeconds { get; init; } = 0.001;

    public double ApplySeconds { get; init; } = 0.002;

    public double[] TaskFactors { get; init; } = [];

    /// <summary>What a process adds to its first sum and its first optimizer step, seconds: it compiles them.</summary>
    public double ColdSeconds { get; init; }

    /// <summary>How long a scripted fault lasts.</summary>
    public double ScriptedFaultSeconds { get; init; } = 14;

    /// <summary>Round trip between any two nodes, seconds.</summary>
    public double RoundTripSeconds { get; init; } = 0.03;

    /// <summary>Slots beyond the 1F1B minimum, as in ScheduleSettings.</summary>
    public int SlackSlots { get; init; } = 6;

    public PathfinderSettings Routing { get; init; } = new();

    public double ClipNorm { get; init; } = 20;

    public Sabotage Sabotage { get; init; }

    /// <summary>Faults at given times, besides the drawn ones.</summary>
    public IReadOnlyList<(double Seconds, FaultKinds Fault, int Peer)> Script { get; init; } = [];

    public int PeerCount => Stages * Replicas;

    public static SwarmOptions Draw(ulong seed)
    {
        var random = new SeededRandom(SeededRandom.Derive(seed, 77));
        int stages = 1 + random.NextBelow(4), replicas = 1 + random.NextBelow(3);
        int microbatches = 2 + random.NextBelow(11);
        double service = random.NextBetween(0.05, 0.25);
        double[] services = [.. Enumerable.Range(0, stages * replicas).Select(_ => service * random.NextBetween(0.7, 1.6))];
        double secondsPerStep = Math.Max(0.3, service * (stages + (double)microbatches / replicas));
        return new SwarmOptions
        {
            Seed = seed,
            Stages = stages,
            Replicas = replicas,
            Microbatches = microbatches,
            Steps = Math.Clamp((int)(25 / secondsPerStep), 5, 40),
            CheckpointEvery = 1 + random.NextBelow(5),
            Faults = (FaultKinds)random.NextBelow((int)FaultKinds.All + 1),
            FaultsPerMinute = random.NextBetween(5, 60),
            FaultSeconds = random.NextBetween(10, 35),
            ServiceSeconds = services,
            RoundTripSeconds = random.NextBetween(0.002, 0.12),
            SlackSlots = random.NextBelow(7),
        };
    }
}
