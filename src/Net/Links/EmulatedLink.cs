// One emulated link of a relay, as its owner sees it: an address to dial instead of the target's, conditions that may change
// at any moment, and counters.
using System.Net;

namespace OrionNative.Net.Links;

/// <summary>What became of the datagrams of one direction.</summary>
public sealed class LinkTally
{
    long _packets, _bytes, _lost, _overflowed, _tooLong, _blackholed, _late, _doubled;

    /// <summary>Datagrams that arrived, copies included.</summary>
    public long Packets => Volatile.Read(ref _packets);

    /// <summary>Their payload bytes.</summary>
    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Lost by chance.</summary>
    public long Lost => Volatile.Read(ref _lost);

    /// <summary>Dropped at the tail of the queue.</summary>
    public long Overflowed => Volatile.Read(ref _overflowed);

    /// <summary>Longer than the link's MTU.</summary>
    public long TooLong => Volatile.Read(ref _tooLong);

    /// <summary>Swallowed by a blackhole.</summary>
    public long Blackholed => Volatile.Read(ref _blackholed);

    /// <summary>Held back.</summary>
    public long Late => Volatile.Read(ref _late);

    /// <summary>Arrived twice.</summary>
    public long Doubled => Volatile.Read(ref _doubled);

    internal void Arrived(int bytes)
    {
        _packets++;
        _bytes += bytes;
    }

    internal void Count(Fate fate, bool copied)
    {
        switch (fate)
        {
            case Fate.Lost: _lost++; break;
            case Fate.Overflow: _overflowed++; break;
            case Fate.TooLong: _tooLong++; break;
            case Fate.Blackhole: _blackholed++; break;
            case Fate.Late: _late++; break;
        }
        if (copied) _doubled++;
    }
}

/// <summary>One emulated link. Members may be used from any thread.</summary>
public abstract class EmulatedLink
{
    volatile LinkProfile _profile;

    private protected EmulatedLink(IPEndPoint address, IPEndPoint target, LinkProfile profile) => (Address, Target, _profile) = (address, target, profile);

    /// <summary>Where to dial.</summary>
    public IPEndPoint Address { get; }

    /// <summary>Where it leads.</summary>
    public IPEndPoint Target { get; }

    /// <summary>The conditions; a new value holds for every datagram from now on. Throws <see cref="NotSupportedException"/>
    /// for conditions that the link cannot show.</summary>
    public LinkProfile Profile
    {
        get => _profile;
        set
        {
            Check(value);
            _profile = value;
        }
    }

    /// <summary>From the dialler to the target.</summary>
    public LinkTally Up { get; } = new();

    /// <summary>From the target to the dialler.</summary>
    public LinkTally Down { get; } = new();

    private protected virtual void Check(LinkProfile profile)
    {
    }

    /// <summary>From now on the target sees another source port, as behind a NAT that forgot.</summary>
    public abstract void ChangeSourcePort();
}
