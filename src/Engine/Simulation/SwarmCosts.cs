// What a run costs, stage by stage, in place of what a seed draws: the planner's numbers for the simulator.
// A peer has one access link, which codes share in both directions one after the other, and gradient shares in a queue of their own
// (on the wire lanes share it by priority; the two seldom meet: shares leave when a stage's codes are through). Messages of control
// pass everything. Processors that all peers share serve computes in the order in which they are called.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

/// <summary>Compute of one stage.</summary>
/// <param name="ForwardSeconds">A microbatch forward.</param>
/// <param name="BackwardSeconds">A microbatch backward, with what it recomputes.</param>
/// <param name="SumSeconds">The sum of a reduction and its norm.</param>
/// <param name="ApplySeconds">The optimizer step.</param>
/// <param name="ShareBytes">A gradient share on the wire.</param>
readonly record struct StageCosts(double ForwardSeconds, double BackwardSeconds, double SumSeconds, double ApplySeconds, long ShareBytes);

/// <summary>A run's costs and links.</summary>
/// <param name="Stages">By stage.</param>
/// <param name="CodeBytes">A code with its ids and header.</param>
/// <param name="GradientBytes">A code gradient with its header.</param>
/// <param name="UpBytesPerSecond">Of every peer; infinity is no limit.</param>
/// <param name="DownBytesPerSecond">Of every peer.</param>
/// <param name="Processors">That all peers share; 0: each peer has its own.</param>
sealed record SwarmCosts(
    StageCosts[] Stages, long CodeBytes, long GradientBytes, double UpBytesPerSecond, double DownBytesPerSecond, int Processors = 0);

/// <summary>Processors that all peers share: a task gets the one that is free first.</summary>
sealed class SharedProcessors(int count)
{
    readonly Instant[] _freeAt = new Instant[count];

    /// <summary>From now to the end of a task that is called now.</summary>
    public double Serve(Instant now, double seconds)
    {
        int first = 0;
        for (int i = 1; i < _freeAt.Length; i++)
            first = _freeAt[i] < _freeAt[first] ? i : first;
        Instant began = _freeAt[first] > now ? _freeAt[first] : now;
        _freeAt[first] = began + TimeSpan.FromSeconds(seconds);
        return (_freeAt[first] - now).TotalSeconds;
    }
}

/// <summary>The access links of all nodes: when each direction is free again, for codes and for bulk.</summary>
sealed class AccessLinks(int nodeCount, double upBytesPerSecond, double downBytesPerSecond)
{
    const long ControlBytesMost = 1024;

    readonly Instant[,] _upFree = new Instant[2, nodeCount];
    readonly Instant[,] _downFree = new Instant[2, nodeCount];

    /// <summary>0 control, 1 codes, 2 bulk: messages of one lane stay in order.</summary>
    public static int LaneOf(long bytes, bool isBulk) => isBulk ? 2 : bytes > ControlBytesMost ? 1 : 0;

    /// <summary>When the last byte of a message that is sent now has left the sender.</summary>
    public Instant Leaves(int from, int to, long bytes, int lane, Instant now)
    {
        if (lane == 0)
            return now;
        ref Instant up = ref _upFree[lane - 1, from], down = ref _downFree[lane - 1, to];
        Instant begins = now > up ? now : up;
        begins = begins > down ? begins : down;
        up = begins + TimeSpan.FromSeconds(bytes / upBytesPerSecond);
        down = begins + TimeSpan.FromSeconds(bytes / downBytesPerSecond);
        return up > down ? up : down;
    }
}
