// What threads hand to one thread: plain values in a ring that grows to the most that ever waited, so that handing one over
// allocates nothing. The last one in wakes the taker.
// Invariant: taken in the order of adding, each once; after Close nothing more is taken in.
namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>A queue of values with one taker.</summary>
/// <typeparam name="T">A plain value.</typeparam>
sealed class Mailbox<T>
{
    readonly object _gate = new();   // Monitor, because the taker waits on it
    T[] _ring = new T[64];
    int _head, _count;
    bool _isClosed;

    /// <summary>Nothing is in it and nothing will be.</summary>
    public bool IsEnded
    {
        get
        {
            lock (_gate)
            {
                return _isClosed && _count == 0;
            }
        }
    }

    /// <summary>Hands a value over; one that comes after <see cref="Close"/> is dropped.</summary>
    public void Add(in T item)
    {
        lock (_gate)
        {
            if (_isClosed)
            {
                return;
            }

            if (_count == _ring.Length)
            {
                Grow();
            }

            _ring[(_head + _count++) % _ring.Length] = item;
            Monitor.Pulse(_gate);
        }
    }

    /// <summary>The oldest value; waits for one until the time is over or the mailbox is closed.</summary>
    public bool TryTake(out T item, TimeSpan wait)
    {
        lock (_gate)
        {
            if (_count == 0 && !_isClosed && wait != TimeSpan.Zero)
            {
                Monitor.Wait(_gate, wait);
            }

            if (_count == 0)
            {
                item = default!;
                return false;
            }

            item = _ring[_head];
            _ring[_head] = default!;
            _head = (_head + 1) % _ring.Length;
            _count--;
            return true;
        }
    }

    public void Close()
    {
        lock (_gate)
        {
            _isClosed = true;
            Monitor.PulseAll(_gate);
        }
    }

    void Grow()
    {
        T[] larger = new T[2 * _ring.Length];
        for (int i = 0; i < _count; i++)
        {
            larger[i] = _ring[(_head + i) % _ring.Length];
        }

        (_ring, _head) = (larger, 0);
    }
}
