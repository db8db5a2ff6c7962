// What a peer must offer for a stage, known before it starts: weights, both gradients, optimizer state, the activations of every
// microbatch in flight, scratch, packed panels and the slots of payloads.
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Pipeline;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Tests.Swarm;

public class StageNeedTests
{
    static readonly RunConfig _run = new() { Stages = 2, MicrobatchSize = 4, Sequence = 128, Microbatches = 32, Boundary = BoundaryKind.None };
    static readonly ModelConfig _model = ModelPresets.Get("30m") with { Vocabulary = 2048 };

    static long Needed(RunConfig run, StageSlice slice) => RunSegments.Costs(_model, run).Bytes(slice);

    [Fact]
    public void Need_OfEveryCut_CoversTheWorkersOwnPlanAndItsSlots()
    {
        using IDevice device = Devices.Open("cpu", 1);
        ModelCosts costs = RunSegments.Costs(_model, _run);
        for (int cut = 1; cut < _model.Layers; cut++)
        {
            StageSlice[] slices = [new(0, cut), new(cut, _model.Layers - cut)];
            for (int stage = 0; stage < slices.Length; stage++)
            {
                StageRange range = RunSegments.Range(_model, slices[stage]);
                int slots = RunSegments.WorkerSlots(RunSegments.ScheduleOf(_model, _run), stage);
                long exact = StageWorker.Plan(_model, range, _run, device, slots).Total + PeerWork.PoolBytes(_model, _run);
                Assert.InRange(costs.Bytes(slices[stage]), exact, exact + (exact / 4));   // one slot in nine more, and inner boundaries twice
            }
        }
    }

    // weights and activations of a card have two bytes, and its memory holds no buffers of messages
    [Fact]
    public void Need_OnACard_CoversItsOwnPlanAndLittleMore()
    {
        CudaOnPaper card = new("a card");
        RunConfig run = _run with { Replicas = 3 };
        ModelCosts costs = RunSegments.Costs(_model, run);
        for (int cut = 1; cut < _model.Layers; cut++)
        {
            StageSlice[] slices = [new(0, cut), new(cut, _model.Layers - cut)];
            for (int stage = 0; stage < slices.Length; stage++)
            {
                int slots = RunSegments.WorkerSlots(RunSegments.ScheduleOf(_model, run), stage);
                long exact = StageWorker.Plan(_model, RunSegments.Range(_model, slices[stage]), run, card, slots).Total;
                Assert.InRange(costs.Bytes(slices[stage], isApart: true), exact, exact + (exact / 4));
                Assert.InRange(costs.Bytes(slices[stage], isApart: true), 1, costs.Bytes(slices[stage]) - PeerWork.PoolBytes(_model, run));
            }
        }
    }

    [Fact]
    public void Cut_ForCardsAndOthers_ObeysEachPeersOwnNeed()
    {
        ModelCosts costs = new([1, 1, 1, 1], [8, 8, 8, 8], 0, 0, 0, 0) { Apart = ([4, 4, 4, 4], 0) };
        StageCapacity none = new(0, long.MaxValue);
        Assert.True(StageCut.TryCut(costs, [none.With(1, 8, isApart: false), none.With(1, 12, isApart: true)], out StageSlice[] slices, out _));
        Assert.Equal([new StageSlice(0, 1), new StageSlice(1, 3)], slices);
        Assert.False(StageCut.TryCut(costs, [none.With(1, 8, isApart: false), none.With(1, 11, isApart: true)], out _, out string reason));
        Assert.Contains("offer 0.02 kB", reason);
        Assert.True(StageCut.TryCut(costs, [none.With(1, 16, isApart: false).With(1, 8, isApart: true), none.With(1, 8, isApart: true)], out slices, out _));
        Assert.Equal(2, slices[0].BlockCount);
    }

    // a code that stays within a stage is packed and unpacked there: one more buffer than any of its pieces has
    [Fact]
    public void Need_OfAStageOfSeveralPieces_CoversTheCodesWithin()
    {
        ModelConfig model = _model with { Boundary = BoundaryKind.Resbm, CodeWidth = 512, Boundaries = [2, 4, 6] };
        RunConfig run = _run with { Stages = 2, Wire = WireFormat.BFloat16, MicrobatchSize = 64 };
        using IDevice device = Devices.Open("cpu", 1);
        ModelCosts costs = RunSegments.Costs(model, run);
        StageSlice[] slices = [new(0, 2), new(2, 2)];
        for (int stage = 0; stage < slices.Length; stage++)
        {
            int slots = RunSegments.WorkerSlots(RunSegments.ScheduleOf(model, run), stage);
            long scratch = StageWorker.Plan(model, RunSegments.Range(model, slices[stage]), run, device, slots).Scratch;
            Assert.InRange(costs.SharedBytes - PeerWork.PoolBytes(model, run), scratch, long.MaxValue);
        }

        long whole = StageWorker.Plan(model, StageRange.Whole(model), run, device, 1).Scratch;
        long exact = StageWorker.Plan(model, StageRange.Whole(model), run with { Wire = WireFormat.Float32 }, device, 1).Scratch;
        Assert.Equal(CodeWire.Bytes(WireFormat.BFloat16, 64 * 128, 512), whole - exact);
    }

    [Fact]
    public void Need_WithLargerMicrobatches_GrowsByTheirActivations()
    {
        StageSlice half = new(0, _model.Layers / 2);
        using IDevice device = Devices.Open("cpu", 1);
        RunConfig larger = _run with { MicrobatchSize = 8 };
        int slots = RunSegments.WorkerSlots(RunSegments.ScheduleOf(_model, _run), 0);
        long grown = slots * (StageWorker.Plan(_model, RunSegments.Range(_model, half), larger, device, 1).Slot - StageWorker.Plan(_model, RunSegments.Range(_model, half), _run, device, 1).Slot);
        Assert.True(Needed(larger, half) - Needed(_run, half) >= grown, $"{Needed(_run, half)} and {Needed(larger, half)}: {grown} bytes of activations are not counted");
        Assert.True(Needed(_run with { Recompute = RecomputeKind.Block }, half) < Needed(_run, half));
    }

    [Fact]
    public void Need_ParametersAlone_AreNotEnough()
    {
        long parameters = 20 * _model.Parameters;
        Assert.True(Needed(_run, new StageSlice(0, _model.Layers)) > parameters + PeerWork.PoolBytes(_model, _run));
    }
}
