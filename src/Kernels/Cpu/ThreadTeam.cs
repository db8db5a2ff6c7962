// A fixed team of threads that runs one body over item indices. The caller is a member of the team. Items are handed out
// in order through one counter; what an item computes never depends on who runs it, so results do not depend on the count.
namespace OrionNative.Kernels.Cpu;

/// <summary>Threads of one CPU device. <see cref="Run"/> allocates nothing.</summary>
sealed unsafe class ThreadTeam : IDisposable
{
    readonly Thread[] _threads;
    readonly SemaphoreSlim _start = new(0);
    readonly CountdownEvent _done = new(1);
    delegate*<void*, int, void> _body;
    void* _state;
    int _items;
    int _next;
    volatile bool _stop;

    public ThreadTeam(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        Count = count;
        _threads = new Thread[count - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            _threads[i] = new Thread(Work) { IsBackground = true, Name = $"orion cpu {i + 1}" };
            _threads[i].Start();
        }
    }

    public int Count { get; }

    /// <summary>Runs body(state, item) for every item in [0, items) and returns when all are done.</summary>
    public void Run(int items, void* state, delegate*<void*, int, void> body)
    {
        int helpers = Math.Min(_threads.Length, items - 1);
        if (helpers <= 0)
        {
            for (int item = 0; item < items; item++)
            {
                body(state, item);
            }

            return;
        }

        _body = body;
        _state = state;
        _items = items;
        _next = 0;
        _done.Reset(helpers);
        _start.Release(helpers);
        Drain();
        _done.Wait();
    }

    void Work()
    {
        while (true)
        {
            _start.Wait();
            if (_stop)
            {
                return;
            }

            Drain();
            _done.Signal();
        }
    }

    void Drain()
    {
        for (int item; (item = Interlocked.Increment(ref _next) - 1) < _items;)
        {
            _body(_state, item);
        }
    }

    public void Dispose()
    {
        _stop = true;
        if (_threads.Length > 0)
        {
            _start.Release(_threads.Length);
        }

        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        _start.Dispose();
        _done.Dispose();
    }
}
