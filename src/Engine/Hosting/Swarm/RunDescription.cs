// What a newcomer must know to take part: the resolved configuration and the model. No path in it means anything to a peer:
// tokens, checkpoints and weights come over the wire.
using System.Text.Json.Nodes;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>A run as the orchestrator describes it to a peer.</summary>
/// <param name="Config">Every setting.</param>
/// <param name="Model">The model, boundaries included.</param>
/// <param name="TokenizerHash">SHA-256 of the tokenizer.</param>
sealed record RunDescription(RunConfig Config, ModelConfig Model, string TokenizerHash)
{
    /// <summary>A fingerprint of everything that every peer must agree on.</summary>
    public string ModelHash => Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(
        System.Text.Encoding.UTF8.GetBytes(ModelConfigJson.Write(Model).ToJsonString() + YamlFiles.WriteRun(Config))))[..16];

    public byte[] Encode() => System.Text.Encoding.UTF8.GetBytes(new JsonObject
    {
        ["config"] = YamlFiles.WriteRun(Config),
        ["model"] = ModelConfigJson.Write(Model),
        ["tokenizer"] = TokenizerHash,
    }.ToJsonString());

    /// <exception cref="InvalidDataException">It is not a description.</exception>
    public static RunDescription Decode(ReadOnlySpan<byte> json)
    {
        JsonObject read = JsonNode.Parse(json)?.AsObject() ?? throw new InvalidDataException("the orchestrator's description of the run is empty");
        return new RunDescription(
            YamlFiles.ReadRun((string)read["config"]!, "the orchestrator's run.yaml", new RunConfig()),
            ModelConfigJson.Read(read["model"]!.AsObject()), (string)read["tokenizer"]!);
    }
}
