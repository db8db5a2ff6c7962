// Checks at the door of every operation: once per call, nothing allocated unless something is wrong. The message says which
// argument of which operation, expected against found.
using System.Runtime.CompilerServices;

namespace OrionNative.Kernels;

/// <summary>Shape checks shared by the devices.</summary>
static class Shape
{
    /// <summary>The tensor is given, of the type, [rows, columns].</summary>
    public static void Is(Tensor tensor, ElementType type, int rows, int columns,
        [CallerArgumentExpression(nameof(tensor))] string name = "", [CallerMemberName] string operation = "")
    {
        if (tensor.IsEmpty || tensor.Type != type || tensor.Rows != rows || tensor.Columns != columns || tensor.Stride < columns)
        {
            Throw(tensor, $"{type}[{rows}, {columns}]", name, operation);
        }
    }

    /// <summary>The tensor is given and of the type.</summary>
    public static void IsType(Tensor tensor, ElementType type,
        [CallerArgumentExpression(nameof(tensor))] string name = "", [CallerMemberName] string operation = "")
    {
        if (tensor.IsEmpty || tensor.Type != type || tensor.Stride < tensor.Columns)
        {
            Throw(tensor, $"{type}[rows, columns]", name, operation);
        }
    }

    /// <summary>The tensor holds count elements of the type without gaps, as one row or one column.</summary>
    public static void IsVector(Tensor tensor, ElementType type, int count,
        [CallerArgumentExpression(nameof(tensor))] string name = "", [CallerMemberName] string operation = "")
    {
        if (tensor.IsEmpty || tensor.Type != type || tensor.Count != count || (tensor.Rows != 1 && tensor.Columns != 1) || !tensor.IsContiguous)
        {
            Throw(tensor, $"{type}, {count} elements without gaps in one row or one column", name, operation);
        }
    }

    /// <summary>A condition between arguments.</summary>
    public static void Holds(bool condition, string expected, Tensor tensor,
        [CallerArgumentExpression(nameof(tensor))] string name = "", [CallerMemberName] string operation = "")
    {
        if (!condition)
        {
            Throw(tensor, expected, name, operation);
        }
    }

    static void Throw(Tensor tensor, string expected, string name, string operation) => throw new ArgumentException(
        $"{operation}: expected {expected}, found {(tensor.IsEmpty ? "no tensor" : $"{tensor} with stride {tensor.Stride}")}", name);
}
