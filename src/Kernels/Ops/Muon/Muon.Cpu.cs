// Muon on the CPU: the Newton-Schulz products run through MatrixProduct, the rest is one pass over the matrix each.
// Scratch holds X and its successor [small, large] and two [small, small] matrices, small being the lesser side.
// The norm is summed in double in index order, so the bits do not depend on the number of threads.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int NewtonSchulzSteps = 5;
    const float NewtonSchulzA = 3.4445f, NewtonSchulzB = -4.7750f, NewtonSchulzC = 2.0315f;

    /// <inheritdoc cref="IScratchSizes.MuonBytes"/>
    public long MuonBytes(int rows, int columns)
    {
        long small = Math.Min(rows, columns), large = Math.Max(rows, columns);
        return sizeof(float) * ((2 * small * large) + (2 * small * small));
    }

    /// <inheritdoc/>
    public void SetMuon(MuonStep step, nint settings) => *(MuonStep*)settings = step;

    /// <inheritdoc cref="IOps.Muon"/>
    public void Muon(Tensor weight, Tensor low, Tensor gradient, Tensor momentum, nint settings, Tensor scale, nint scratch)
    {
        MuonStep step = *(MuonStep*)settings;
        if (!low.IsEmpty || weight.Type != ElementType.Float32)
        {
            throw new ArgumentException($"Muon on the CPU keeps weights in Float32 without a low half; found {weight} and low {low}");
        }

        Shape.Is(scale, ElementType.Float32, 1, 1);
        float gradientScale = *(float*)scale.Address;
        if (gradientScale < 0)
        {
            return;
        }

        int rows = weight.Rows, columns = weight.Columns, small = Math.Min(rows, columns), large = Math.Max(rows, columns);
        bool tall = rows > columns;
        Tensor x = new(scratch, ElementType.Float32, small, large);
        Tensor next = new(scratch + (nint)x.Bytes, ElementType.Float32, small, large);
        Tensor gram = new(next.Address + (nint)next.Bytes, ElementType.Float32, small, small);
        Tensor polynomial = new(gram.Address + (nint)gram.Bytes, ElementType.Float32, small, small);

        double squares = 0;
        for (int i = 0; i < rows; i++)
        {
            float* g = (float*)gradient.Address + ((long)i * gradient.Stride), m = (float*)momentum.Address + ((long)i * momentum.Stride);
            for (int j = 0; j < columns; j++)
            {
                float scaled = g[j] * gradientScale;
                m[j] = float.FusedMultiplyAdd(step.Momentum, m[j], scaled);
                float update = float.FusedMultiplyAdd(step.Momentum, m[j], scaled);
                squares += (double)update * update;
                ((float*)x.Address)[tall ? ((long)j * large) + i : ((long)i * large) + j] = update;
            }
        }

        float unit = (float)(1 / (Math.Sqrt(squares) + 1e-7));
        foreach (ref float value in new Span<float>((float*)x.Address, checked((int)x.Count)))
        {
            value *= unit;
        }

        for (int i = 0; i < NewtonSchulzSteps; i++)
        {
            MatrixProduct(x, false, x, true, gram, 1, 0);
            Buffer.MemoryCopy((void*)gram.Address, (void*)polynomial.Address, polynomial.Bytes, gram.Bytes);
            MatrixProduct(gram, false, gram, false, polynomial, NewtonSchulzC, NewtonSchulzB);
            Buffer.MemoryCopy((void*)x.Address, (void*)next.Address, next.Bytes, x.Bytes);
            MatrixProduct(polynomial, false, x, false, next, 1, NewtonSchulzA);
            (x, next) = (next, x);
        }

        float keep = 1 - (step.LearningRate * step.WeightDecay), rate = step.LearningRate * 0.2f * MathF.Sqrt(large);
        for (int i = 0; i < rows; i++)
        {
            float* w = (float*)weight.Address + ((long)i * weight.Stride);
            for (int j = 0; j < columns; j++)
            {
                float direction = ((float*)x.Address)[tall ? ((long)j * large) + i : ((long)i * large) + j];
                w[j] = (w[j] * keep) - (rate * direction);
            }
        }
    }
}
