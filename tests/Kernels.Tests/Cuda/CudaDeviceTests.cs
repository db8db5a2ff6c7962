// The device as the engine sees it, on the software device: copies beside the computation, recording, staging, memory.
using System.Diagnostics;
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public sealed unsafe class CudaDeviceTests : IDisposable
{
    readonly CudaDevice _device;

    public CudaDeviceTests()
    {
        SoftwareCuda.SkipIfAbsent();
        _device = new CudaDevice("softcuda:0");
    }

    Tensor Filled(int rows, int columns, float value)
    {
        Tensor tensor = new(_device.Allocate(4L * rows * columns, "a test"), ElementType.Float32, rows, columns);
        float[] values = new float[tensor.Count];
        Array.Fill(values, value);
        _device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), tensor.Address);
        return tensor;
    }

    float[] Read(Tensor tensor)
    {
        float[] values = new float[tensor.Count];
        _device.Download(tensor.Address, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    [Fact]
    public void Transfers_WhileAMicrobatchComputes_ArriveAndLeave()
    {
        const int Size = 512, Count = 1024;
        ITransfers transfers = _device.Transfers;
        Tensor a = Filled(Size, Size, 1), c = Filled(Size, Size, 0), code = Filled(1, Count, 3);
        float* incoming = (float*)transfers.AllocateHost(4 * Count, "a test"), outgoing = (float*)transfers.AllocateHost(4 * Count, "a test");
        new Span<float>(incoming, Count).Fill(5);

        for (int i = 0; i < 8; i++)
        {
            // staging buffers are made when they are first used, which waits
            transfers.Arrive((nint)incoming, 4 * Count);
            transfers.Departing((nint)outgoing, 4 * Count);
        }

        // the first microbatch packs its code, the second starts to compute, and its successor's code comes
        nint packed = transfers.Departing((nint)outgoing, 4 * Count);
        _device.Ops.Copy(code, new Tensor(packed, ElementType.Float32, 1, Count));
        transfers.Depart(packed, (nint)outgoing, 4 * Count);
        long left = transfers.Mark();
        for (int i = 0; i < 60; i++)
        {
            _device.Ops.MatrixProduct(a, false, a, false, c, 1, 0);
        }

        nint arrived = transfers.Arrive((nint)incoming, 4 * Count);
        long began = Stopwatch.GetTimestamp();
        while (!transfers.IsReached(left) && Stopwatch.GetElapsedTime(began).TotalSeconds < 60)
        {
            Thread.Yield();
        }

        Assert.Equal(3, outgoing[Count - 1]);
        Assert.True(_device.IsComputing, "the products ended before the code had left: it did not leave beside them");
        float landed = 0;
        while (landed != 5 && _device.IsComputing)
        {
            // a software device's memory is this process's: a look that no call orders, and that no call would be allowed to take
            landed = Volatile.Read(ref *(float*)arrived);
        }

        Assert.Equal(5, landed);
        Assert.True(_device.IsComputing, "the products ended before the code had arrived: it did not come beside them");
        _device.Synchronize();
        Assert.Equal(Size, Read(c)[7]);
        transfers.FreeHost((nint)incoming);
        transfers.FreeHost((nint)outgoing);
        Array.ForEach([a, c, code], tensor => _device.Free(tensor.Address));
    }

    [Fact]
    public void Mark_Reached_IsToldWithoutBeingAskedFor()
    {
        const int Size = 256;
        Tensor a = Filled(Size, Size, 1), c = Filled(Size, Size, 0);
        _device.Ops.MatrixProduct(a, false, a, false, c, 1, 0);
        _device.Synchronize();
        using SemaphoreSlim reached = new(0);
        _device.Transfers.Reached = () => reached.Release();
        CudaLibraries.Software.Driver.softTrace(1);
        long[] marks = new long[3];
        for (int i = 0; i < marks.Length; i++)
        {
            _device.Ops.MatrixProduct(a, false, a, false, c, 1, 1);
            marks[i] = _device.Transfers.Mark();
        }

        foreach (long mark in marks)
        {
            Assert.True(reached.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken), $"mark {mark} was not told");
        }

        // nobody asked or waited for the device
        Assert.DoesNotContain("!", Marshal.PtrToStringUTF8((nint)CudaLibraries.Software.Driver.softTrace(0)), StringComparison.Ordinal);
        Assert.All(marks, mark => Assert.True(_device.Transfers.IsReached(mark)));
        _device.Transfers.Reached = null;
        Array.ForEach([a, c], tensor => _device.Free(tensor.Address));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Transfers_ManyThroughFewBuffers_KeepEveryPayload(bool arrivedLeavesToo)
    {
        const int Count = 257, Payloads = 40, Size = 256;
        ITransfers transfers = _device.Transfers;
        Tensor busy = Filled(Size, Size, 0);
        float* host = (float*)transfers.AllocateHost(4 * Count * Payloads, "a test"), back = (float*)transfers.AllocateHost(4 * Count * Payloads, "a test");
        for (int i = 0; i < Payloads; i++)
        {
            new Span<float>(host + (i * Count), Count).Fill(i);
            Tensor arrived = new(transfers.Arrive((nint)(host + (i * Count)), 4 * Count), ElementType.Float32, 1, Count);
            Tensor departing = new(transfers.Departing((nint)(back + (i * Count)), 4 * Count), ElementType.Float32, 1, Count);
            // copies run ahead of the computation wherever nothing holds them back
            _device.Ops.MatrixProduct(busy, false, busy, false, busy, 1, 1);
            _device.Ops.Scale(arrived, 2);
            _device.Ops.Copy(arrived, departing);
            transfers.Depart(departing.Address, (nint)(back + (i * Count)), 4 * Count);
            if (arrivedLeavesToo)
            {
                transfers.Depart(arrived.Address, (nint)(host + (i * Count)), 4 * Count);
            }
        }

        transfers.Wait(transfers.Mark());
        float[] sent = [.. Enumerable.Range(0, Payloads * Count).Select(i => (float)(i / Count))];
        Assert.Equal(Array.ConvertAll(sent, value => (arrivedLeavesToo ? 2 : 1) * value), new Span<float>(host, sent.Length).ToArray());
        Assert.Equal(Array.ConvertAll(sent, value => 2 * value), new Span<float>(back, sent.Length).ToArray());
        _device.Free(busy.Address);
        transfers.FreeHost((nint)host);
        transfers.FreeHost((nint)back);
    }

    [Fact]
    public void Upload_MoreThanTheRingHolds_LosesNothing()
    {
        const int Count = 100_000, Uploads = 12;
        Tensor all = new(_device.Allocate(4L * Count * Uploads, "a test"), ElementType.Float32, Uploads, Count);
        float[] values = new float[Count];
        for (int i = 0; i < Uploads; i++)
        {
            Array.Fill(values, i);
            _device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), all.RowRange(i, 1).Address);
        }

        Assert.Equal(Enumerable.Range(0, Uploads).Select(i => (float)i), Enumerable.Range(0, Uploads).Select(i => Read(all.RowRange(i, 1))[Count - 1]));
        _device.Free(all.Address);
    }

    [Fact]
    public void Record_RunMany_DoesTheWorkEachTimeAndReplaysFromTheThird()
    {
        Tensor x = Filled(3, 5, 1);
        int calls = 0;
        using (IRecordedWork work = _device.Record(() =>
               {
                   calls++;
                   _device.Ops.Scale(x, 2);
               }))
        {
            for (int i = 0; i < 5; i++)
            {
                work.Run();
            }
        }

        Assert.Equal(2, calls);
        Assert.Equal(4, _device.GraphLaunches);
        Assert.Equal(32, Read(x)[14]);
        _device.Free(x.Address);
    }

    [Fact]
    public void Record_WorkThatThrowsWhileRecorded_LeavesTheDeviceUsable()
    {
        Tensor x = Filled(3, 5, 1);
        int calls = 0;
        using IRecordedWork work = _device.Record(() =>
        {
            _device.Ops.Scale(x, 2);
            if (++calls == 2)
            {
                throw new InvalidOperationException("planted");
            }
        });
        work.Run();
        Assert.Equal("planted", Assert.Throws<InvalidOperationException>(work.Run).Message);
        work.Run();
        Assert.Equal(4, Read(x)[0]);
        _device.Free(x.Address);
    }

    [Fact]
    public void Record_WorkspaceGrowsAfterwards_TheGraphKeepsItsOwn()
    {
        Tensor small = Filled(1, 100, 1), large = Filled(40, 16384, 1);
        Tensor sums = new(_device.Allocate(16, "a test"), ElementType.Float64, 1, 2);
        using (IRecordedWork work = _device.Record(() => _device.Ops.Sum(small, sums, 0)))
        {
            work.Run();
            work.Run();
            _device.Ops.Sum(large, sums, 1);
            work.Run();
        }

        double[] found = new double[2];
        _device.Download(sums.Address, MemoryMarshal.AsBytes(found.AsSpan()));
        Assert.Equal([100, 40 * 16384], found);
        Array.ForEach([small, large, sums], tensor => _device.Free(tensor.Address));
    }

    [Fact]
    public void Allocate_MoreThanThereIs_NamesPurposeAndBytes()
    {
        string message = Assert.Throws<InsufficientMemoryException>(() => _device.Allocate(1L << 50, "activations of a planet")).Message;
        Assert.Contains("activations of a planet needs 1125899906.8 MB; softcuda:0 has ", message, StringComparison.Ordinal);
    }

    public void Dispose() => _device?.Dispose();
}
