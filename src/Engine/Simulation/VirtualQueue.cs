// The virtual clock: one queue of things to come, ordered by (time, order of scheduling). Nothing happens between two of
// them, so a run is a function of what was put in. Times never run backwards.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

sealed class VirtualQueue<T>
{
    readonly PriorityQueue<T, (long Time, long Order)> _queue = new();
    long _order;

    public Instant Now { get; private set; }

    public int Count => _queue.Count;

    public void After(TimeSpan delay, T what) => At(Now + delay, what);

    public void At(Instant time, T what) => _queue.Enqueue(what, (Math.Max(time.Nanoseconds, Now.Nanoseconds), _order++));

    public bool TryNext(out T what)
    {
        if (!_queue.TryDequeue(out what!, out (long Time, long Order) key))
            return false;
        Now = new Instant(key.Time);
        return true;
    }
}
