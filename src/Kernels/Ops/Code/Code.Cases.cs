// Cases of code.cu: the bytes of the oracle, which are the CPU's, and back again.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> CodeCases => new()
    {
        ["code_pack_int8"] = CodePackInt8,
        ["code_unpack_int8"] = CodeUnpackInt8,
    };

    // The second row is all zero, and each row has a scale of its own: its largest element, which every lane finds in some row.
    static (ushort[] Code, int Rows, int Columns, int Stride, int Offset) PickCode(KernelCase c)
    {
        (int rows, int columns, int stride, int offset) = c.Pick((8 * c.Size, 144, 9216, 0), (1, 1, 1, 0), (3, 7, 9, 1), (17, 144, 144, 0), (9, 96, 512, 0), (10, 261, 264, 4), (34, 272, 272, 0));
        c.Shape = $"R={rows} Z={columns} stride {stride} offset {offset}";
        ushort[] code = Random(1, rows * columns);
        for (int i = 0; i < code.Length; i++)
        {
            int row = i / columns;
            int value = i % columns == 8 * row % columns ? 0x4100 : code[i];
            code[i] = row == 1 ? (ushort)0 : (ushort)(value + ((row % 9) << 7));
        }

        return (code, rows, columns, stride, offset);
    }

    static void CodePackInt8(KernelCase c)
    {
        (ushort[] code, int rows, int columns, int stride, int offset) = PickCode(c);
        CaseView<ushort> from = c.View(code, columns, stride, offset);
        byte[] expected = c.Size > 0 ? [] : Oracle.CodePack([.. Widen(code).Select(v => (float)v)], WireFormat.Int8, rows, columns);
        CaseView<byte> wire = c.View(new byte[CodeWire.Bytes(WireFormat.Int8, rows, columns)], rows * (columns + 2), rows * (columns + 2), offset);
        CudaKernel kernel = c.Kernel("code.cu", "code_pack_int8");
        c.LaunchWith(() => kernel.Launch(c.Stream, (rows + 7) / 8, 256, 0, from.Address, stride, wire.Address, rows, columns));
        c.Bytes = (2L * rows * columns) + CodeWire.Bytes(WireFormat.Int8, rows, columns);
        c.Flops = 4.0 * rows * columns;
        c.Results = () => [new("wire", () => Bytes(wire.Read()), Bytes(expected)), wire.Untouched("wire")];
    }

    static void CodeUnpackInt8(KernelCase c)
    {
        (ushort[] code, int rows, int columns, int stride, int offset) = PickCode(c);
        byte[] bytes = c.Size > 0
            ? new byte[CodeWire.Bytes(WireFormat.Int8, rows, columns)]
            : Oracle.CodePack([.. Widen(code).Select(v => (float)v)], WireFormat.Int8, rows, columns);
        CaseView<byte> wire = c.View(bytes, bytes.Length, bytes.Length, offset);
        CaseView<ushort> to = c.View(new ushort[code.Length], columns, stride, offset);
        CudaKernel kernel = c.Kernel("code.cu", "code_unpack_int8");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(rows, columns), 256, 0, wire.Address, to.Address, stride, rows, columns));
        c.Bytes = (2L * rows * columns) + bytes.Length;
        c.Flops = (double)rows * columns;
        c.Results = () =>
        {
            double[] expected = new double[code.Length];
            for (int i = 0; i < expected.Length; i++)
            {
                int at = i / columns * (columns + 2);
                double scale = BitConverter.UInt32BitsToSingle((uint)(bytes[at] | (bytes[at + 1] << 8)) << 16);
                expected[i] = scale * (sbyte)bytes[at + 2 + (i % columns)];
            }

            return [new("code", () => Widen(to.Read()), expected, Rounding, 0), to.Untouched("code")];
        };
    }
}
