// A fixed team of threads that runs one body over item indices. The caller is a member of the team. Items are handed out
// one by one, so a slow member gets fewer; what an item computes never depends on who runs it, so results do not either.
// Waiting spins for some microseconds (operations of a step follow each other closely), then sleeps.
// Invariant: the ticket holds (run number, items left) in one word, so a member that comes late can take nothing from a
// later run by mistake: its compare-and-swap fails, and what it then reads belongs to the run that it joined.
using System.Diagnostics;

namespace OrionNative.Kernels.Cpu;

/// <summary>Threads of one CPU device. Running allocates nothing.</summary>
sealed unsafe class ThreadTeam : IDisposable
{
    const int SpinMicroseconds = 30;
    const long ItemsMask = 0xFFFF_FFFF;

    readonly Thread[] _threads;
    readonly ThreadPlaces _places;
    readonly long _spinTicks;
    readonly object _workers = new(), _caller = new();
    delegate*<void*, int, void> _body;
    delegate*<void*, int, int, void> _memberBody;
    void* _state;
    int _items;
    long _ticket;
    int _unfinished;
    int _sleepingWorkers;
    int _callerSleeps;
    int _running;
    volatile bool _stop;

    public ThreadTeam(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        Count = count;
        // with more threads than processors, a spinning thread would keep a working one from its processor
        _spinTicks = count <= Environment.ProcessorCount ? SpinMicroseconds * Stopwatch.Frequency / 1_000_000 : 0;
        _threads = new Thread[count - 1];
        _places = new ThreadPlaces(count <= Environment.ProcessorCount ? count - 1 : 0);
        for (int i = 0; i < _threads.Length; i++)
        {
            int member = i + 1;
            _threads[i] = new Thread(() => Work(member)) { IsBackground = true, Name = $"orion cpu {member}" };
            _threads[i].Start();
        }
    }

    /// <summary>Members, the caller included.</summary>
    public int Count { get; }

    /// <summary>Runs body(state, item) for every item in [0, items) and returns when all are done.</summary>
    /// <exception cref="InvalidOperationException">The team is already running: a body, or another thread, called Run.</exception>
    public void Run(int items, void* state, delegate*<void*, int, void> body) => Run(items, state, body, null);

    /// <summary>Runs body(state, item, member), where member in [0, Count) names who runs it: an index of scratch memory.</summary>
    /// <exception cref="InvalidOperationException">The team is already running: a body, or another thread, called Run.</exception>
    public void Run(int items, void* state, delegate*<void*, int, int, void> body) => Run(items, state, null, body);

    void Run(int items, void* state, delegate*<void*, int, void> body, delegate*<void*, int, int, void> memberBody)
    {
        if (Interlocked.Exchange(ref _running, 1) != 0)
        {
            throw new InvalidOperationException(
                "a thread team was asked to run while it runs: one device executes one operation at a time, and an operation's body must not call another");
        }

        _body = body;
        _memberBody = memberBody;
        _state = state;
        _items = items;
        if (items <= 1 || _threads.Length == 0)
        {
            for (int item = 0; item < items; item++)
            {
                Invoke(item, member: 0);
            }
        }
        else
        {
            _places.Spread();
            Volatile.Write(ref _unfinished, items);
            Interlocked.Exchange(ref _ticket, (((_ticket >> 32) + 1) << 32) | (uint)items);
            if (Volatile.Read(ref _sleepingWorkers) > 0)
            {
                lock (_workers)
                {
                    Monitor.PulseAll(_workers);
                }
            }

            Drain(member: 0);
            AwaitOthers();
        }

        Volatile.Write(ref _running, 0);
    }

    void Invoke(int item, int member)
    {
        if (_body != null)
        {
            _body(_state, item);
        }
        else
        {
            _memberBody(_state, item, member);
        }
    }

    void Drain(int member)
    {
        long ticket = Volatile.Read(ref _ticket);
        while ((ticket & ItemsMask) != 0)
        {
            long seen = Interlocked.CompareExchange(ref _ticket, ticket - 1, ticket);
            if (seen != ticket)
            {
                ticket = seen;
                continue;
            }

            Invoke(_items - (int)(ticket & ItemsMask), member);
            if (Interlocked.Decrement(ref _unfinished) == 0 && Volatile.Read(ref _callerSleeps) != 0)
            {
                lock (_caller)
                {
                    Monitor.Pulse(_caller);
                }
            }

            ticket = Volatile.Read(ref _ticket);
        }
    }

    void AwaitOthers()
    {
        long deadline = Stopwatch.GetTimestamp() + _spinTicks;
        while (Volatile.Read(ref _unfinished) != 0)
        {
            if (Stopwatch.GetTimestamp() < deadline)
            {
                Thread.SpinWait(4);
                continue;
            }

            lock (_caller)
            {
                Interlocked.Exchange(ref _callerSleeps, 1);
                while (Volatile.Read(ref _unfinished) != 0)
                {
                    Monitor.Wait(_caller);
                }

                _callerSleeps = 0;
            }
        }
    }

    void Work(int member)
    {
        _places.Enter(member - 1);
        while (!_stop)
        {
            Drain(member);
            AwaitRun();
        }
    }

    void AwaitRun()
    {
        long deadline = Stopwatch.GetTimestamp() + _spinTicks;
        while (Idle())
        {
            if (Stopwatch.GetTimestamp() < deadline)
            {
                Thread.SpinWait(4);
                continue;
            }

            lock (_workers)
            {
                Interlocked.Increment(ref _sleepingWorkers);
                while (Idle())
                {
                    Monitor.Wait(_workers);
                }

                Interlocked.Decrement(ref _sleepingWorkers);
            }
        }
    }

    bool Idle() => (Volatile.Read(ref _ticket) & ItemsMask) == 0 && !_stop;

    public void Dispose()
    {
        lock (_workers)
        {
            _stop = true;
            Monitor.PulseAll(_workers);
        }

        foreach (Thread thread in _threads)
        {
            thread.Join();
        }
    }
}
