// Which messages were accepted lately, so that a replayed one is answered DUPLICATE and never applied twice.
// The key is the message's identity (epoch, step, microbatch, part, stage, kind, attempt); the oldest is forgotten first.
// One window serves all links of a receiver: a copy that comes over another connection is a copy all the same.
namespace OrionNative.Net.Framing;

/// <summary>The identities of the last messages accepted. Members may be used from any thread.</summary>
public sealed class DuplicateWindow
{
    readonly record struct Key(ulong EpochStep, ulong MicrobatchPart, ulong StageKindAttempt);

    readonly Lock _gate = new();
    readonly HashSet<Key> _known;
    readonly Key[] _order;
    readonly bool[] _live;
    int _next;

    /// <summary>Remembers the last <paramref name="capacity"/> identities.</summary>
    public DuplicateWindow(int capacity = 65536)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        (_known, _order, _live) = (new HashSet<Key>(capacity + 1), new Key[capacity], new bool[capacity]);
    }

    /// <summary>True if such a message is known.</summary>
    public bool Contains(in MessageHeader header)
    {
        lock (_gate) return _known.Contains(KeyOf(header));
    }

    /// <summary>Remembers a message; false if it is known already.</summary>
    public bool TryAdd(in MessageHeader header)
    {
        Key key = KeyOf(header);
        lock (_gate)
        {
            if (!_known.Add(key)) return false;
            if (_live[_next]) _known.Remove(_order[_next]);
            (_order[_next], _live[_next]) = (key, true);
            _next = (_next + 1) % _order.Length;
            return true;
        }
    }

    /// <summary>Forgets a message that was not accepted after all, so that it may come again.</summary>
    public void Remove(in MessageHeader header)
    {
        Key key = KeyOf(header);
        lock (_gate)
        {
            if (!_known.Remove(key)) return;
            for (int back = 1; back <= _order.Length; back++)
            {
                int at = (_next - back + _order.Length) % _order.Length;
                if (!_live[at] || _order[at] != key) continue;
                _live[at] = false;
                return;
            }
        }
    }

    static Key KeyOf(in MessageHeader h) => new(
        (ulong)h.Epoch << 32 | h.Step,
        (ulong)h.Microbatch << 32 | h.Part,
        (ulong)h.Stage << 32 | (ulong)h.Kind << 16 | h.Attempt);
}
