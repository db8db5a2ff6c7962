// The bindings of NCCL on the software devices: the ranks of one process sum, send round a ring, and are refused what is wrong.
using OrionNative.Kernels.Cuda;
using OrionNative.Net.Nccl;

namespace OrionNative.Engine.Tests.Nccl;

public class NcclTests
{
    const int Ranks = 2;  // the software device shows two unless told otherwise

    [Fact]
    public void AllReduce_TwoRanks_EveryRankHasTheSum() => OnEveryRank((communicator, context, stream) =>
    {
        float[] mine = [.. Enumerable.Range(0, 1000).Select(i => (float)(i * (communicator.Rank + 1)))];
        using CudaDeviceVariable<float> x = new(context, mine.Length);
        x.CopyFrom(mine);
        communicator.AllReduce((nint)x.Address, (nint)x.Address, mine.Length, NcclType.Float32, NcclReduction.Sum, stream.Handle);
        stream.Synchronize();
        x.CopyTo(mine);
        // Integers below 2^24: exact in every order.
        Assert.Equal([.. Enumerable.Range(0, 1000).Select(i => 3f * i)], mine);
    });

    [Fact]
    public void SendAndReceive_RoundTheRing_ArriveInAGroup() => OnEveryRank((communicator, context, stream) =>
    {
        using CudaDeviceVariable<byte> from = new(context, 100), to = new(context, 100);
        byte[] code = new byte[100];
        Array.Fill(code, (byte)(communicator.Rank + 1));
        from.CopyFrom(code);
        int next = (communicator.Rank + 1) % Ranks, last = (communicator.Rank + Ranks - 1) % Ranks;
        communicator.StartGroup();
        communicator.Send((nint)from.Address, 100, NcclType.UInt8, next, stream.Handle);
        communicator.Receive((nint)to.Address, 100, NcclType.UInt8, last, stream.Handle);
        communicator.EndGroup();
        stream.Synchronize();
        communicator.ThrowIfFailed();
        to.CopyTo(code);
        Assert.All(code, value => Assert.Equal(last + 1, value));
    });

    [Fact]
    public void GatherScatterBroadcast_TwoRanks_FollowTheirDefinition() => OnEveryRank((communicator, context, stream) =>
    {
        using CudaDeviceVariable<float> one = new(context, 1), all = new(context, Ranks);
        float[] single = [10f + communicator.Rank], both = new float[Ranks];
        one.CopyFrom(single);
        communicator.AllGather((nint)one.Address, (nint)all.Address, 1, NcclType.Float32, stream.Handle);
        communicator.ReduceScatter((nint)all.Address, (nint)one.Address, 1, NcclType.Float32, NcclReduction.Average, stream.Handle);
        communicator.Broadcast((nint)one.Address, (nint)one.Address, 1, NcclType.Float32, root: 1, stream.Handle);
        stream.Synchronize();
        all.CopyTo(both);
        one.CopyTo(single);
        Assert.Equal([10f, 11f], both);
        Assert.Equal(11f, single[0]);
    });

    [Fact]
    public void Send_ToARankThatIsNotThere_NamesCallRankAndReason() => OnEveryRank((communicator, context, stream) =>
    {
        NcclException error = Assert.Throws<NcclException>(() => communicator.Send(0, 1, NcclType.Float32, 7, stream.Handle));
        Assert.Equal($"ncclSend on rank {communicator.Rank} of 2, 1 elements of Float32, failed: invalid argument (4): ncclSend: rank 7 of 2", error.Message);
    });

    [Fact]
    public void Join_WrongIdentity_IsRefused() =>
        Assert.Contains("128 bytes", Assert.Throws<ArgumentException>(() => NcclCommunicator.Join(NcclLibrary.Software, new byte[5], 0, 1)).Message, StringComparison.Ordinal);

    [Fact]
    public void RealLibrary_Absent_SaysWhatWasTriedAndTheFix()
    {
        if (NcclLibrary.Real.NotSupportedReason is not { } reason)
        {
            Assert.Skip("NCCL is on this machine");
            return;
        }

        Assert.Contains("libnccl.so.2 was not found (tried ", reason, StringComparison.Ordinal);
        Assert.Contains("fix: install NCCL 2.13 or later", reason, StringComparison.Ordinal);
        Assert.Equal(reason, Assert.Throws<PlatformNotSupportedException>(() => NcclCommunicator.CreateIdentity(NcclLibrary.Real)).Message);
    }

    static void OnEveryRank(Action<NcclCommunicator, CudaContext, CudaStream> body)
    {
        foreach (string? reason in (string?[])[CudaLibraries.Software.NotSupportedReason, NcclLibrary.Software.NotSupportedReason])
        {
            if (reason is not null)
            {
                Assert.Skip(reason);
            }
        }

        byte[] identity = NcclCommunicator.CreateIdentity(NcclLibrary.Software);
        Exception?[] errors = new Exception?[Ranks];
        Thread[] ranks = [.. Enumerable.Range(0, Ranks).Select(rank => new Thread(() =>
        {
            try
            {
                using CudaContext context = CudaContext.Open($"softcuda:{rank}");
                using CudaStream stream = new(context);
                context.Enter();
                using NcclCommunicator communicator = NcclCommunicator.Join(NcclLibrary.Software, identity, rank, Ranks);
                body(communicator, context, stream);
            }
            catch (Exception error)
            {
                errors[rank] = error;
            }
        }))];
        Array.ForEach(ranks, thread => thread.Start());
        Array.ForEach(ranks, thread => Assert.True(thread.Join(TimeSpan.FromSeconds(60)), "a rank hangs"));
        Assert.All(errors, Assert.Null);
    }
}
