// Time that stands still until the test moves it; timers fire inside Advance.
namespace OrionNative.Net.Tests.Framing;

sealed class ManualTime : TimeProvider
{
    readonly List<Timer> _timers = [];
    long _ticks = TimeSpan.TicksPerDay; // far from zero, as on a real machine

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _ticks;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(this, callback, state, _ticks + dueTime.Ticks, period.Ticks);
        _timers.Add(timer);
        return timer;
    }

    public void Advance(TimeSpan by)
    {
        long until = _ticks + by.Ticks;
        while (_timers.Where(t => t.Due <= until).MinBy(t => t.Due) is { } timer)
        {
            _ticks = timer.Due;
            timer.Fire();
        }
        _ticks = until;
    }

    sealed class Timer(ManualTime owner, TimerCallback callback, object? state, long due, long period) : ITimer
    {
        public long Due { get; private set; } = due;

        public void Fire()
        {
            if (period > 0) Due += period;
            else owner._timers.Remove(this);
            callback(state);
        }

        public bool Change(TimeSpan dueTime, TimeSpan periodTime) => throw new NotSupportedException();

        public void Dispose() => owner._timers.Remove(this);

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
