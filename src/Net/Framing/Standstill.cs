// Whether something waits and nothing of it moves. The peer that lives and lets nothing move is cut off by whoever asks.
namespace OrionNative.Net.Framing;

struct Standstill
{
    long _since;
    bool _moved;

    public void Moved() => _moved = true;

    /// <summary>True if something has waited for longer than <paramref name="patience"/> and nothing moved. Asked a few times a
    /// second; <paramref name="now"/> in nanoseconds.</summary>
    public bool Lasts(bool waits, long now, TimeSpan patience)
    {
        if (!waits || _moved || _since == 0) (_since, _moved) = (now, false);
        return now - _since > patience.Ticks * 100;
    }
}
