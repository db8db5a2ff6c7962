// A checkpoint opened for use: its model's weights on a device, and the tokenizer it was trained with.
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Data;
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Hosting;

/// <summary>Weights without gradients, cut at the model's boundaries.</summary>
sealed class LoadedModel : IDisposable
{
    /// <param name="path">A checkpoint folder, or a run directory (its newest checkpoint).</param>
    /// <param name="device">Where to compute; owned from now on.</param>
    /// <exception cref="InvalidDataException">The checkpoint is not whole; the message names the file.</exception>
    public LoadedModel(string path, IDevice device)
    {
        Device = device;
        using CheckpointReader checkpoint = CheckpointReader.Open(path);
        Folder = checkpoint.Folder;
        Step = checkpoint.State.Step;
        Model = ModelConfigJson.Read(checkpoint.State.Model);
        Wire = Enum.Parse<WireFormat>((string?)checkpoint.State.Layout?["wire"] ?? nameof(WireFormat.Float32));
        Tokenizer = TokenizerJson.Load(Path.Combine(checkpoint.Folder, "tokenizer.json"));
        Parameters = Array.ConvertAll(
            StageRange.Cut(Model, Model.HasCodes ? Model.Boundaries : []), range => new ParameterSet(Model, range, device, gradients: false));
        foreach (ParameterSet parameters in Parameters)
        {
            RunCheckpoint.LoadWeights(checkpoint, parameters);
        }
    }

    public string Folder { get; }

    public long Step { get; }

    public ModelConfig Model { get; }

    /// <summary>How codes travelled when the model was trained; they are rounded the same way here.</summary>
    public WireFormat Wire { get; }

    public ITokenizer Tokenizer { get; }

    public IDevice Device { get; }

    public ParameterSet[] Parameters { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Array.ForEach(Parameters, parameters => parameters.Dispose());
        Device.Dispose();
    }
}
