// A checkpoint as a Hugging Face directory: config.json, model.safetensors, tokenizer.json. Names and layouts are those of
// LlamaForCausalLM, so a model without a bottleneck loads there unchanged; bottleneck weights keep their own names beside
// them and config.json says where they belong. Every weight that the configuration calls for must be there, with its shape,
// and no other. The directory is made beside its place and renamed when whole.
using System.Runtime.InteropServices;
using System.Text.Json;
using OrionNative.Engine.Run;
using OrionNative.Engine.Storage;
using OrionNative.Kernels.Numerics;

namespace OrionNative.Engine.Checkpoint;

static class HuggingFaceExport
{
    const string TokenizerFile = "tokenizer.json";

    /// <summary>Writes the weights of a checkpoint as <paramref name="type"/> (F32 or BF16) into a new folder.</summary>
    /// <exception cref="ConfigurationException">The folder exists with something in it.</exception>
    /// <exception cref="InvalidDataException">The checkpoint lacks a weight or has one too many.</exception>
    public static void Write(CheckpointReader checkpoint, string folder, TensorType type = TensorType.F32)
    {
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any())
            throw new ConfigurationException($"'{folder}' is not empty. Name a new folder with --out.");
        ModelConfig model = ModelConfigJson.Read(checkpoint.State.Model);
        TensorSource[] tensors = [.. Weights(checkpoint, model).Select(view => Converted(view, type))];

        string partial = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)) + ".partial";
        if (Directory.Exists(partial))
            Directory.Delete(partial, recursive: true);
        Directory.CreateDirectory(partial);
        try
        {
            using (FileStream stream = File.Create(Path.Combine(partial, "model.safetensors"), bufferSize: 0))
            {
                SafetensorsWriter.Write(stream, tensors, new Dictionary<string, string> { ["format"] = "pt" });
                stream.Flush(flushToDisk: true);
            }
            DurableFiles.Replace(Path.Combine(partial, "config.json"), Config(model, checkpoint.State.Step, type));
            if (checkpoint.Manifest.Files.Any(file => file.Name == TokenizerFile))
            {
                DurableFiles.Replace(Path.Combine(partial, TokenizerFile), checkpoint.ReadFile(TokenizerFile));
                DurableFiles.Replace(Path.Combine(partial, "tokenizer_config.json"), TokenizerConfig(model));
            }
            if (Directory.Exists(folder))
                Directory.Delete(folder);
            Directory.Move(partial, folder);
        }
        finally
        {
            if (Directory.Exists(partial))
                Directory.Delete(partial, recursive: true);
        }
        DurableFiles.FlushDirectory(Path.GetDirectoryName(partial)!);
    }

    static IEnumerable<TensorView> Weights(CheckpointReader checkpoint, ModelConfig model)
    {
        HashSet<string> left = [.. checkpoint.Groups.Where(group => !GroupNames.IsOptimizer(group.Key)).SelectMany(group => group.Value.Tensors.Keys)];
        foreach ((string name, long[] shape) in ModelTensors.Of(model))
        {
            left.Remove(name);
            yield return checkpoint.Tensor(name, TensorType.F32, shape);
        }
        if (left.Count > 0)
            throw new InvalidDataException($"Checkpoint {checkpoint.Folder} holds '{left.Order(StringComparer.Ordinal).First()}', which its model configuration does not call for.");
    }

    static TensorSource Converted(TensorView view, TensorType type) => type switch
    {
        TensorType.F32 => new TensorSource(view.Name, type, [.. view.Shape], view.Address),
        TensorType.BF16 => new TensorSource(view.Name, type, [.. view.Shape], (offset, destination) => ToBFloat16(view, offset, destination)),
        _ => throw new ArgumentException($"Weights are exported as F32 or BF16, not {type}."),
    };

    static unsafe void ToBFloat16(TensorView view, long offsetBytes, Span<byte> destination)
    {
        Span<ushort> halves = MemoryMarshal.Cast<byte, ushort>(destination);
        var source = new ReadOnlySpan<float>((float*)view.Address + offsetBytes / sizeof(ushort), halves.Length);
        for (int i = 0; i < halves.Length; i++)
            halves[i] = BFloat16.FromSingle(source[i]);
    }

    static byte[] Config(ModelConfig model, long step, TensorType type) => Json(json =>
    {
        json.WriteStartArray("architectures");
        json.WriteStringValue("LlamaForCausalLM");
        json.WriteEndArray();
        json.WriteString("model_type", "llama");
        json.WriteNumber("vocab_size", model.Vocabulary);
        json.WriteNumber("hidden_size", model.Width);
        json.WriteNumber("intermediate_size", model.FeedForward);
        json.WriteNumber("num_hidden_layers", model.Layers);
        json.WriteNumber("num_attention_heads", model.QueryHeads);
        json.WriteNumber("num_key_value_heads", model.KeyValueHeads);
        json.WriteNumber("head_dim", model.HeadWidth);
        json.WriteNumber("max_position_embeddings", model.Context);
        json.WriteNumber("rope_theta", model.RotaryBase);
        json.WriteNull("rope_scaling");
        json.WriteNumber("rms_norm_eps", model.NormEpsilon);
        json.WriteString("hidden_act", "silu");
        json.WriteBoolean("attention_bias", false);
        json.WriteBoolean("mlp_bias", false);
        json.WriteNumber("attention_dropout", 0);
        json.WriteNumber("initializer_range", 0.02);
        json.WriteBoolean("tie_word_embeddings", false);
        json.WriteString("torch_dtype", type == TensorType.BF16 ? "bfloat16" : "float32");
        json.WriteNull("bos_token_id");
        json.WriteNull("eos_token_id");
        json.WriteString("bottleneck_kind", (model.HasCodes ? model.Boundary : BoundaryKind.None).ToString().ToLowerInvariant());
        json.WriteNumber("bottleneck_dim", model.HasCodes ? model.CodeWidth : 0);
        json.WriteStartArray("bottleneck_boundaries");
        foreach (int boundary in model.HasCodes ? model.Boundaries : [])
            json.WriteNumberValue(boundary);
        json.WriteEndArray();
        json.WriteNumber("bottleneck_anchor_rank", model.HasCodes ? model.AnchorRank : 0);
        json.WriteNumber("orion_step", step);
    });

    static byte[] TokenizerConfig(ModelConfig model) => Json(json =>
    {
        json.WriteString("tokenizer_class", "PreTrainedTokenizerFast");
        json.WriteBoolean("clean_up_tokenization_spaces", false);
        json.WriteNumber("model_max_length", model.Context);
    });

    static byte[] Json(Action<Utf8JsonWriter> fields)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            json.WriteStartObject();
            fields(json);
            json.WriteEndObject();
        }
        buffer.WriteByte((byte)'\n');
        return buffer.ToArray();
    }
}
