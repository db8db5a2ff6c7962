// Which cuBLASLt algorithm a product uses on this card, found by timing and kept on disk: a second process takes the same one, so that
// a resumed run goes on with the same bits. One file a card and library version; a line a shape: the shape, a space, the
// algorithm's 64 bytes in hexadecimal. Lines are only ever added; one that cannot be read is as if it were not there.
using System.Runtime.InteropServices;
using System.Text;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

sealed class ProductChoices
{
    readonly string _path;
    readonly Dictionary<string, CublasLtAlgorithm> _known = new(StringComparer.Ordinal);

    /// <param name="folder">Where the files lie.</param>
    /// <param name="device">The card's name and whatever else decides which algorithm is best.</param>
    public ProductChoices(string folder, string device)
    {
        _path = Path.Combine(folder, string.Concat(device.Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-')) + ".products");
        if (!File.Exists(_path))
        {
            return;
        }

        foreach (string line in File.ReadLines(_path))
        {
            string[] parts = line.Split(' ');
            if (parts.Length == 2 && parts[1].Length == 2 * Marshal.SizeOf<CublasLtAlgorithm>() && parts[1].All(char.IsAsciiHexDigit))
            {
                _known.TryAdd(parts[0], MemoryMarshal.Read<CublasLtAlgorithm>(Convert.FromHexString(parts[1])));
            }
        }
    }

    /// <summary>The algorithm that was chosen for a shape before.</summary>
    public bool TryFind(string shape, out CublasLtAlgorithm algorithm) => _known.TryGetValue(shape, out algorithm);

    /// <summary>Keeps a choice; should another process have made one meanwhile, both stand in the file and the first one counts.</summary>
    public void Add(string shape, CublasLtAlgorithm algorithm)
    {
        _known[shape] = algorithm;
        Directory.CreateDirectory(Path.GetDirectoryName(_path)!);
        string line = $"{shape} {Convert.ToHexStringLower(MemoryMarshal.AsBytes(new ReadOnlySpan<CublasLtAlgorithm>(in algorithm)))}\n";
        using FileStream file = new(_path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite);
        file.Write(Encoding.ASCII.GetBytes(line));
    }

    /// <summary>The candidate whose median time is least; of equals the first, which the library likes best.</summary>
    /// <param name="milliseconds">Times of each candidate.</param>
    public static int Fastest(IReadOnlyList<float[]> milliseconds)
    {
        int best = 0;
        for (int i = 1; i < milliseconds.Count; i++)
        {
            best = Median(milliseconds[i]) < Median(milliseconds[best]) ? i : best;
        }

        return best;
    }

    static float Median(float[] values)
    {
        float[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }
}
