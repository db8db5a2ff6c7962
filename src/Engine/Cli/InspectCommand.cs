// inspect: what a file or folder of this system holds: a checkpoint (or run), a safetensors file, token shards, a tokenizer.
// A checkpoint and a dataset are verified against their hashes on the way.
using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Data;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class InspectCommand
{
    static readonly JsonSerializerOptions _line = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create()
    {
        ExampleCommand command = new("inspect", "Verify and describe a checkpoint, a safetensors file, token shards or a tokenizer.",
            "inspect runs/0001", "inspect exported/model.safetensors --tensors", "inspect prepared --json", "inspect tokenizer.json");
        Argument<string> path = new("path") { Description = "run directory, checkpoint, .safetensors, folder of shards, .tokens or tokenizer.json" };
        Option<bool> tensors = new("--tensors") { Description = "list every tensor" };
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(path);
        command.Add(tensors);
        command.Add(json);
        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            JsonObject found = Describe(parsed.GetRequiredValue(path), parsed.GetValue(tensors));
            foreach ((string name, JsonNode? value) in found)
            {
                if (value is not JsonArray list)
                {
                    output.Text.WriteLine($"{name,-14} {(value?.GetValueKind() == JsonValueKind.String ? (string?)value : value?.ToJsonString(_line))}");
                    continue;
                }

                output.Text.WriteLine(name);
                foreach (JsonNode? item in list)
                {
                    output.Text.WriteLine($"  {string.Join("  ", item!.AsObject().Select(field => field.Value!.GetValueKind() == JsonValueKind.String ? (string)field.Value! : field.Value.ToJsonString(_line)))}");
                }
            }

            output.Result(found);
            return ExitStatus.Done;
        });
        return command;
    }

    static JsonObject Describe(string path, bool listTensors)
    {
        if (TokenDataset.IsPrepared(path))
        {
            return Dataset(path);
        }

        if (Directory.Exists(path))
        {
            return Checkpoint(path, listTensors);
        }

        if (!File.Exists(path))
        {
            throw new ConfigurationException($"there is no file or folder '{path}'");
        }

        return Path.GetExtension(path) switch
        {
            ".safetensors" => Safetensors(path, listTensors),
            ".json" => Tokenizer(path),
            _ => throw new ConfigurationException($"'{path}' is nothing that inspect knows: give a run directory, a checkpoint, a .safetensors file, a folder of shards, a .tokens file or a tokenizer.json"),
        };
    }

    static JsonObject Checkpoint(string path, bool listTensors)
    {
        using CheckpointReader reader = CheckpointReader.Open(path);
        CheckpointState state = reader.State;
        ModelConfig model = ModelConfigJson.Read(state.Model);
        JsonObject found = new()
        {
            ["kind"] = "checkpoint",
            ["folder"] = reader.Folder,
            ["step"] = state.Step,
            ["tokens"] = state.Tokens,
            ["optimizer"] = state.Optimizer,
            ["parameters"] = model.Parameters,
            ["tokenizerHash"] = state.TokenizerHash,
            ["seeds"] = new JsonObject(state.Seeds.Select(seed => KeyValuePair.Create(seed.Key, (JsonNode?)JsonValue.Create(seed.Value)))),
            ["model"] = state.Model.DeepClone(),
            ["layout"] = state.Layout?.DeepClone(),
            ["bytes"] = reader.Manifest.Files.Sum(file => file.Bytes),
            ["verified"] = true,
            ["files"] = new JsonArray([.. reader.Manifest.Files.Select(file => new JsonObject { ["name"] = file.Name, ["bytes"] = file.Bytes, ["sha256"] = file.Sha256 })]),
        };
        AddTensors(found, reader.Tensors, listTensors);
        return found;
    }

    static JsonObject Safetensors(string path, bool listTensors)
    {
        using SafetensorsFile file = new(path);
        JsonObject found = new()
        {
            ["kind"] = "safetensors",
            ["file"] = path,
            ["tensorCount"] = file.Tensors.Count,
            ["elements"] = file.Tensors.Values.Sum(tensor => tensor.Bytes / tensor.Type.Bytes()),
            ["bytes"] = new FileInfo(path).Length,
            ["metadata"] = new JsonObject(file.Metadata.Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)JsonValue.Create(entry.Value)))),
        };
        AddTensors(found, file.Tensors, listTensors);
        return found;
    }

    static void AddTensors(JsonObject found, IReadOnlyDictionary<string, TensorView> tensors, bool listTensors)
    {
        if (!listTensors)
        {
            return;
        }

        found["tensors"] = new JsonArray([.. tensors.Values.OrderBy(tensor => tensor.Name, StringComparer.Ordinal).Select(tensor => new JsonObject
        {
            ["name"] = tensor.Name,
            ["type"] = tensor.Type.ToString(),
            ["shape"] = new JsonArray([.. tensor.Shape.Select(extent => JsonValue.Create(extent))]),
        })]);
    }

    static JsonObject Dataset(string path)
    {
        using TokenDataset dataset = TokenDataset.Open(path, verifyHashes: true);
        return new JsonObject
        {
            ["kind"] = "tokens",
            ["path"] = path,
            ["tokens"] = dataset.TokenCount,
            ["vocabulary"] = dataset.VocabularySize,
            ["tokenizerHash"] = dataset.TokenizerHash,
            ["verified"] = true,
        };
    }

    static JsonObject Tokenizer(string path)
    {
        ITokenizer tokenizer = TokenizerJson.Load(path);
        return new JsonObject
        {
            ["kind"] = tokenizer is BpeTokenizer ? "bpe tokenizer" : "byte tokenizer",
            ["file"] = path,
            ["vocabulary"] = tokenizer.VocabularySize,
            ["merges"] = (tokenizer as BpeTokenizer)?.Model.Merges.Count ?? 0,
            ["pattern"] = ((tokenizer as BpeTokenizer)?.Model.Pattern ?? PreTokenizerPattern.None).ToString().ToLowerInvariant(),
            ["specialTokens"] = new JsonObject(tokenizer.SpecialTokens.OrderBy(token => token.Value).Select(token => KeyValuePair.Create(token.Key, (JsonNode?)JsonValue.Create(token.Value)))),
            ["hash"] = tokenizer.Hash,
        };
    }
}
