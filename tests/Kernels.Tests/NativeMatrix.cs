// A matrix in native memory for tests of CPU kernels: seeded random values in [-1, 1), rows spaced by any stride, and the
// gap between rows filled with a mark, so that a kernel that writes outside its view is caught.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Tests;

sealed unsafe class NativeMatrix : IDisposable
{
    const float Mark = 12345.5f;
    readonly float* _values;

    public NativeMatrix(int rows, int columns, int seed, int gap = 0)
    {
        View = new Tensor((nint)NativeMemory.AlignedAlloc((nuint)(Math.Max(1, rows) * (columns + gap) * sizeof(float)), 64), ElementType.Float32, rows, columns, columns + gap);
        _values = (float*)View.Address;
        Random random = new(seed);
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < columns + gap; column++)
            {
                _values[((long)row * View.Stride) + column] = column < columns ? (random.NextSingle() * 2) - 1 : Mark;
            }
        }
    }

    public Tensor View { get; }

    public ref float this[int row, int column] => ref _values[((long)row * View.Stride) + column];

    /// <summary>The values in view, row after row.</summary>
    public float[] ToArray()
    {
        float[] values = new float[View.Count];
        for (int row = 0; row < View.Rows; row++)
        {
            new Span<float>(_values + ((long)row * View.Stride), View.Columns).CopyTo(values.AsSpan(row * View.Columns));
        }

        return values;
    }

    public void Fill(float value)
    {
        for (int row = 0; row < View.Rows; row++)
        {
            new Span<float>(_values + ((long)row * View.Stride), View.Columns).Fill(value);
        }
    }

    /// <summary>Fails if something was written between the rows.</summary>
    public void AssertGapsUntouched()
    {
        for (int row = 0; row < View.Rows; row++)
        {
            for (int column = View.Columns; column < View.Stride; column++)
            {
                Assert.Equal(Mark, _values[((long)row * View.Stride) + column]);
            }
        }
    }

    public void Dispose() => NativeMemory.AlignedFree(_values);
}
