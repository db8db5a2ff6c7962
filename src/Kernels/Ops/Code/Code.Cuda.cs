// Codes on CUDA: the wire's bytes lie in device memory that ITransfers moves. The two float formats are conversions; Int8 has kernels of
// its own. From equal codes every device makes equal bytes.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string CodeSource = "code.cu";
    const int PackRows = 8;

    CudaKernel? _codePack, _codeUnpack;

    /// <inheritdoc cref="IOps.CodePack"/>
    public void CodePack(Tensor code, WireFormat format, nint destination)
    {
        Shape.IsType(code, ElementType.BFloat16);
        ArgumentOutOfRangeException.ThrowIfZero(destination);
        if (format == WireFormat.Int8)
        {
            _codePack ??= Kernel(CodeSource, "code_pack_int8");
            _codePack.Launch(_stream, DivideUp(code.Rows, PackRows), Threads, 0, code, code.Stride, destination, code.Rows, code.Columns);
            return;
        }

        Copy(code, new Tensor(destination, TypeOf(format), code.Rows, code.Columns));
    }

    /// <inheritdoc cref="IOps.CodeUnpack"/>
    public void CodeUnpack(nint source, WireFormat format, Tensor code)
    {
        Shape.IsType(code, ElementType.BFloat16);
        ArgumentOutOfRangeException.ThrowIfZero(source);
        if (format == WireFormat.Int8)
        {
            _codeUnpack ??= Kernel(CodeSource, "code_unpack_int8");
            _codeUnpack.Launch(_stream, BlocksOf(code), Threads, 0, source, code, code.Stride, code.Rows, code.Columns);
            return;
        }

        Copy(new Tensor(source, TypeOf(format), code.Rows, code.Columns), code);
    }

    static ElementType TypeOf(WireFormat format) => format switch
    {
        WireFormat.Float32 => ElementType.Float32,
        WireFormat.BFloat16 => ElementType.BFloat16,
        _ => throw new ArgumentOutOfRangeException(nameof(format), format, "expected Float32, BFloat16 or Int8"),
    };
}
