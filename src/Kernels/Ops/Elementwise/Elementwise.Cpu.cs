// Adds and moves on the CPU: one pass over memory each, so the copy bandwidth is their ceiling.
// Traffic in bytes an element: zero 4, copy 8 (to or from bfloat16 6), add 12, scale 8.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    public void Zero(Tensor destination)
    {
        Shape.Holds(!destination.IsEmpty && destination.Stride >= destination.Columns, "a tensor", destination);
        Map<ZeroBytes>(AsBytes(destination));
    }

    public void Copy(Tensor source, Tensor destination)
    {
        Shape.Is(source, source.Type, destination.Rows, destination.Columns);
        Shape.Is(destination, destination.Type, source.Rows, source.Columns);
        switch (source.Type, destination.Type)
        {
            case (ElementType.Float32, ElementType.BFloat16):
                Map<ToBFloat16>(source, destination);
                break;
            case (ElementType.BFloat16, ElementType.Float32):
                Map<FromBFloat16>(source, destination);
                break;
            default:
                Shape.Holds(source.Type == destination.Type, "the type of the destination, or Float32 and BFloat16", source);
                Map<CopyBytes>(AsBytes(source), AsBytes(destination));
                break;
        }
    }

    public void Add(Tensor source, Tensor destination)
    {
        Shape.Is(source, ElementType.Float32, destination.Rows, destination.Columns);
        Shape.IsType(destination, ElementType.Float32);
        Map<AddTo>(source, destination);
    }

    public void Scale(Tensor x, float factor)
    {
        Shape.IsType(x, ElementType.Float32);
        Map<ScaleBy>(x, constants: &factor);
    }

    static Tensor AsBytes(Tensor x) => x with { Type = ElementType.Int8, Columns = x.Columns * x.ElementBytes, Stride = x.Stride * x.ElementBytes };

    struct ZeroBytes : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec> =>
            new Span<byte>(a, n).Clear();
    }

    struct CopyBytes : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec> =>
            Buffer.MemoryCopy(a, b, n, n);
    }

    struct ToBFloat16 : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.StoreBFloat16(TVec.Load(a + i, n - i), (ushort*)b + i, n - i);
            }
        }
    }

    struct FromBFloat16 : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.LoadBFloat16((ushort*)a + i, n - i), b + i, n - i);
            }
        }
    }

    struct AddTo : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.Load(b + i, n - i) + TVec.Load(a + i, n - i), b + i, n - i);
            }
        }
    }

    struct ScaleBy : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            TVec factor = TVec.All(*(float*)constants);
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.Load(a + i, n - i) * factor, a + i, n - i);
            }
        }
    }
}
