// Rotary embedding on CUDA. The table is made on the host in double, once, and uploaded: every device turns by the same angles.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    CudaKernel? _rotary;

    /// <inheritdoc cref="IOps.RotaryTable"/>
    public void RotaryTable(Tensor table, double rotaryBase)
    {
        Shape.IsType(table, ElementType.Float32);
        Shape.Holds(table.Columns % 2 == 0 && table.IsContiguous, "an even number of columns without gaps", table);
        float[] row = new float[table.Columns];
        int half = table.Columns / 2;
        for (int position = 0; position < table.Rows; position++)
        {
            for (int i = 0; i < half; i++)
            {
                (double sine, double cosine) = Math.SinCos(position * Math.Pow(rotaryBase, -2.0 * i / table.Columns));
                (row[i], row[half + i]) = ((float)cosine, (float)sine);
            }

            _staging.Upload(MemoryMarshal.AsBytes(row.AsSpan()), table.RowRange(position, 1).Address);
        }
    }

    /// <inheritdoc cref="IOps.Rotary"/>
    public void Rotary(Tensor qkv, Tensor table, AttentionShape shape, int startPosition, bool inverse)
    {
        Shape.Is(qkv, ElementType.BFloat16, shape.Rows, shape.PackedColumns);
        CheckAngles(table, shape, startPosition);
        RequireChunks(qkv);
        int heads = shape.QueryHeads + shape.KeyValueHeads;
        long chunks = (long)shape.Rows * heads * shape.HeadWidth / (2 * Chunk);
        Shape.Holds(chunks <= int.MaxValue, "at most 2^31 chunks of 8 pairs, which a thread counts in 32 bits", qkv);
        _rotary ??= Kernel("rotary.cu", "rotary");
        _rotary.Launch(
            _stream, DivideUp(chunks, Threads), Threads, 0,
            qkv, table, shape.Tokens, heads, qkv.Stride, shape.HeadWidth, startPosition, inverse ? -1f : 1f, chunks);
    }

    static void CheckAngles(Tensor table, AttentionShape shape, int startPosition)
    {
        Shape.Is(table, ElementType.Float32, table.Rows, shape.HeadWidth);
        Shape.Holds(table.IsContiguous && shape.HeadWidth % (2 * Chunk) == 0, "rows without gaps and a head width of a multiple of 16", table);
        Shape.Holds(startPosition >= 0 && startPosition + shape.Tokens <= table.Rows, "a row for every position", table);
    }
}
