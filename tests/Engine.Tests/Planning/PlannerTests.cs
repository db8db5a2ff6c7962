// What a plan says, against values worked out by hand, against the code that refuses peers, and against the devices themselves.
// Peers compute for as long as the test says, so that times can be predicted on paper.
using System.Text.Json.Nodes;
using OrionNative.Engine.Cli;
using OrionNative.Engine.Cli.Link;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Planning;
using OrionNative.Kernels.Cuda;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Tests.Planning;

public class PlannerTests
{
    const long Plenty = 1L << 50;

    static readonly RunConfig _config = new()
    {
        Model = "tiny",
        Stages = 2,
        Microbatches = 16,
        MicrobatchSize = 4,
        Sequence = 128,
        CodeWidth = 8,
        AnchorRank = 16,
    };

    sealed class FixedSpeed(IDeviceSizes sizes, double forward, double backward, double sum = 0.001, double apply = 0.002) : IPeerSpeed
    {
        public IDeviceSizes Sizes => sizes;

        public double PeakFlops => 1e12;

        public string Source => "the test";

        public StageSeconds Of(StageRange range) => new(forward, backward, sum, apply);
    }

    static PlannedRun Planned(RunConfig config, int? vocabulary = null) => new(ResolvedRun.WithoutData(config, vocabulary));

    static RunPlan Plan(RunConfig config, string link = "orion", double forward = 0.02, double backward = 0.04, long memory = Plenty, int atOnce = 0)
    {
        using CpuDevice device = new(1);
        LinkProfile profile = LinkWords.Profile(link);
        return Planner.Of(Planned(config), new PeerAssumptions(new FixedSpeed(device, forward, backward), memory, "the test", profile, link, atOnce));
    }

    // ---- FLOP ----

    [Fact]
    public void Flop_OfTwoStagesOfTiny_IsTheSumWrittenOut()
    {
        // a block: q, k, v, o of 128 x 128, gate, up and down of 128 x 352; attention 6*H*D*T
        const double Block = (4 * 128 * 128) + (3 * 128 * 352), Attention = 6.0 * 4 * 32 * 128;
        const double Sender = 8 * 128, Receiver = (8 * 128) + (16 * 128), Head = 256 * 128;
        const double Tokens = 4 * 128;
        PlannedRun run = Planned(_config);
        Assert.Equal(Tokens * ((6 * ((2 * Block) + Sender)) + (2 * Attention)), run.FlopOf(new StageRange(0, 2, 4)));
        Assert.Equal(Tokens * ((6 * ((2 * Block) + Receiver + Head)) + (2 * Attention)), run.FlopOf(new StageRange(2, 4, 4)));
    }

    [Theory]
    [InlineData(BoundaryKind.Anchored)]
    [InlineData(BoundaryKind.Resbm)]
    [InlineData(BoundaryKind.None)]
    public void Stages_OfAnyBoundary_AddUpToTheModel(BoundaryKind boundary)
    {
        RunPlan plan = Plan(_config with { Stages = 4, Boundary = boundary });
        Assert.Equal(plan.Run.Model.Parameters, plan.Stages.Sum(stage => stage.Parameters));
        Assert.Equal(plan.FlopPerStep, 16 * plan.Stages.Sum(stage => stage.FlopPerMicrobatch), plan.FlopPerStep * 1e-12);
    }

    // ---- memory ----

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Memory_OfEveryStage_IsWhatThePeerLaysOutAndLooksFor(int replicas)
    {
        RunConfig config = _config with { Stages = 4, Replicas = replicas, Boundary = BoundaryKind.None };
        RunPlan plan = Plan(config);
        using CpuDevice device = new(1);
        for (int i = 0; i < 4; i++)
        {
            // slots: the stages from here to the end, six of slack, one that is replayed
            MemoryPlan worker = StageWorker.Plan(plan.Run.Model, plan.Stages[i].Range, plan.Run.Config, device, 4 - i + 6 + 1);
            Assert.Equal(worker, plan.Stages[i].Memory);
            long others = (replicas - 1) * (worker.Gradients / 2);
            Assert.Equal(worker.Total + PeerWork.PoolBytes(plan.Run.Model, plan.Run.Config) + others, plan.Stages[i].NeededBytes);
            Assert.True(plan.Stages[i].AskedBytes >= plan.Stages[i].NeededBytes);
        }
    }

    [Fact]
    public void Memory_OfOneProcess_IsTheTrainers()
    {
        using CpuDevice device = new(1);
        RunPlan plan = Plan(_config with { Stages = 1 });
        Assert.Equal(Trainer.Plan(plan.Run.Model, plan.Run.Config, device).Total, Assert.Single(plan.Stages).NeededBytes);
    }

    [Theory]
    [InlineData(OptimizerKind.AdamW, RecomputeKind.None, OffloadKind.None)]
    [InlineData(OptimizerKind.Muon, RecomputeKind.Block, OffloadKind.All)]
    public void Memory_OfACardOnPaper_IsThatOfTheSoftwareCard(OptimizerKind optimizer, RecomputeKind recompute, OffloadKind offload)
    {
        RunConfig config = _config with { Optimizer = optimizer, Recompute = recompute, Offload = offload };
        PlannedRun run = Planned(config);
        StageRange range = new(2, 4, 4);
        try
        {
            using IDevice device = Devices.Open("softcuda:0", 1);
            Assert.Equal(StageWorker.Plan(run.Model, range, run.Config, device, 3), StageWorker.Plan(run.Model, range, run.Config, new CudaOnPaper("a card"), 3));
        }
        catch (PlatformNotSupportedException missing)
        {
            Assert.Skip(missing.Message);
        }
    }

    [Theory]
    [InlineData(OptimizerKind.AdamW)]
    [InlineData(OptimizerKind.Muon)]
    public void Checkpoint_OfAStage_HasTheBytesOfItsStateTensors(OptimizerKind optimizer)
    {
        PlannedRun run = Planned(_config with { Optimizer = optimizer });
        StageRange range = new(0, 2, 4);
        using CpuDevice device = new(1);
        using ParameterSet parameters = new(run.Model, range, device, gradients: true);
        using Optimizer real = new(parameters, run.Config, scale: default);
        Assert.Equal(StateTensor.All(parameters, real).Sum(tensor => 4 * tensor.Count), run.StateBytesOf(range));
    }

    [Fact]
    public void Memory_TooLittle_IsRefusedWithAChangeThatFits()
    {
        RunPlan plenty = Plan(_config);
        long offered = plenty.Stages.Max(stage => stage.NeededBytes) - 1;
        RunPlan plan = Plan(_config, memory: offered);
        PlanWarning warning = Assert.Single(plan.Warnings, warning => warning.Kind == "memory");
        Assert.Contains("it would be refused", warning.Text);
        Assert.StartsWith("--recompute block", warning.Fix);
        RunPlan mended = Plan(_config with { Recompute = RecomputeKind.Block }, memory: offered);
        Assert.DoesNotContain(mended.Warnings, warning => warning.Kind == "memory");
    }

    [Fact]
    public void Memory_FarTooLittle_SaysThatNothingFits() =>
        Assert.Contains("no change that was tried fits", Assert.Single(Plan(_config, memory: 100_000).Warnings, warning => warning.Kind == "memory").Fix);

    // ---- bytes ----

    [Fact]
    public void Bytes_OfABoundary_AreCodesIdsAndHeaders()
    {
        RunPlan plan = Plan(_config with { Replicas = 2 });
        // 4 x 128 tokens of 8 bf16 values; 4 x 129 ids of one byte; a header of 112
        const long Forward = (512 * 8 * 2) + (4 * 129) + 112, Back = (512 * 8 * 2) + 112;
        Assert.Equal((Forward, Back), (plan.Run.ForwardBytes, plan.Run.BackBytes));
        Assert.Equal(2 * 512 * 128, plan.Run.FullBytes);
        // half of the microbatches each; a share of four bytes a parameter to the other replica
        Assert.InRange(plan.Stages[0].SentBytes - (8 * Forward), 4.0 * plan.Stages[0].Parameters, (4.0 * plan.Stages[0].Parameters) + 8192);
        Assert.Equal(plan.Stages[0].SentBytes - (8 * Forward) + (8 * 4 * 129) + (8 * Back), plan.Stages[0].ReceivedBytes, 1e-6);
    }

    // ---- time ----

    [Fact]
    public void Step_OfOneProcess_IsItsMicrobatchesAndTheOptimizer() =>
        Assert.Equal((16 * 0.06) + 0.002, Plan(_config with { Stages = 1 }).Step.Step, 1e-9);

    [Fact]
    public void Step_OfFourStagesFarApart_IsWorkPipelineAndFourDelays()
    {
        RunPlan plan = Plan(_config with { Stages = 4, Microbatches = 64 });
        Assert.True(plan.Step.IsSimulated, plan.Step.Trouble);
        const double Delay = 0.0225, Work = 64 * 0.06, Fill = (3 * 0.06) + (6 * Delay), Closing = (4 * Delay) + 0.003;
        Assert.Equal(Work, plan.Step.Compute, 1e-9);
        Assert.InRange(plan.Step.Closing, Closing, Closing + (0.5 * Delay));
        // no schedule is faster; status messages come every quarter of a second, and a microbatch may wait for one at each end
        Assert.InRange(plan.Step.Step, Work + Fill + Closing, Work + Fill + Closing + 0.5);
        Assert.Equal(Work / plan.Step.Step, plan.Efficiency, 1e-9);
        Assert.Equal(plan.FlopPerStep / plan.Step.Step / 4e12, plan.Mfu, 1e-9);
    }

    [Fact]
    public void Step_WithReplicas_NeedsHalfTheTimeAndTheirShares()
    {
        RunConfig config = _config with { Stages = 4, Microbatches = 128 };
        RunPlan one = Plan(config), two = Plan(config with { Replicas = 2 }, "orion"), slow = Plan(config with { Replicas = 2 }, "4mbit,45ms");
        Assert.InRange(two.Step.Step, 0.5 * one.Step.Step, 0.65 * one.Step.Step);
        double share = slow.Stages.Max(stage => stage.ShareBytes) / 0.5e6;
        Assert.InRange(slow.Step.Closing, share, 1.1 * share + 0.2);
        Assert.Contains(slow.Warnings, warning => warning.Kind == "shares");
    }

    [Fact]
    public void Step_OverANarrowLink_IsTheLinks()
    {
        RunConfig config = _config with { Stages = 4, Boundary = BoundaryKind.None };
        RunPlan plan = Plan(config, "10mbit,20ms");
        // a peer in the middle sends a full activation on and a full gradient back
        double wire = 16 * (plan.Run.ForwardBytes + plan.Run.BackBytes) / 1.25e6;
        Assert.True(plan.Step.IsSimulated, plan.Step.Trouble);
        Assert.InRange(plan.Step.Step, 0.9 * wire, 1.5 * wire);
        PlanWarning link = Assert.Single(plan.Warnings, warning => warning.Kind == "link");
        Assert.Contains("--boundary anchored", link.Fix);
        Assert.DoesNotContain(Plan(_config with { Stages = 4 }, "10mbit,20ms").Warnings, warning => warning.Kind == "link");
    }

    [Fact]
    public void Step_OnSharedProcessors_IsAllTheirWork()
    {
        RunPlan plan = Plan(_config with { Stages = 4, Microbatches = 32 }, "perfect", atOnce: 2);
        const double Work = 32 * 4 * 0.06 / 2;
        Assert.InRange(plan.Step.Step, Work, 1.2 * Work);
        Assert.Equal(Work / plan.Step.Step, plan.Efficiency, 1e-9);
    }

    [Fact]
    public void Bubble_OfFewMicrobatches_IsNamedWithANumberThatHelps()
    {
        RunConfig config = _config with { Stages = 4, Microbatches = 8 };
        PlanWarning bubble = Assert.Single(Plan(config).Warnings, warning => warning.Kind == "bubble");
        int wanted = int.Parse(bubble.Fix.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);
        RunPlan mended = Plan(config with { Microbatches = wanted });
        Assert.InRange(mended.Step.Waiting / mended.Step.Step, 0.05, 0.22);
    }

    [Theory]
    [InlineData(40.0, "orion", "passes for hung")]
    [InlineData(0.02, "0.2kbit,20ms", "is suspected, though it is the link")]
    public void Patience_OfTheRun_IsNamedWhereItWouldEnd(double forward, string link, string expected) =>
        Assert.Contains(Plan(_config, link, forward, 2 * forward).Warnings, warning => warning.Kind == "patience" && warning.Text.Contains(expected));

    [Fact]
    public void Vocabulary_OfTheByteTokenizer_IsNamedForAModelMadeForMore()
    {
        RunPlan plan = Plan(_config with { Model = "30m" });
        Assert.Contains("--vocabulary 4096", Assert.Single(plan.Warnings, warning => warning.Kind == "vocabulary").Fix);
        Assert.Equal(4096, Planned(_config with { Model = "30m" }, 4096).Model.Vocabulary);
    }

    // ---- what people and programs read ----

    [Theory]
    [InlineData("tiny", 1, 1, BoundaryKind.None, 1L << 50)]
    [InlineData("tiny", 4, 3, BoundaryKind.Anchored, 1L << 50)]
    [InlineData("orion-100b", 16, 3, BoundaryKind.Resbm, 80_000_000_000)]
    [InlineData("8b", 32, 1, BoundaryKind.None, 1_000_000)]
    public void Report_OfAnyRun_FitsEightyColumnsAndNamesEveryStage(string model, int stages, int replicas, BoundaryKind boundary, long memory)
    {
        RunPlan plan = Plan(_config with { Model = model, Stages = stages, Replicas = replicas, Boundary = boundary, AnchorRank = 0 }, memory: memory);
        using StringWriter text = new();
        PlanReport.Print(plan, text);
        string[] lines = text.ToString().Split(text.NewLine);
        Assert.Equal([], lines.Where(line => line.Length > 80));
        Assert.DoesNotContain(lines, line => line.Contains("NaN") || line.Contains('\e') || line.EndsWith(' '));
        Assert.Equal(memory < 1L << 40, lines.Any(line => line.EndsWith(" !", StringComparison.Ordinal)));
        JsonObject json = PlanJson.Of(plan);
        Assert.Equal(stages, json["stages"]!.AsArray().Count);
        Assert.Equal(memory >= 1L << 40, (bool)json["fits"]!);
        Assert.Equal(plan.Step.Step, (double)json["step"]!["seconds"]!);
    }
}
