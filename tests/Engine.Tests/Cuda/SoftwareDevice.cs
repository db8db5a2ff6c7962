// The software CUDA device as the engine's tests open it, and models small enough for it.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Tests.Cuda;

static class SoftwareDevice
{
    /// <summary>Opens softcuda:0, or skips the test with the reason and the fix.</summary>
    public static CudaDevice Open()
    {
        if (CudaLibraries.Software.NotSupportedReason is { } reason)
        {
            Assert.Skip(reason);
        }

        return new CudaDevice("softcuda:0");
    }

    /// <summary>Two blocks, grouped queries, a vocabulary that is no multiple of eight; with codes a boundary in the middle.</summary>
    public static ModelConfig Model(BoundaryKind kind = BoundaryKind.None) => new()
    {
        Vocabulary = 67,
        Width = 64,
        Layers = 2,
        QueryHeads = 4,
        KeyValueHeads = 2,
        HeadWidth = 32,
        FeedForward = 104,
        Context = 40,
        Boundary = kind,
        CodeWidth = kind == BoundaryKind.None ? 0 : 16,
        Boundaries = kind == BoundaryKind.None ? [] : [1],
    };

    public static RunConfig Run(OptimizerKind optimizer = OptimizerKind.AdamW, int microbatches = 2) => new()
    {
        Optimizer = optimizer,
        LearningRate = 3e-3,
        Steps = 10,
        Warmup = 2,
        Microbatches = microbatches,
        MicrobatchSize = 2,
        Sequence = 12,
        Wire = WireFormat.Float32,
        Seed = 7,
    };
}

[CollectionDefinition("softcuda", DisableParallelization = true)]
public sealed class SoftwareDeviceCollection;
