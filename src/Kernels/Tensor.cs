// A tensor here is a view: where the numbers lie, what they are, and how the rows are spaced. It owns nothing and
// allocates nothing; memory comes from an arena that a device planned once. Shapes in comments use one legend:
// B sequences, T tokens, R = B*T rows, C width, H query heads, G key-value heads, D head width, F feed-forward width,
// Z code width, V vocabulary.
namespace OrionNative.Kernels;

/// <summary>What one element of a tensor is.</summary>
public enum ElementType : byte
{
    /// <summary>IEEE single precision.</summary>
    Float32,

    /// <summary>The upper half of a single: 8 exponent bits, 7 fraction bits.</summary>
    BFloat16,

    /// <summary>What is left of a single beside its nearest <see cref="BFloat16"/>, a signed 16-bit difference of the bits: together an
    /// exact master weight (<see cref="Numerics.BFloat16.Split"/>).</summary>
    Low16,

    /// <summary>Signed 32-bit integer: token ids.</summary>
    Int32,

    /// <summary>Signed 8-bit integer: quantised codes.</summary>
    Int8,

    /// <summary>IEEE double precision: reductions that the host reads.</summary>
    Float64,
}

/// <summary>A row-major view [Rows, Columns] of device memory; consecutive rows are <see cref="Stride"/> elements apart.</summary>
/// <param name="Address">Address in the device's memory: a pointer on the CPU, a CUdeviceptr on a GPU.</param>
/// <param name="Type">Element type.</param>
/// <param name="Rows">Number of rows.</param>
/// <param name="Columns">Elements in a row.</param>
/// <param name="Stride">Distance of two rows in elements, at least <paramref name="Columns"/>.</param>
public readonly record struct Tensor(nint Address, ElementType Type, int Rows, int Columns, int Stride)
{
    /// <summary>A view whose rows follow each other without a gap.</summary>
    public Tensor(nint address, ElementType type, int rows, int columns) : this(address, type, rows, columns, columns) { }

    /// <summary>True for the default value: an optional tensor that was not given.</summary>
    public bool IsEmpty => Address == 0;

    /// <summary>True when rows follow each other without a gap.</summary>
    public bool IsContiguous => Stride == Columns || Rows <= 1;

    /// <summary>Number of elements in view.</summary>
    public long Count => (long)Rows * Columns;

    /// <summary>Bytes of one element.</summary>
    public int ElementBytes => SizeOf(Type);

    /// <summary>Bytes from the first to past the last element of a contiguous view.</summary>
    public long Bytes => Count * ElementBytes;

    /// <summary>The rows from <paramref name="start"/>, <paramref name="count"/> of them.</summary>
    public Tensor RowRange(int start, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + count, Rows);
        return this with { Address = Address + (nint)((long)start * Stride * ElementBytes), Rows = count };
    }

    /// <summary>The columns from <paramref name="start"/>, <paramref name="count"/> of them, in every row.</summary>
    public Tensor ColumnRange(int start, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + count, Columns);
        return this with { Address = Address + (nint)start * ElementBytes, Columns = count };
    }

    /// <summary>Bytes of one element of a type.</summary>
    public static int SizeOf(ElementType type) => type switch
    {
        ElementType.Float64 => 8,
        ElementType.Float32 or ElementType.Int32 => 4,
        ElementType.BFloat16 or ElementType.Low16 => 2,
        ElementType.Int8 => 1,
        _ => throw new ArgumentOutOfRangeException(nameof(type)),
    };

    /// <inheritdoc/>
    public override string ToString() => $"{Type}[{Rows}, {Columns}]";
}
