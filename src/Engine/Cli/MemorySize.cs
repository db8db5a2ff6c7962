// A size of memory on the command line, like 900MB or 24GB (decimal units).
using System.Globalization;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class MemorySize
{
    /// <summary>Bytes; 0 for nothing given.</summary>
    /// <exception cref="ConfigurationException">Not a size.</exception>
    public static long Parse(string? size)
    {
        (string Unit, double Bytes)[] units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1)];
        (string unit, double bytes) = units.FirstOrDefault(unit => size?.EndsWith(unit.Unit, StringComparison.OrdinalIgnoreCase) == true, ("", 1));
        return size is null ? 0
            : double.TryParse(size[..^unit.Length], CultureInfo.InvariantCulture, out double number) && number > 0 && number * bytes < long.MaxValue
                ? (long)(number * bytes) : throw new ConfigurationException($"memory '{size}' is not a size like 900MB or 24GB");
    }
}
