// The random source of everything that decides: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
//   state += 0x9E3779B97F4A7C15;  z = mix(state)
// One word of state inside its owner, seeded by an argument, so that a run is a function of its seed on every machine.
namespace OrionNative.Engine.Run;

struct SeededRandom(ulong seed)
{
    ulong _state = seed;

    public ulong NextWord()
    {
        _state += 0x9E3779B97F4A7C15;
        return Mix(_state);
    }

    /// <summary>Uniform in [0, 1), 53 bits.</summary>
    public double NextUnit() => (NextWord() >> 11) * (1.0 / (1UL << 53));

    /// <summary>Uniform in [0, <paramref name="count"/>).</summary>
    public int NextBelow(int count) => (int)(NextUnit() * count);

    public double NextBetween(double low, double high) => low + (high - low) * NextUnit();

    public bool NextChance(double probability) => NextUnit() < probability;

    /// <summary>Exponential with the given mean.</summary>
    public double NextExponential(double mean) => -mean * Math.Log(1 - NextUnit());

    /// <summary>Standard normal, by Box and Muller.</summary>
    public double NextNormal() => Math.Sqrt(-2 * Math.Log(1 - NextUnit())) * Math.Cos(2 * Math.PI * NextUnit());

    /// <summary>A seed for a child source that shares no stream with this one.</summary>
    public static ulong Derive(ulong seed, ulong stream) => Mix(Mix(seed + 0x9E3779B97F4A7C15) ^ stream * 0xD1342543DE82EF95);

    static ulong Mix(ulong z)
    {
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
        z = (z ^ z >> 27) * 0x94D049BB133111EB;
        return z ^ z >> 31;
    }
}
