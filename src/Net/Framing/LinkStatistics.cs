// What a link has done and what the network under it is like, for routing, logs and the link laboratory.
namespace OrionNative.Net.Framing;

/// <summary>A snapshot of one link. Values are each exact, but not all of the same instant.</summary>
/// <param name="Sent">Counters of what went out.</param>
/// <param name="Received">Counters of what came in.</param>
/// <param name="RttNanoseconds">Smoothed round trip between the two loops, waiting in them included; 0 before the first.</param>
/// <param name="GoodputBytesPerSecond">Payload rate while there was something to send; 0 before the first.</param>
/// <param name="Unfinished">Sends whose outcome is not known or whose memory is still read.</param>
/// <param name="Transport">The transport's own counters.</param>
public readonly record struct LinkStatistics(
    LinkCounters Sent,
    LinkCounters Received,
    long RttNanoseconds,
    double GoodputBytesPerSecond,
    int Unfinished,
    TransportStatistics Transport);

/// <summary>Payload rate over the ticks that were busy from end to end, smoothed by 1/8.</summary>
sealed class GoodputEstimate
{
    long _atNanoseconds, _bytes;
    bool _busy;

    public double BytesPerSecond { get; private set; }

    public void Sample(long nowNanoseconds, long bytes, bool busy)
    {
        if (_busy && busy && nowNanoseconds > _atNanoseconds)
        {
            double rate = (bytes - _bytes) * 1e9 / (nowNanoseconds - _atNanoseconds);
            BytesPerSecond = BytesPerSecond == 0 ? rate : BytesPerSecond + ((rate - BytesPerSecond) / 8);
        }
        (_atNanoseconds, _bytes, _busy) = (nowNanoseconds, bytes, busy);
    }
}
