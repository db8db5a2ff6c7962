// Those who never prove who they are: garbage, forged tokens, handshakes left half open. A line for each would let a stranger
// fill this node's disk, so they are counted, and once in a period of many deeds one sentence says what came and from whom most.
// The heaviest source is found in a table of fixed size (space-saving, Metwally et al. 2005): a newcomer takes the place of the
// least one and its count. Invariant: a source with more than 1/SourcesMax of all deeds is in the table; nothing here grows.
using System.Buffers.Binary;
using System.Net;

namespace OrionNative.Net.Framing;

enum StrangerDeed
{
    /// <summary>A datagram that belongs to no connection and begins none.</summary>
    LeadsNowhere,

    /// <summary>Began a handshake while many were in progress, and was sent away to prove its address first.</summary>
    Unproved,

    /// <summary>A handshake that did not end in time or in good order.</summary>
    Unfinished,

    /// <summary>Turned away unheard: too many handshakes or connections are there already.</summary>
    TurnedAway,

    /// <summary>Has a key, and is not let in. The first few of a period have a line of their own.</summary>
    Refused,
}

/// <summary>Counts strangers and names the worst. Members may be used from any thread; times in nanoseconds.</summary>
sealed class Strangers(string where, TimeSpan period, Action<string>? log)
{
    /// <summary>Refusals with a line of their own in one period.</summary>
    public const int RefusalLinesMax = 20;

    // Fewer deeds are the internet's daily noise.
    const long DeedsToTell = 100;

    const int SourcesMax = 16;
    static readonly int _deedKinds = Enum.GetValues<StrangerDeed>().Length;

    readonly Lock _gate = new();
    readonly (UInt128 Source, long Count)[] _sources = new (UInt128, long)[SourcesMax];
    readonly long[] _deeds = new long[_deedKinds];
    ulong _endsAt = ulong.MaxValue;

    /// <summary>When the next sentence is due; the greatest time while there is nothing to say.</summary>
    public ulong DueAt => Volatile.Read(ref _endsAt);

    /// <summary>Counts one deed. False for a refusal that should not have a line of its own any more.</summary>
    public bool Note(StrangerDeed deed, UInt128 source, ulong now)
    {
        lock (_gate)
        {
            if (_endsAt == ulong.MaxValue) _endsAt = now + ((ulong)period.Ticks * 100);
            long count = ++_deeds[(int)deed];
            Credit(source);
            return count <= RefusalLinesMax;
        }
    }

    /// <summary>Says what the last period brought once it is over.</summary>
    public void Tick(ulong now)
    {
        if (now < DueAt) return;
        string? sentence;
        lock (_gate)
        {
            sentence = _deeds.Sum() < DeedsToTell ? null : Sentence();
            _endsAt = ulong.MaxValue;
            Array.Clear(_deeds);
            Array.Clear(_sources);
        }
        if (sentence is not null) log?.Invoke(sentence);
    }

    void Credit(UInt128 source)
    {
        int least = 0;
        for (int i = 0; i < SourcesMax; i++)
        {
            if (_sources[i].Count > 0 && _sources[i].Source == source)
            {
                _sources[i].Count++;
                return;
            }
            if (_sources[i].Count < _sources[least].Count) least = i;
        }
        _sources[least] = (source, _sources[least].Count + 1);
    }

    string Sentence()
    {
        (UInt128 worst, long count) = _sources.MaxBy(static source => source.Count);
        var parts = Enumerable.Range(0, _deedKinds).Where(i => _deeds[i] > 0).Select(i => $"{_deeds[i]} {Words((StrangerDeed)i)}");
        return $"{where}: strangers in {period.TotalSeconds:0.###} s: {string.Join(", ", parts)}; most of it ({count}) from {Text(worst)}";
    }

    static string Text(UInt128 source)
    {
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt128BigEndian(bytes, source);
        var address = new IPAddress(bytes);
        return (address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address).ToString();
    }

    static string Words(StrangerDeed deed) => deed switch
    {
        StrangerDeed.LeadsNowhere => "datagrams that lead nowhere",
        StrangerDeed.Unproved => "asked to prove their address",
        StrangerDeed.Unfinished => "handshakes not finished",
        StrangerDeed.TurnedAway => "turned away unheard",
        _ => "refused",
    };
}
