// What goes into a safetensors file: a named tensor whose bytes either lie at an address or are produced piece by piece
// (from another device, or converted on the way). A group is the tensors that share one file: the embedding, one layer,
// the head. Names are Hugging Face's, with the layer's index in the whole model, never in a stage.
namespace OrionNative.Engine.Checkpoint;

/// <summary>Element types of safetensors.</summary>
enum TensorType
{
    F64,
    F32,
    F16,
    BF16,
    F8_E4M3,
    F8_E5M2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    BOOL,
}

static class TensorTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Bytes(this TensorType type) => type switch
    {
        TensorType.F64 or TensorType.I64 or TensorType.U64 => 8,
        TensorType.F32 or TensorType.I32 or TensorType.U32 => 4,
        TensorType.F16 or TensorType.BF16 or TensorType.I16 or TensorType.U16 => 2,
        _ => 1,
    };
}

/// <summary>Fills <paramref name="destination"/> with the tensor's bytes from <paramref name="offsetBytes"/> on.
/// Called in ascending order, without gaps; offsets and lengths are multiples of 64 but for the end of the tensor.</summary>
delegate void TensorFill(long offsetBytes, Span<byte> destination);

/// <summary>A tensor to write, row-major.</summary>
sealed class TensorSource
{
    /// <summary>A tensor that is produced while it is written.</summary>
    public TensorSource(string name, TensorType type, ReadOnlySpan<long> shape, TensorFill fill)
    {
        Name = name;
        Type = type;
        Fill = fill;
        Shape = shape.ToArray();
        long bytes = type.Bytes();
        foreach (long extent in shape)
        {
            if (extent < 0)
                throw new ArgumentException($"Tensor {name} has the shape [{string.Join(',', Shape)}]; no extent may be negative.");
            bytes = checked(bytes * extent);
        }
        Bytes = bytes;
    }

    /// <summary>A tensor in memory; it must stay there until the write returns.</summary>
    public TensorSource(string name, TensorType type, ReadOnlySpan<long> shape, nint address)
        : this(name, type, shape, (offset, destination) => CopyFrom(address, offset, destination))
    {
    }

    public string Name { get; }

    public TensorType Type { get; }

    public IReadOnlyList<long> Shape { get; }

    /// <summary>Size of the tensor.</summary>
    public long Bytes { get; }

    public TensorFill Fill { get; }

    static unsafe void CopyFrom(nint address, long offsetBytes, Span<byte> destination) =>
        new ReadOnlySpan<byte>((byte*)address + offsetBytes, destination.Length).CopyTo(destination);
}

/// <summary>The tensors of one file.</summary>
/// <param name="Name">The file's name without <c>.safetensors</c>; see <see cref="GroupNames"/>.</param>
/// <param name="Tensors">What the file holds.</param>
sealed record TensorGroup(string Name, IReadOnlyList<TensorSource> Tensors);

/// <summary>Names of the groups of a checkpoint.</summary>
static class GroupNames
{
    public const string Embedding = "embedding";

    public const string Head = "head";

    const string OptimizerMark = ".optimizer";

    /// <summary>One layer, by its index in the whole model.</summary>
    public static string Layer(int layerIndex) => $"layer-{layerIndex:D3}";

    /// <summary>The optimizer state that belongs to a group.</summary>
    public static string OptimizerOf(string group) => group + OptimizerMark;

    /// <summary>True for a group of optimizer state.</summary>
    public static bool IsOptimizer(string group) => group.EndsWith(OptimizerMark, StringComparison.Ordinal);

    /// <summary>The group that a weight belongs to, by its Hugging Face name.</summary>
    /// <exception cref="ArgumentException">It is not a name of this model.</exception>
    public static string Of(string tensor)
    {
        const string layers = "model.layers.";
        if (tensor.StartsWith(layers, StringComparison.Ordinal))
        {
            ReadOnlySpan<char> rest = tensor.AsSpan(layers.Length);
            int dot = rest.IndexOf('.');
            if (dot > 0 && int.TryParse(rest[..dot], out int layerIndex))
                return Layer(layerIndex);
        }
        return tensor switch
        {
            "model.embed_tokens.weight" => Embedding,
            "model.norm.weight" or "lm_head.weight" => Head,
            _ => throw new ArgumentException($"'{tensor}' is not the name of a weight of this model."),
        };
    }
}
