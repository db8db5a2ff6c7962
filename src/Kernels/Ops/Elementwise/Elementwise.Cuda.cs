// Moves and sums on CUDA. A view without gaps goes as one row; zeros and plain copies of such views are the driver's own fills
// and copies, everything else a kernel with a thread for eight neighbouring columns.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string ElementwiseSource = "elementwise.cu";

    CudaKernel? _fillFloat32, _fillBFloat16, _copy8, _copy16, _copy32, _widen, _narrow;
    CudaKernel? _addFloat32, _addBFloat16, _addToFloat32, _addToBFloat16, _scaleFloat32, _scaleBFloat16;

    /// <inheritdoc cref="IOps.Zero"/>
    public void Zero(Tensor destination)
    {
        if (destination.IsContiguous)
        {
            _context.ZeroAsync(destination.Address, destination.Bytes, _stream);
            return;
        }

        CudaKernel fill = destination.Type switch
        {
            ElementType.Float32 => _fillFloat32 ??= Kernel(ElementwiseSource, "fill_fp32"),
            ElementType.BFloat16 => _fillBFloat16 ??= Kernel(ElementwiseSource, "fill_bf16"),
            _ => throw Unsupported(destination, destination),
        };
        fill.Launch(_stream, BlocksOf(destination), Threads, 0, destination, destination.Stride, destination.Rows, destination.Columns, 0f);
    }

    /// <inheritdoc cref="IOps.Copy"/>
    public void Copy(Tensor source, Tensor destination)
    {
        Shape.Is(destination, destination.Type, source.Rows, source.Columns);
        if (source.Type == destination.Type && source.IsContiguous && destination.IsContiguous)
        {
            _context.CopyAsync(source.Address, destination.Address, source.Bytes, _stream);
            return;
        }

        CudaKernel copy = (source.Type, destination.Type) switch
        {
            (ElementType.BFloat16, ElementType.Float32) => _widen ??= Kernel(ElementwiseSource, "copy_bf16_to_fp32"),
            (ElementType.Float32, ElementType.BFloat16) => _narrow ??= Kernel(ElementwiseSource, "copy_fp32_to_bf16"),
            _ when source.Type != destination.Type => throw Unsupported(source, destination),
            _ => source.ElementBytes switch
            {
                1 => _copy8 ??= Kernel(ElementwiseSource, "copy_8bit"),
                2 => _copy16 ??= Kernel(ElementwiseSource, "copy_16bit"),
                4 => _copy32 ??= Kernel(ElementwiseSource, "copy_32bit"),
                _ => throw Unsupported(source, destination),
            },
        };
        LaunchPair(copy, source, destination);
    }

    /// <inheritdoc cref="IOps.Add"/>
    public void Add(Tensor source, Tensor destination)
    {
        Shape.Is(destination, destination.Type, source.Rows, source.Columns);
        CudaKernel add = (source.Type, destination.Type) switch
        {
            (ElementType.Float32, ElementType.Float32) => _addFloat32 ??= Kernel(ElementwiseSource, "add_fp32"),
            (ElementType.BFloat16, ElementType.BFloat16) => _addBFloat16 ??= Kernel(ElementwiseSource, "add_bf16"),
            (ElementType.BFloat16, ElementType.Float32) => _addToFloat32 ??= Kernel(ElementwiseSource, "add_bf16_to_fp32"),
            (ElementType.Float32, ElementType.BFloat16) => _addToBFloat16 ??= Kernel(ElementwiseSource, "add_fp32_to_bf16"),
            _ => throw Unsupported(source, destination),
        };
        LaunchPair(add, source, destination);
    }

    /// <inheritdoc cref="IOps.Scale"/>
    public void Scale(Tensor x, float factor)
    {
        CudaKernel scale = x.Type switch
        {
            ElementType.Float32 => _scaleFloat32 ??= Kernel(ElementwiseSource, "scale_fp32"),
            ElementType.BFloat16 => _scaleBFloat16 ??= Kernel(ElementwiseSource, "scale_bf16"),
            _ => throw Unsupported(x, x),
        };
        Tensor whole = AsOneRow(x);
        scale.Launch(_stream, BlocksOf(whole), Threads, 0, whole, whole.Stride, whole.Rows, whole.Columns, factor);
    }

    void LaunchPair(CudaKernel kernel, Tensor source, Tensor destination)
    {
        if (source.IsContiguous && destination.IsContiguous)
        {
            (source, destination) = (AsOneRow(source), AsOneRow(destination));
        }

        kernel.Launch(_stream, BlocksOf(source), Threads, 0, source, source.Stride, destination, destination.Stride, source.Rows, source.Columns);
    }

    static Tensor AsOneRow(Tensor x) => x.IsContiguous && x.Count <= int.MaxValue ? new Tensor(x.Address, x.Type, 1, (int)x.Count) : x;

    /// <summary>Blocks of a launch with a thread for eight neighbouring columns of a row.</summary>
    static int BlocksOf(Tensor x) => DivideUp((long)x.Rows * DivideUp(x.Columns, Chunk), Threads);

    static ArgumentException Unsupported(Tensor source, Tensor destination) =>
        new($"no CUDA kernel moves {source} with stride {source.Stride} to {destination} with stride {destination.Stride}");
}
