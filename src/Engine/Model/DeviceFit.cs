// Whether a device can compute a model, said before anything is allocated: kernels in BFloat16 read 16 bytes at a time and attend with
// heads of three widths.
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

static class DeviceFit
{
    const int ChunkElements = 8;

    static readonly int[] _headWidths = [32, 64, 128];

    /// <summary>Does nothing, or says which size of the model the device cannot compute.</summary>
    /// <exception cref="ConfigurationException">A size does not fit; the message names it and what would.</exception>
    public static void Check(ModelConfig model, IDeviceSizes device)
    {
        if (device.ComputeType != ElementType.BFloat16)
        {
            return;
        }

        if (!_headWidths.Contains(model.HeadWidth))
        {
            throw new ConfigurationException($"{device.Name} computes heads of width {string.Join(", ", _headWidths)}; this model has {model.HeadWidth}. Train it on the cpu, or choose another head width");
        }

        Multiple("width", model.Width);
        Multiple("feed-forward width", model.FeedForward);
        if (model.HasCodes)
        {
            Multiple("code width", model.CodeWidth);
            Multiple("anchor rank", model.AnchorRank);
        }

        void Multiple(string what, int size)
        {
            if (size % ChunkElements != 0)
            {
                throw new ConfigurationException($"{device.Name} computes in groups of {ChunkElements} elements; this model's {what} is {size}. Train it on the cpu, or choose a multiple of {ChunkElements}");
            }
        }
    }
}
