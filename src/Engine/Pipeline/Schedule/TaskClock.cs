// How long the compute thread has been at what it does, and how long such a task usually takes this peer.
//   usual(sum, apply, clear) = m, the average so far; the estimate until there is one      they come with every step
//   usual(share, load, fill, copy, save) = max(estimate, m)      the next one may have another slice, another disk, a cold cache
//   m' = m + 0.2 (sample - m); a sample below m/2 replaces it: no task is faster than the device, so m was made of cold starts
// A microbatch is measured by the schedule. Tasks end in the order in which they began. Time in which the whole process stood
// still counts for nothing: no look came either, and no estimate is made of such a task. Pure; the host locks it.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed class TaskClock
{
    const double Smoothing = 0.2;
    const int TaskCount = (int)ComputeTask.Save + 1;

    /// <summary>Looks come every 50 to 100 ms.</summary>
    static readonly TimeSpan _standstill = TimeSpan.FromSeconds(0.8);

    readonly Queue<ComputeTask> _open = new(8);
    readonly double[] _mean = new double[TaskCount];
    readonly double[] _expected = new double[TaskCount];
    Instant _began, _since, _lookedAt;
    bool _stoodStill;

    /// <summary>What a task takes at most, as far as its bytes and operations tell.</summary>
    public void Expect(ComputeTask task, double seconds) => _expected[(int)task] = seconds;

    public void Began(ComputeTask task, Instant now)
    {
        _open.Enqueue(task);
        if (_open.Count == 1)
            Restart(now);
    }

    void Restart(Instant now) => (_began, _since, _stoodStill) = (now, now, false);

    /// <summary>The task that began first has ended.</summary>
    public void Ended(Instant now)
    {
        int task = (int)_open.Dequeue();
        if (!_stoodStill)
            _mean[task] = Averaged(_mean[task], (now - _began).TotalSeconds);
        Restart(now);
    }

    public static double Averaged(double mean, double sample) =>
        mean == 0 || sample < mean / 2 ? sample : mean + Smoothing * (sample - mean);

    /// <summary>The open task; to be asked at every tick.</summary>
    public OpenTask Look(Instant now)
    {
        if (now - _lookedAt > _standstill)
            (_since, _stoodStill) = (now, true);
        _lookedAt = now;
        return _open.TryPeek(out ComputeTask task) ? new OpenTask(task, now - _since, TimeSpan.FromSeconds(Usual(task))) : default;
    }

    double Usual(ComputeTask task)
    {
        (double mean, double expected) = (_mean[(int)task], _expected[(int)task]);
        bool isOfEveryStep = task is ComputeTask.Sum or ComputeTask.Apply or ComputeTask.Clear;
        return isOfEveryStep && mean > 0 ? mean : Math.Max(mean, expected);
    }
}
