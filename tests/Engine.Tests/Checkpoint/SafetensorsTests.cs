using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using OrionNative.Engine.Checkpoint;

namespace OrionNative.Engine.Tests.Checkpoint;

public class SafetensorsTests
{
    static TensorSource Of<T>(string name, TensorType type, T[] values, params long[] shape) where T : unmanaged =>
        new(name, type, shape, (offset, destination) => MemoryMarshal.AsBytes(values.AsSpan()).Slice((int)offset, destination.Length).CopyTo(destination));

    static string Write(TemporaryFolder folder, string header, int dataBytes)
    {
        byte[] json = Encoding.UTF8.GetBytes(header);
        var file = new byte[8 + json.Length + dataBytes];
        BinaryPrimitives.WriteInt64LittleEndian(file, json.Length);
        json.CopyTo(file, 8);
        return folder.Write("a.safetensors", file);
    }

    [Fact]
    public void Tensors_WrittenAndRead_SameValuesAlignedAndHashed()
    {
        using var folder = new TemporaryFolder();
        float[] weights = [1, -2, 0.5f, float.NaN, 4, 5];
        ushort[] halves = [0x3F80, 0xBF80, 0];
        long[] steps = [long.MaxValue];
        byte[] odd = [1, 2, 3, 4, 5];
        string hash;
        using (FileStream stream = File.Create(folder["a.safetensors"]))
        {
            TensorSource[] tensors = [Of("odd", TensorType.U8, odd, 5), Of("h", TensorType.BF16, halves, 3, 1), Of("w", TensorType.F32, weights, 2, 3), Of("s", TensorType.I64, steps), Of("none", TensorType.F32, Array.Empty<float>(), 0, 4)];
            hash = SafetensorsWriter.Write(stream, tensors, new Dictionary<string, string> { ["format"] = "pt" });
            Assert.Equal(stream.Length, SafetensorsWriter.FileBytes(tensors, new Dictionary<string, string> { ["format"] = "pt" }));
        }
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(folder["a.safetensors"]))), hash);

        using var file = new SafetensorsFile(folder["a.safetensors"]);
        Assert.Equal(weights, file.Tensors["w"].Elements<float>().ToArray());
        Assert.Equal([2, 3], file.Tensors["w"].Shape);
        Assert.Equal(halves, file.Tensors["h"].Elements<ushort>().ToArray());
        Assert.Equal(steps, file.Tensors["s"].Elements<long>().ToArray());
        Assert.Empty(file.Tensors["s"].Shape);
        Assert.Equal(odd, file.Tensors["odd"].Elements<byte>().ToArray());
        Assert.Equal(0, file.Tensors["none"].Bytes);
        Assert.Equal("pt", file.Metadata["format"]);
        Assert.All(file.Tensors.Values, tensor => Assert.Equal(0, tensor.Address % tensor.Type.Bytes()));
    }

    [Fact]
    public unsafe void Tensor_LargerThanTheBlockAtAnAddress_IsWrittenWhole()
    {
        using var folder = new TemporaryFolder();
        var values = new float[700_001];
        for (int i = 0; i < values.Length; i++)
            values[i] = i;
        fixed (float* address = values)
        {
            using FileStream stream = File.Create(folder["a.safetensors"]);
            SafetensorsWriter.Write(stream, [new TensorSource("w", TensorType.F32, [values.Length], (nint)address)]);
        }
        using var file = new SafetensorsFile(folder["a.safetensors"]);
        Assert.Equal(values, file.Tensors["w"].Elements<float>().ToArray());
    }

    [Fact]
    public void Write_TwoTensorsOfOneName_IsRefused() =>
        Assert.Contains("'w'", Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(Stream.Null, [Of("w", TensorType.U8, new byte[1], 1), Of("w", TensorType.U8, new byte[1], 1)])).Message);

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "inside the one before")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 7, "of 7")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, "end at byte 8, its data at 9")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "belong to no tensor")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "12 bytes, but its range has 8")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "shape [-2]")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "bytes 8 to 0")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", 8, "bytes -8 to 0")]
    [InlineData("""{"a":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807],"data_offsets":[0,8]}}""", 8, "overflow")]
    [InlineData("""{"a":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}}""", 8, "'Q4'")]
    [InlineData("""{"a":{"dtype":"3","shape":[2],"data_offsets":[0,4]}}""", 4, "'3'")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "1 data_offsets")]
    [InlineData("""{"a":{"dtype":"F32","data_offsets":[0,8]}}""", 8, "header is not valid")]
    [InlineData("""{"a":7}""", 8, "header is not valid")]
    [InlineData("""[1]""", 8, "header is not valid")]
    [InlineData("""{"a":""", 8, "header is not valid")]
    public void Open_BadHeader_IsNamed(string header, int dataBytes, string expected)
    {
        using var folder = new TemporaryFolder();
        string path = Write(folder, header, dataBytes);
        string message = Assert.Throws<InvalidDataException>(() => new SafetensorsFile(path)).Message;
        Assert.Contains(expected, message);
        Assert.Contains(path, message);
    }

    [Theory]
    [InlineData(100_000_001, "the format allows")]
    [InlineData(500, "the file has")]
    [InlineData(-1, "the format allows")]
    public void Open_HeaderLengthImpossible_IsNamed(long headerBytes, string expected)
    {
        using var folder = new TemporaryFolder();
        var file = new byte[64];
        BinaryPrimitives.WriteInt64LittleEndian(file, headerBytes);
        string path = folder.Write("a.safetensors", file);
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => new SafetensorsFile(path)).Message);
    }

    [Fact]
    public void Open_AnyByteOfTheHeaderChanged_OpensOrIsRefusedButNeverReadsOutside()
    {
        using var folder = new TemporaryFolder();
        string path = Write(folder, """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}}""", 9);
        byte[] whole = File.ReadAllBytes(path);
        var random = new Random(5);
        for (int trial = 0; trial < 3000; trial++)
        {
            byte[] altered = whole.AsSpan().ToArray();
            altered[random.Next(altered.Length)] = (byte)random.Next(256);
            altered[random.Next(altered.Length)] = (byte)random.Next(256);
            File.WriteAllBytes(path, altered);
            try
            {
                using var file = new SafetensorsFile(path);
                Assert.Equal(file.Tensors.Count == 0 ? 0 : 9, file.Tensors.Values.Sum(tensor => tensor.Bytes));
            }
            catch (InvalidDataException error)
            {
                Assert.Contains(path, error.Message);
            }
        }
    }
}
