// A stage of the model: forward from token ids or a code to a code or the head's input, backward the same way back.
// Each microbatch in flight lives in a slot; calls for different slots may interleave in any order (1F1B), and weight
// gradients sum in the order of the backward calls. Nothing is allocated after construction.
// At a boundary inside the stage the code, and going back its gradient, loses the bits that it would lose on the wire.
// Invariant: a model cut anywhere gives the bits of the uncut one; the only thing that crosses is the code tensor.
using System.Runtime.InteropServices;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>The stage that a <see cref="ParameterSet"/> holds the weights of.</summary>
sealed class StageModel : IDisposable
{
    readonly IDevice _device;
    readonly IOps _ops;
    readonly StageMemory _memory;
    readonly Block[] _blocks;
    readonly nint _address;
    readonly SlotState[] _state;
    readonly IRecordedWork[] _forward;
    readonly IRecordedWork[] _backward;
    readonly float[] _gradientScale;
    readonly IFrames? _frames;
    readonly nint _host;

    /// <summary>Plans and allocates the activations. The parameters are shared, not owned.</summary>
    /// <exception cref="InsufficientMemoryException">The device cannot give the planned bytes.</exception>
    public StageModel(ParameterSet parameters, StageOptions options)
    {
        (Parameters, Options) = (parameters, options);
        Model = parameters.Model;
        Range = parameters.Range;
        _device = parameters.Device;
        _ops = _device.Ops;
        if (options.Tokens > Model.Context)
        {
            throw new ConfigurationException($"a sequence of {options.Tokens} tokens does not fit the model's context of {Model.Context}");
        }

        StageMemory? memory = null;
        _address = Arena.Allocate(_device, $"activations of {Range}", arena => memory = new StageMemory(Model, Range, options, _device, arena));
        _memory = memory!;
        if (_memory.IsOffloaded)
        {
            _frames = _device.Transfers.OpenFrames(_memory.FrameCount);
            _host = _device.Transfers.AllocateHost(_memory.HostBytes, $"activations of {Range}");
        }

        _blocks = new Block[Range.BlockCount];
        for (int i = 0; i < _blocks.Length; i++)
        {
            _blocks[i] = new Block(Model, Range.FirstBlock + i, parameters.Layout.Blocks[i], _memory.Scratch, _ops);
        }

        _state = new SlotState[options.Slots];
        _gradientScale = new float[options.Slots];
        _forward = [.. Enumerable.Range(0, options.Slots).Select(slot => _device.Record(() => CallForward(slot)))];
        _backward = [.. Enumerable.Range(0, options.Slots).Select(RecordBackward)];
        _ops.RotaryTable(_memory.Scratch.RotaryTable, Model.RotaryBase);
    }

    /// <summary>The weights.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>Sizes.</summary>
    public StageOptions Options { get; }

    /// <summary>The model this is a stage of.</summary>
    public ModelConfig Model { get; }

    /// <summary>The stage's blocks.</summary>
    public StageRange Range { get; }

    /// <summary>Where to put the code that arrived for a slot, [R, Z] or at ratio 1 [R, C]; empty for the first stage.</summary>
    public Tensor CodeIn(int slot) => View(_memory.Slots[slot].Blocks[0].CodeIn, slot);

    /// <summary>The code that a slot's forward made; empty for the last stage.</summary>
    public Tensor CodeOut(int slot) => View(_memory.Slots[slot].Blocks[^1].CodeOut, slot);

    /// <summary>Where to put the gradient of <see cref="CodeOut"/> that arrived for a slot; empty for the last stage.</summary>
    public Tensor CodeOutGradient(int slot) => View(_memory.Slots[slot].Blocks[^1].CodeOutGradient, slot);

    /// <summary>The gradient of <see cref="CodeIn"/> that a slot's backward made; empty for the first stage.</summary>
    public Tensor CodeInGradient(int slot) => View(_memory.Slots[slot].Blocks[0].CodeInGradient, slot);

    /// <summary>The head's input [R, C] of a slot's forward; empty unless the stage has the head.</summary>
    public Tensor Hidden(int slot) => View(_memory.Slots[slot].FinalNormed, slot);

    Tensor View(Tensor planned, int slot) => planned.IsEmpty ? planned : planned.RowRange(0, _state[slot].Sequences * _state[slot].Tokens);

    /// <summary>Opens a slot for a microbatch: token ids, sequence after sequence, and for the last stage the ids to predict
    /// (negative: none). Ids are in [0, V): data checks that when it is read.</summary>
    /// <param name="slot">In [0, <see cref="StageOptions.Slots"/>).</param>
    /// <param name="inputs">sequences*tokens ids; every stage gets them, for they travel with the microbatch.</param>
    /// <param name="targets">As many, or none where no loss is asked for.</param>
    /// <param name="tokens">Tokens of each sequence, at most the planned ones.</param>
    /// <param name="start">Position of the first token; beyond 0 only in a stage with a cache.</param>
    public void Begin(int slot, ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int tokens, int start = 0)
    {
        if (inputs.Length == 0 || inputs.Length % tokens != 0 || inputs.Length > Options.Rows || tokens > Options.Tokens)
        {
            throw new ArgumentException($"{inputs.Length} ids in sequences of {tokens} do not fit a microbatch of at most {Options.Sequences} sequences of {Options.Tokens}");
        }

        _state[slot] = new SlotState(inputs.Length / tokens, tokens, start);
        SlotMemory memory = _memory.Slots[slot];
        _device.Upload(MemoryMarshal.AsBytes(inputs), memory.Inputs.Address);
        if (Range.HasHead && targets.Length > 0)
        {
            if (targets.Length != inputs.Length)
            {
                throw new ArgumentException($"{inputs.Length} input ids but {targets.Length} targets");
            }

            _device.Upload(MemoryMarshal.AsBytes(targets), memory.Targets.Address);
        }
    }

    /// <summary>Runs the blocks: to <see cref="CodeOut"/>, or in the last stage to <see cref="Hidden"/>.</summary>
    public void Forward(int slot)
    {
        if (IsWhole(slot))
        {
            _forward[slot].Run();
        }
        else
        {
            CallForward(slot);
        }
    }

    // a microbatch of the planned shape is the same calls every time, which a device may have recorded
    bool IsWhole(int slot) => !Options.Cached && _state[slot] == new SlotState(Options.Sequences, Options.Tokens, 0);

    IRecordedWork RecordBackward(int slot) => _device.Record(() => CallBackward(slot, _gradientScale[slot]));

    void CallForward(int slot)
    {
        SlotMemory memory = _memory.Slots[slot];
        int rows = _state[slot].Sequences * _state[slot].Tokens;
        BlockActivations x = default;
        Tensor branch = default;
        _frames?.Begin();
        for (int i = 0; i < _blocks.Length; i++)
        {
            _frames?.Claim(_memory.Moves[slot, i].Frame);
            Block block = _blocks[i];
            BlockActivations previous = x;
            x = memory.Blocks[i].Rows(rows);
            BlockPass pass = Pass(slot, i);
            if (block.Receives)
            {
                block.EnterCode(x, pass);
            }
            else if (i > 0)
            {
                block.EnterSum(x, previous.AfterAttention, branch);
            }
            else
            {
                if (Range.HasEmbedding)
                {
                    _ops.EmbeddingForward(pass.Ids, Parameters.Layout.Embedding.Value, x.Input);
                }

                block.EnterStream(x);
            }

            block.Attend(x, pass);
            block.Expand(x);
            branch = block.Contract(x, rows);
            if (block.Sends)
            {
                block.Encode(x, rows);
                Cross(x.CodeOut, isInside: i + 1 < _blocks.Length);
            }

            Depart(slot, i);
        }

        Leave(memory, x, branch, rows);
        _frames?.End();
    }

    void Depart(int slot, int block)
    {
        if (_frames is not null)
        {
            Offloaded move = _memory.Moves[slot, block];
            _frames.Depart(move.Frame, move.Device, _host + (nint)move.HostOffset, move.Bytes);
        }
    }

    // a block ahead, so that it comes while the block behind it computes
    void Fetch(int slot, int block)
    {
        if (_frames is not null && block >= 0)
        {
            Offloaded move = _memory.Moves[slot, block];
            _frames.Fetch(move.Frame, _host + (nint)move.HostOffset, move.Device, move.Bytes);
        }
    }

    // an uncut model adds the last branch inside the next norm; a cut adds here, the same sum in the same precision
    void Leave(SlotMemory memory, BlockActivations last, Tensor branch, int rows)
    {
        if (Range.HasHead)
        {
            _ops.AddRmsNormForward(
                last.AfterAttention, branch, Parameters.Layout.FinalNorm.Value, memory.FinalInput.RowRange(0, rows),
                memory.FinalNormed.RowRange(0, rows), memory.FinalRstd.RowRange(0, rows), Model.NormEpsilon);
        }
        else if (!_blocks[^1].Sends)
        {
            _ops.Copy(last.AfterAttention, last.CodeOut);
            _ops.Add(branch, last.CodeOut);
        }
    }

    /// <summary>Adds the weight gradients of a slot's microbatch, from <see cref="CodeOutGradient"/> or in the last stage from
    /// gradientScale * sum of the losses, and writes <see cref="CodeInGradient"/>. Uses up the slot's activations.</summary>
    public void Backward(int slot, float gradientScale)
    {
        if (!IsWhole(slot))
        {
            CallBackward(slot, gradientScale);
            return;
        }

        if (_gradientScale[slot] != gradientScale)
        {
            _gradientScale[slot] = gradientScale;
            _backward[slot].Dispose();
            _backward[slot] = RecordBackward(slot);
        }

        _backward[slot].Run();
    }

    void CallBackward(int slot, float gradientScale)
    {
        SlotMemory memory = _memory.Slots[slot];
        int rows = _state[slot].Sequences * _state[slot].Tokens;
        Tensor stream = _memory.Scratch.Stream.RowRange(0, rows);
        _frames?.Begin();
        Fetch(slot, _blocks.Length - 1);
        if (Range.HasHead)
        {
            HeadBackward(memory, stream, gradientScale);
        }
        else if (!_blocks[^1].Sends)
        {
            _ops.Copy(CodeOutGradient(slot), stream);
        }

        for (int i = _blocks.Length - 1; i >= 0; i--)
        {
            Fetch(slot, i - 1);
            _frames?.Await(_memory.Moves[slot, i].Frame);
            BlockActivations x = memory.Blocks[i].Rows(rows);
            BlockBackward(_blocks[i], x, Pass(slot, i), stream);
            if (_blocks[i].Receives)
            {
                Cross(x.CodeInGradient, isInside: i > 0);
            }
        }

        if (Range.HasEmbedding)
        {
            _ops.EmbeddingBackward(memory.Inputs.RowRange(0, rows), stream, Parameters.Layout.Embedding.Gradient);
        }
        else if (!_blocks[0].Receives)
        {
            _ops.Copy(stream, CodeInGradient(slot));
        }

        _frames?.End();
    }

    // what the other side of the boundary would have unpacked; the sender's own copy has no other reader
    void Cross(Tensor code, bool isInside)
    {
        if (isInside && _memory.RoundsCodes)
        {
            _ops.CodePack(code, Options.Wire, _memory.Scratch.PackedCode);
            _ops.CodeUnpack(_memory.Scratch.PackedCode, Options.Wire, code);
        }
    }

    void BlockBackward(Block block, BlockActivations x, BlockPass pass, Tensor stream)
    {
        block.Recompute(x, pass, Options.Recompute);
        if (block.Sends)
        {
            block.EncodeBackward(x, stream);
        }

        block.FeedForwardBackward(x, block.Sends ? _memory.Scratch.Branch.Reshaped(stream.Rows, Model.Width) : stream, stream);
        block.AttendBackward(x, pass, stream);
        if (block.Receives)
        {
            block.EnterCodeBackward(x, pass, stream);
        }
        else
        {
            block.EnterBackward(x, stream);
        }
    }

    void HeadBackward(SlotMemory memory, Tensor stream, float gradientScale)
    {
        int rows = stream.Rows;
        Tensor branch = _memory.Scratch.Branch.Reshaped(rows, Model.Width);
        ParameterLayout weights = Parameters.Layout;
        _ops.Classifier(
            memory.FinalNormed.RowRange(0, rows), weights.Head.Value, memory.Targets.RowRange(0, rows), memory.Losses.RowRange(0, rows),
            branch, weights.Head.Gradient, gradientScale, _memory.Scratch.Classifier);
        _ops.RmsNormBackward(
            branch, memory.FinalInput.RowRange(0, rows), weights.FinalNorm.Value, memory.FinalRstd.RowRange(0, rows), stream,
            accumulate: false, weights.FinalNorm.Gradient);
    }

    /// <summary>Sum of a slot's losses in nats, after <see cref="Backward"/> or <see cref="ComputeLosses"/> of the last stage.</summary>
    public double LossSum(int slot)
    {
        Tensor sums = _memory.Scratch.Sums;
        SumLosses(slot, sums, 0);
        double sum = 0;
        _device.Download(sums.Address, MemoryMarshal.AsBytes(new Span<double>(ref sum)));
        return sum;
    }

    /// <summary>sums[index] (Float64) = <see cref="LossSum"/>, left on the device: nobody waits.</summary>
    public void SumLosses(int slot, Tensor sums, int index) => _ops.Sum(View(_memory.Slots[slot].Losses, slot), sums, index);

    /// <summary>The losses of a slot without gradients: evaluation. Last stage only.</summary>
    public void ComputeLosses(int slot) =>
        _ops.Classifier(
            Hidden(slot), Parameters.Layout.Head.Value, View(_memory.Slots[slot].Targets, slot), View(_memory.Slots[slot].Losses, slot),
            default, default, 1, _memory.Scratch.Classifier);

    BlockPass Pass(int slot, int block)
    {
        SlotState state = _state[slot];
        AttentionShape shape = new(state.Sequences, state.Tokens, Model.QueryHeads, Model.KeyValueHeads, Model.HeadWidth);
        return new BlockPass(
            shape, _memory.Slots[slot].Inputs.RowRange(0, shape.Rows), state.Start, Options.Cached ? _memory.Caches[block] : default);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Array.ForEach(_forward, work => work.Dispose());
        Array.ForEach(_backward, work => work.Dispose());
        if (_frames is not null)
        {
            _frames.Dispose();
            _device.Transfers.FreeHost(_host);
        }

        _device.Free(_address);
    }

    readonly record struct SlotState(int Sequences, int Tokens, int Start);
}
