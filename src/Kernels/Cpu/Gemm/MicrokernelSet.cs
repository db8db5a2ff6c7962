// Which tiles a vector path uses, and how a block of rows of any height is composed of them.
namespace OrionNative.Kernels.Cpu.Gemm;

/// <summary>The tiles of one vector path: all <see cref="Columns"/> wide, of falling height.</summary>
readonly unsafe struct MicrokernelSet
{
    readonly delegate*<nint, float*, nint, float*, nint, float*, nint, float, float, void> _rows14, _rows8, _rows4, _rows2, _rows1;

    public MicrokernelSet(VectorPath path)
    {
        switch (path)
        {
            case VectorPath.Vector512:
                (Rows, Columns) = (14, 2 * Vec512.Width);
                _rows14 = &Microkernel<Vec512>.Tile14x2;
                _rows8 = &Microkernel<Vec512>.Tile8x2;
                _rows4 = &Microkernel<Vec512>.Tile4x2;
                _rows2 = &Microkernel<Vec512>.Tile2x2;
                _rows1 = &Microkernel<Vec512>.Tile1x2;
                break;
            case VectorPath.Vector256:
                (Rows, Columns) = (4, 3 * Vec256.Width);
                _rows4 = &Microkernel<Vec256>.Tile4x3;
                _rows2 = &Microkernel<Vec256>.Tile2x3;
                _rows1 = &Microkernel<Vec256>.Tile1x3;
                break;
            default:
                (Rows, Columns) = (8, 3 * Vec128.Width);
                _rows8 = &Microkernel<Vec128>.Tile8x3;
                _rows4 = &Microkernel<Vec128>.Tile4x3;
                _rows2 = &Microkernel<Vec128>.Tile2x3;
                _rows1 = &Microkernel<Vec128>.Tile1x3;
                break;
        }
    }

    /// <summary>Rows of the tallest tile: the width of a packed panel of a.</summary>
    public int Rows { get; }

    /// <summary>Columns of every tile: the width of a packed panel of b.</summary>
    public int Columns { get; }

    /// <summary>c[rows, Columns] = alpha * a * b + beta * c with a read as a[k*stepA + row], b as b[k*stepB + column].</summary>
    public void Run(int rows, nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        while (rows > 0)
        {
            int tile;
            if (rows >= 14 && _rows14 != null)
            {
                _rows14(k, a, stepA, b, stepB, c, strideC, alpha, beta);
                tile = 14;
            }
            else if (rows >= 8 && _rows8 != null)
            {
                _rows8(k, a, stepA, b, stepB, c, strideC, alpha, beta);
                tile = 8;
            }
            else if (rows >= 4)
            {
                _rows4(k, a, stepA, b, stepB, c, strideC, alpha, beta);
                tile = 4;
            }
            else if (rows >= 2)
            {
                _rows2(k, a, stepA, b, stepB, c, strideC, alpha, beta);
                tile = 2;
            }
            else
            {
                _rows1(k, a, stepA, b, stepB, c, strideC, alpha, beta);
                tile = 1;
            }

            rows -= tile;
            a += tile;
            c += tile * strideC;
        }
    }
}
