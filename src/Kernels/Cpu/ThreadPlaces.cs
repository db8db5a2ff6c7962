// Keeps the threads of a team off the processor that the caller runs on. A woken thread is often queued behind its waker,
// and some kernels move it away only after tens of milliseconds: two threads then do the work of one. So the others may use
// every processor of this process but the caller's. Costs one sched_getcpu a run; the masks change when the caller moves.
using OrionNative.Kernels.Cpu.Interop;

namespace OrionNative.Kernels.Cpu;

/// <summary>Affinity of a team's threads; does nothing where the system has no such calls or only one processor.</summary>
sealed unsafe class ThreadPlaces
{
    readonly ulong[] _allowed = new ulong[Sched.MaskWords];
    readonly int[] _threads;
    readonly bool _isActive;
    int _callerProcessor = -1;
    int _known;

    public ThreadPlaces(int threads)
    {
        _threads = new int[threads];
        if (!OperatingSystem.IsLinux() || threads == 0)
        {
            return;
        }

        fixed (ulong* allowed = _allowed)
        {
            _isActive = Sched.sched_getaffinity(0, Sched.MaskBytes, allowed) >= 0 && _allowed.Sum(System.Numerics.BitOperations.PopCount) > 1;
        }
    }

    /// <summary>Called by each thread of the team once, when it starts.</summary>
    public void Enter(int index)
    {
        if (_isActive && index < _threads.Length)
        {
            Volatile.Write(ref _threads[index], Sched.gettid());
            Interlocked.Increment(ref _known);
        }
    }

    /// <summary>Called by the caller before it shares work out.</summary>
    public void Spread()
    {
        if (!_isActive || Volatile.Read(ref _known) < _threads.Length)
        {
            return;
        }

        int here = Sched.sched_getcpu();
        if (here == _callerProcessor || (uint)here >= Sched.MaskWords * 64)
        {
            return;
        }

        _callerProcessor = here;
        ulong* mask = stackalloc ulong[Sched.MaskWords];
        _allowed.CopyTo(new Span<ulong>(mask, Sched.MaskWords));
        mask[here / 64] &= ~(1UL << (here % 64));
        foreach (int thread in _threads)
        {
            // a mask that the kernel refuses (the process was confined meanwhile) leaves the thread where it may run anyway
            _ = Sched.sched_setaffinity(thread, Sched.MaskBytes, mask);
        }
    }
}
