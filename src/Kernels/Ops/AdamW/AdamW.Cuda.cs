// AdamW on CUDA: the weight is bf16 with its low word beside it, together the exact fp32 master. One pass, four elements a thread.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const int ElementsOfThread = 4;

    CudaKernel? _adamW;

    /// <summary>As adamw.cu reads them.</summary>
    [StructLayout(LayoutKind.Sequential)]
    struct AdamWSettings
    {
        public float LearningRate, Beta1, Beta2, Epsilon, WeightDecay, Correction1, Correction2;
        public uint Step, Tensor;
    }

    /// <inheritdoc cref="IOps.SetAdamW"/>
    public void SetAdamW(AdamWStep step, nint settings)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step.Step, 1);
        AdamWSettings numbers = new()
        {
            LearningRate = step.LearningRate,
            Beta1 = step.Beta1,
            Beta2 = step.Beta2,
            Epsilon = step.Epsilon,
            WeightDecay = step.WeightDecay,
            Correction1 = (float)(1 / (1 - Math.Pow(step.Beta1, step.Step))),
            Correction2 = (float)(1 / (1 - Math.Pow(step.Beta2, step.Step))),
            Step = (uint)step.Step,
        };
        _staging.Upload(MemoryMarshal.AsBytes(new ReadOnlySpan<AdamWSettings>(in numbers)), settings);
    }

    /// <inheritdoc cref="IOps.AdamW"/>
    public void AdamW(Tensor weight, Tensor low, Tensor gradient, Tensor m, Tensor v, nint settings, Tensor scale)
    {
        Shape.IsType(weight, ElementType.BFloat16);
        Shape.Is(low, ElementType.Low16, weight.Rows, weight.Columns);
        Shape.Is(gradient, ElementType.Float32, weight.Rows, weight.Columns);
        Shape.Is(m, ElementType.Float32, weight.Rows, weight.Columns);
        Shape.Is(v, ElementType.Float32, weight.Rows, weight.Columns);
        Shape.Is(scale, ElementType.Float32, 1, 1);
        Shape.Holds(
            weight.IsContiguous && low.IsContiguous && gradient.IsContiguous && m.IsContiguous && v.IsContiguous && weight.Address % 16 == 0,
            "tensors without gaps at multiples of 16 bytes", weight);
        _adamW ??= Kernel("adamw.cu", "adamw");
        _adamW.Launch(_stream, DivideUp(weight.Count, ElementsOfThread * Threads), Threads, 0, weight, low, gradient, m, v, settings, scale, weight.Count);
    }
}
