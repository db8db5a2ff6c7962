// What a link does to a datagram, in one direction, and the links that operators rehearse with.
// Fair to compare: rates count the 28 bytes of IPv4 and UDP headers; delay is one way; the queue drops at its tail.
namespace OrionNative.Net.Links;

/// <summary>One direction of an emulated link. Probabilities are per datagram, 0 to 1.</summary>
public sealed record LinkConditions
{
    /// <summary>Bits per second; 0 is unlimited.</summary>
    public double BitsPerSecond { get; init; }

    /// <summary>One way, without queueing.</summary>
    public TimeSpan Delay { get; init; }

    /// <summary>Slow variation: the delay wanders between <see cref="Delay"/> and this much more, without reordering.</summary>
    public TimeSpan Jitter { get; init; }

    /// <summary>Mean fraction lost.</summary>
    public double Loss { get; init; }

    /// <summary>Mean length of a run of losses (Gilbert-Elliott); 1 is independent loss.</summary>
    public double LossBurst { get; init; } = 1;

    /// <summary>Fraction held back by up to <see cref="ReorderBy"/>, so that later ones overtake.</summary>
    public double Reorder { get; init; }

    /// <summary>How long a held datagram waits at most.</summary>
    public TimeSpan ReorderBy { get; init; } = TimeSpan.FromMilliseconds(5);

    /// <summary>Fraction that arrives twice.</summary>
    public double Duplicate { get; init; }

    /// <summary>Nothing passes.</summary>
    public bool Blackhole { get; init; }

    /// <summary>A datagram that would wait longer for its turn is dropped.</summary>
    public TimeSpan Queue { get; init; } = TimeSpan.FromMilliseconds(60);

    /// <summary>Bytes of an IP packet; longer ones vanish.</summary>
    public int MtuBytes { get; init; } = 1500;

    /// <summary>One line for people.</summary>
    public override string ToString() => string.Join(", ", Words());

    IEnumerable<string> Words()
    {
        yield return BitsPerSecond == 0 ? "no rate limit" : $"{BitsPerSecond / 1e6:0.###} Mbit/s";
        yield return $"{Delay.TotalMilliseconds:0.###} ms";
        if (Jitter > TimeSpan.Zero) yield return $"jitter {Jitter.TotalMilliseconds:0.###} ms";
        if (Loss > 0) yield return $"loss {100 * Loss:0.###} %";
        if (Reorder > 0) yield return $"reorder {100 * Reorder:0.###} %";
        if (Duplicate > 0) yield return $"duplicate {100 * Duplicate:0.###} %";
        if (Blackhole) yield return "BLACKHOLE";
    }
}

/// <summary>Both directions: up is from the dialler to the target.</summary>
public sealed record LinkProfile(LinkConditions Up, LinkConditions Down)
{
    /// <summary>The profiles that have names.</summary>
    public static IReadOnlyDictionary<string, (LinkProfile Profile, string Description)> Named { get; } = new Dictionary<string, (LinkProfile, string)>
    {
        ["perfect"] = (Both(new LinkConditions { MtuBytes = 65535 }), "no limit at all: what the relay itself costs"),
        ["orion"] = (new LinkProfile(
            new LinkConditions { BitsPerSecond = 856e6, Delay = Milliseconds(15), Jitter = Milliseconds(15) },
            new LinkConditions { BitsPerSecond = 1322e6, Delay = Milliseconds(15), Jitter = Milliseconds(15) }),
            "the median peer of Orion-100B: 856 Mbit/s up, 1322 down, 30 to 60 ms round trip"),
        ["home"] = (new LinkProfile(
            new LinkConditions { BitsPerSecond = 40e6, Delay = Milliseconds(12), Jitter = Milliseconds(3), Loss = 0.0005 },
            new LinkConditions { BitsPerSecond = 250e6, Delay = Milliseconds(12), Jitter = Milliseconds(3), Loss = 0.0005 }),
            "a household: 40 Mbit/s up, 250 down, 24 to 30 ms, 0.05 % loss"),
        ["transatlantic"] = (Both(new LinkConditions { BitsPerSecond = 500e6, Delay = Milliseconds(45), Jitter = Milliseconds(2), Loss = 0.001 }),
            "500 Mbit/s, 90 to 94 ms, 0.1 % loss"),
        ["lossy"] = (Both(new LinkConditions
        {
            BitsPerSecond = 100e6,
            Delay = Milliseconds(95),
            Jitter = Milliseconds(10),
            Loss = 0.01,
            LossBurst = 3,
            Reorder = 0.01,
            Duplicate = 0.001,
        }), "100 Mbit/s, 190 to 210 ms, 1 % loss in bursts, 1 % reordered, 0.1 % duplicated"),
    };

    /// <summary>The same both ways.</summary>
    public static LinkProfile Both(LinkConditions conditions) => new(conditions, conditions);

    static TimeSpan Milliseconds(double value) => TimeSpan.FromMilliseconds(value);
}
