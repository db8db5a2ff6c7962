// Muon on CUDA: momentum, direction and weights are a pass each (muon.cu), the Newton-Schulz products run in bf16 with fp32 sums, as
// the method was published. Scratch holds X and its successor [small, large], two [small, small] matrices, |u|^2 and its partial sums.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string MuonSource = "muon.cu";
    const int NewtonSchulzSteps = 5;
    const float NewtonSchulzA = 3.4445f, NewtonSchulzB = -4.7750f, NewtonSchulzC = 2.0315f;
    const int MuonChunk = 16384, MuonTile = 32;
    const int ScratchAlignment = 256;

    CudaKernel? _muonMomentum, _muonDirection, _muonUpdate;

    /// <summary>As muon.cu reads them.</summary>
    struct MuonSettings
    {
        public float LearningRate, Momentum, WeightDecay;
    }

    /// <summary>Where the parts of the scratch memory lie, as offsets from its start.</summary>
    readonly record struct MuonScratch(nint Next, nint Gram, nint Polynomial, nint Squares, nint Partial, long Bytes);

    /// <inheritdoc cref="IScratchSizes.MuonBytes"/>
    public long MuonBytes(int rows, int columns) => MuonScratchBytes(rows, columns);

    /// <summary>The same, without a device.</summary>
    public static long MuonScratchBytes(int rows, int columns) => ScratchOf(rows, columns).Bytes;

    /// <inheritdoc cref="IOps.SetMuon"/>
    public void SetMuon(MuonStep step, nint settings)
    {
        MuonSettings numbers = new()
        {
            LearningRate = step.LearningRate,
            Momentum = step.Momentum,
            WeightDecay = step.WeightDecay,
        };
        _staging.Upload(MemoryMarshal.AsBytes(new ReadOnlySpan<MuonSettings>(in numbers)), settings);
    }

    /// <inheritdoc cref="IOps.Muon"/>
    public void Muon(Tensor weight, Tensor low, Tensor gradient, Tensor momentum, nint settings, Tensor scale, nint scratch)
    {
        int rows = weight.Rows, columns = weight.Columns, small = Math.Min(rows, columns), large = Math.Max(rows, columns);
        Shape.IsType(weight, ElementType.BFloat16);
        Shape.Is(low, ElementType.Low16, rows, columns);
        Shape.Is(gradient, ElementType.Float32, rows, columns);
        Shape.Is(momentum, ElementType.Float32, rows, columns);
        Shape.Is(scale, ElementType.Float32, 1, 1);
        Shape.Holds(weight.IsContiguous && low.IsContiguous && gradient.IsContiguous && momentum.IsContiguous, "tensors without gaps", weight);
        Shape.Holds(rows % Chunk == 0 && columns % Chunk == 0, "rows and columns in multiples of 8", weight);
        ArgumentOutOfRangeException.ThrowIfZero(scratch);
        MuonScratch parts = ScratchOf(rows, columns);
        nint squares = scratch + parts.Squares, partial = scratch + parts.Partial;
        int chunks = DivideUp(weight.Count, MuonChunk);
        LaunchSize tiles = new(DivideUp(columns, MuonTile), DivideUp(rows, MuonTile), 1);

        _muonMomentum ??= Kernel(MuonSource, "muon_momentum");
        _muonMomentum.Launch(_stream, chunks, Threads, 0, gradient, momentum, settings, scale, partial, weight.Count);
        _sumPartials ??= Kernel(ReductionSource, "sum_partials");
        _sumPartials.Launch(_stream, 1, Threads, 0, partial, squares, chunks);
        Tensor x = new(scratch, ElementType.BFloat16, small, large), next = x with { Address = scratch + parts.Next };
        _muonDirection ??= Kernel(MuonSource, "muon_direction");
        _muonDirection.Launch(_stream, tiles, Threads, 0, gradient, momentum, settings, scale, squares, x, rows, columns);
        Tensor gram = new(scratch + parts.Gram, ElementType.BFloat16, small, small), polynomial = gram with { Address = scratch + parts.Polynomial };
        for (int i = 0; i < NewtonSchulzSteps; i++)
        {
            MatrixProduct(x, false, x, true, gram, 1, 0);
            Copy(gram, polynomial);
            MatrixProduct(gram, false, gram, false, polynomial, NewtonSchulzC, NewtonSchulzB);
            Copy(x, next);
            MatrixProduct(polynomial, false, x, false, next, 1, NewtonSchulzA);
            (x, next) = (next, x);
        }

        _muonUpdate ??= Kernel(MuonSource, "muon_update");
        _muonUpdate.Launch(_stream, tiles, Threads, 0, weight, low, x, settings, scale, rows, columns);
    }

    static MuonScratch ScratchOf(int rows, int columns)
    {
        long small = Math.Min(rows, columns), large = Math.Max(rows, columns);
        long x = Aligned(2 * small * large), square = Aligned(2 * small * small), sums = Aligned(sizeof(double));
        long partials = Aligned(sizeof(double) * (long)DivideUp(small * large, MuonChunk));
        long gram = 2 * x, polynomial = gram + square, squares = polynomial + square, partial = squares + sums;
        return new((nint)x, (nint)gram, (nint)polynomial, (nint)squares, (nint)partial, partial + partials);
    }

    static long Aligned(long bytes) => (bytes + ScratchAlignment - 1) / ScratchAlignment * ScratchAlignment;
}
