// The team runs every item exactly once, whoever comes first, and says so when it is asked to run inside itself.
using OrionNative.Kernels.Cpu;

namespace OrionNative.Kernels.Tests;

public sealed unsafe class ThreadTeamTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Run_ManyTimesWithAnyItemCount_EveryItemOnce(int threads)
    {
        using ThreadTeam team = new(threads);
        int* runs = stackalloc int[64];
        for (int round = 0; round < 3000; round++)
        {
            new Span<int>(runs, 64).Clear();
            int items = round % 64;
            team.Run(items, runs, &CountItem);
            for (int item = 0; item < 64; item++)
            {
                Assert.Equal(item < items ? 1 : 0, runs[item]);
            }
        }

        static void CountItem(void* state, int item) => Interlocked.Increment(ref ((int*)state)[item]);
    }

    [Fact]
    public void Run_AfterMembersWentToSleep_WakesThem()
    {
        using ThreadTeam team = new(3);
        for (int round = 0; round < 20; round++)
        {
            Thread.Sleep(2);
            int sum = 0;
            team.Run(100, &sum, &AddItem);
            Assert.Equal(4950, sum);
        }

        static void AddItem(void* state, int item) => Interlocked.Add(ref *(int*)state, item);
    }

    [Fact]
    public void Run_WithMember_NamesADifferentMemberForEachThread()
    {
        using ThreadTeam team = new(4);
        int* busy = stackalloc int[5];
        new Span<int>(busy, 5).Clear();
        team.Run(1000, busy, &Enter);
        Assert.Equal(0, busy[4]);

        static void Enter(void* state, int item, int member)
        {
            int* busy = (int*)state;
            if (member is < 0 or > 3 || Interlocked.Increment(ref busy[member]) != 1)
            {
                busy[4] = 1;
            }

            Interlocked.Decrement(ref busy[member]);
        }
    }

    static ThreadTeam? _nested;
    static string _refusal = "";

    [Fact]
    public void Run_FromInsideABody_IsRefusedAndTheTeamGoesOn()
    {
        using ThreadTeam team = new(2);
        _nested = team;
        team.Run(1, null, &RunInside);
        Assert.Contains("one operation at a time", _refusal, StringComparison.Ordinal);
        int done = 0;
        team.Run(10, &done, &Count);
        Assert.Equal(10, done);

        static void RunInside(void* state, int item)
        {
            try
            {
                _nested!.Run(1, state, &Count);
            }
            catch (InvalidOperationException refused)
            {
                _refusal = refused.Message;
            }
        }

        static void Count(void* state, int item) => Interlocked.Increment(ref *(int*)state);
    }
}
