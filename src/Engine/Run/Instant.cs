// A moment on one monotonic clock, in nanoseconds from an origin that only its owner knows.
// The cores receive it with every event and never ask for it; production hands in the process's monotonic clock, the
// simulator its virtual one. Instants of different processes are not comparable and never cross the wire.
namespace OrionNative.Engine.Run;

readonly record struct Instant(long Nanoseconds) : IComparable<Instant>
{
    public static readonly Instant Zero;
    public static readonly Instant Never = new(long.MaxValue);

    public double Seconds => Nanoseconds * 1e-9;

    public static Instant FromSeconds(double seconds) => new((long)(seconds * 1e9));

    public static Instant Earlier(Instant left, Instant right) => left < right ? left : right;

    public static Instant Later(Instant left, Instant right) => left > right ? left : right;

    public int CompareTo(Instant other) => Nanoseconds.CompareTo(other.Nanoseconds);

    public static Instant operator +(Instant at, TimeSpan span) => new(at.Nanoseconds + span.Ticks * 100);

    /// <summary>The time from <paramref name="earlier"/> to <paramref name="later"/>, in whole 100 ns.</summary>
    public static TimeSpan operator -(Instant later, Instant earlier) =>
        new((later.Nanoseconds - earlier.Nanoseconds) / 100);

    public static bool operator <(Instant left, Instant right) => left.Nanoseconds < right.Nanoseconds;

    public static bool operator >(Instant left, Instant right) => left.Nanoseconds > right.Nanoseconds;

    public static bool operator <=(Instant left, Instant right) => left.Nanoseconds <= right.Nanoseconds;

    public static bool operator >=(Instant left, Instant right) => left.Nanoseconds >= right.Nanoseconds;

    public override string ToString() => $"{Seconds:F6}s";
}
