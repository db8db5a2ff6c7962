// The model's shape inside a checkpoint's manifest, and back.
using System.Text.Json.Nodes;

namespace OrionNative.Engine.Run;

static class ModelConfigJson
{
    public static JsonObject Write(ModelConfig c) => new()
    {
        ["vocabulary"] = c.Vocabulary,
        ["width"] = c.Width,
        ["layers"] = c.Layers,
        ["queryHeads"] = c.QueryHeads,
        ["keyValueHeads"] = c.KeyValueHeads,
        ["headWidth"] = c.HeadWidth,
        ["feedForward"] = c.FeedForward,
        ["context"] = c.Context,
        ["rotaryBase"] = c.RotaryBase,
        ["normEpsilon"] = c.NormEpsilon,
        ["boundary"] = c.Boundary.ToString().ToLowerInvariant(),
        ["codeWidth"] = c.CodeWidth,
        ["anchorRank"] = c.AnchorRank,
        ["boundaries"] = new JsonArray([.. c.Boundaries.Select(boundary => JsonValue.Create(boundary))]),
    };

    /// <exception cref="InvalidDataException">A field is missing or of another kind.</exception>
    public static ModelConfig Read(JsonObject json)
    {
        try
        {
            return new ModelConfig
            {
                Vocabulary = (int)json["vocabulary"]!,
                Width = (int)json["width"]!,
                Layers = (int)json["layers"]!,
                QueryHeads = (int)json["queryHeads"]!,
                KeyValueHeads = (int)json["keyValueHeads"]!,
                HeadWidth = (int)json["headWidth"]!,
                FeedForward = (int)json["feedForward"]!,
                Context = (int)json["context"]!,
                RotaryBase = (double)json["rotaryBase"]!,
                NormEpsilon = (float)json["normEpsilon"]!,
                Boundary = Enum.Parse<BoundaryKind>((string)json["boundary"]!, ignoreCase: true),
                CodeWidth = (int)json["codeWidth"]!,
                AnchorRank = (int)json["anchorRank"]!,
                Boundaries = [.. json["boundaries"]!.AsArray().Select(boundary => (int)boundary!)],
            }.Validated();
        }
        catch (Exception error) when (error is NullReferenceException or InvalidOperationException or FormatException or ArgumentException)
        {
            throw new InvalidDataException($"the checkpoint's model description is not readable: {json.ToJsonString()}", error);
        }
    }
}
