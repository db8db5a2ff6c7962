// Which blocks end in a code and which start from one: boundary b lies between block b-1, the sender, and block b.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Model;

/// <summary>Questions to a model about its boundaries.</summary>
static class BoundaryPlaces
{
    /// <summary>True when this block ends in the encoder.</summary>
    public static bool SendsCode(this ModelConfig model, int layer) => model.ReceivesCode(layer + 1);

    /// <summary>True when a code stays within the range: one of its blocks sends it, another receives it.</summary>
    public static bool HasCodesWithin(this ModelConfig model, StageRange range) =>
        model.HasCodes && model.Boundaries.Any(boundary => boundary > range.FirstBlock && boundary < range.EndBlock);

    /// <summary>True when this block starts from the decoder.</summary>
    public static bool ReceivesCode(this ModelConfig model, int layer)
    {
        if (!model.HasCodes)
        {
            return false;
        }

        for (int i = 0; i < model.Boundaries.Count; i++)
        {
            if (model.Boundaries[i] == layer)
            {
                return true;
            }
        }

        return false;
    }
}
