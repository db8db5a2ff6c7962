// The activation memory of a stage: one set of tensors for each microbatch in flight, one scratch set for all of them.
// Laid out once; forward and backward only ever write here.
// Offloaded, what a block keeps has two places: a frame on the device, which the blocks take in turn (block i frame i mod 2) and all
// microbatches share, and a place of its own in host memory, laid out in the same way. Codes and the head's tensors stay on the device.
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>Activations of one microbatch in flight.</summary>
/// <param name="Inputs">Token ids [R, 1] Int32.</param>
/// <param name="Targets">Ids to predict [R, 1] Int32, negative where none; empty unless the stage has the head.</param>
/// <param name="Losses">[R, 1] Float32 nats.</param>
/// <param name="FinalInput">The residual stream after the last block [R, C].</param>
/// <param name="FinalNormed">The head's input [R, C].</param>
sealed record SlotMemory(
    Tensor Inputs, Tensor Targets, Tensor Losses, BlockActivations[] Blocks, Tensor FinalInput, Tensor FinalRstd, Tensor FinalNormed);

/// <summary>Where the kept activations of one block and one microbatch lie.</summary>
/// <param name="Frame">Index of the frame.</param>
/// <param name="Device">Address of the frame.</param>
/// <param name="HostOffset">Bytes from the start of the stage's host memory.</param>
/// <param name="Bytes">What moves.</param>
readonly record struct Offloaded(int Frame, nint Device, long HostOffset, long Bytes);

/// <summary>Memory that no microbatch keeps between calls.</summary>
/// <param name="Branch">Output of a branch on its way to the residual stream, and in backward its gradient [R, max(C, H*D)].</param>
/// <param name="Stream">Gradient of the residual stream [R, C].</param>
/// <param name="Product">SwiGLU's output, and in backward its gradient [R, F].</param>
/// <param name="QueryKeyValueGradient">[R, (H+2G)*D].</param>
/// <param name="AnchorRowGradient">[R, r].</param>
/// <param name="PackedCode">A code as it would be on the wire; only where <see cref="StageMemory.RoundsCodes"/>.</param>
/// <param name="Sums">Float64 results that the host reads.</param>
sealed record ScratchMemory(
    Tensor Branch, Tensor Stream, Tensor Product, Tensor QueryKeyValueGradient, Tensor AnchorRowGradient, nint PackedCode, nint Attention, nint Classifier,
    Tensor Sums, Tensor RotaryTable);

/// <summary>Keys and values of the tokens so far, of one block and one sequence: [context, G*D] each.</summary>
readonly record struct KeyValueCache(Tensor Keys, Tensor Values);

/// <summary>Lays a stage's activations into an arena that may be dry.</summary>
sealed class StageMemory
{
    readonly ModelConfig _model;
    readonly StageRange _range;
    readonly StageOptions _options;
    readonly ElementType _type;
    readonly nint[] _frames;

    public StageMemory(ModelConfig model, StageRange range, StageOptions options, IDeviceSizes device, Arena arena)
    {
        (_model, _range, _options, _type) = (model, range, options, device.ComputeType);
        RoundsCodes = model.HasCodesWithin(range) && CodeWire.Rounds(options.Wire, _type);
        IsOffloaded = options.Offload && options.Training && device.IsApart;
        long before = arena.Bytes;
        Scratch = LayScratch(arena, device.Scratch);
        BlockActivations shared = options.Training && options.Recompute == RecomputeKind.None ? default : LayShared(arena);
        _frames = LayFrames(arena, shared);
        ScratchBytes = arena.Bytes - before;
        Moves = new Offloaded[options.Slots, IsOffloaded ? range.BlockCount : 0];
        Slots = new SlotMemory[options.Slots];
        for (int i = 0; i < Slots.Length; i++)
        {
            Slots[i] = LaySlot(arena, shared, i);
        }

        SlotBytes = (arena.Bytes - before - ScratchBytes) / Math.Max(1, options.Slots);
        Caches = new KeyValueCache[options.Cached ? range.BlockCount : 0];
        for (int i = 0; i < Caches.Length; i++)
        {
            int columns = model.KeyValueHeads * model.HeadWidth;
            Caches[i] = new KeyValueCache(arena.Take(_type, model.Context, columns), arena.Take(_type, model.Context, columns));
        }

        CacheBytes = arena.Bytes - before - ScratchBytes - (SlotBytes * options.Slots);
    }

    public ScratchMemory Scratch { get; }

    public SlotMemory[] Slots { get; }

    public KeyValueCache[] Caches { get; }

    public long ScratchBytes { get; }

    public long SlotBytes { get; }

    public long CacheBytes { get; }

    /// <summary>True when codes stay within the stage that would lose bits on the wire.</summary>
    public bool RoundsCodes { get; }

    /// <summary>True when what blocks keep goes to host memory.</summary>
    public bool IsOffloaded { get; }

    /// <summary>Frames on the device.</summary>
    public int FrameCount => _frames.Length;

    /// <summary>Page-locked host memory of all slots.</summary>
    public long HostBytes { get; private set; }

    /// <summary>What moves, by slot and block; without blocks when nothing does.</summary>
    public Offloaded[,] Moves { get; }

    int Rows => _options.Rows;

    int PackedColumns => (_model.QueryHeads + (2 * _model.KeyValueHeads)) * _model.HeadWidth;

    int AttendedColumns => _model.QueryHeads * _model.HeadWidth;

    ScratchMemory LayScratch(Arena arena, IScratchSizes sizes)
    {
        AttentionShape shape = new(_options.Sequences, _options.Tokens, _model.QueryHeads, _model.KeyValueHeads, _model.HeadWidth);
        bool training = _options.Training;
        return new ScratchMemory(
            Branch: arena.Take(_type, Rows, Math.Max(_model.Width, AttendedColumns)),
            Stream: training ? arena.Take(_type, Rows, _model.Width) : default,
            Product: arena.Take(_type, Rows, _model.FeedForward),
            QueryKeyValueGradient: training ? arena.Take(_type, Rows, PackedColumns) : default,
            AnchorRowGradient: training && _model.AnchorRank > 0 ? arena.Take(_type, Rows, _model.AnchorRank) : default,
            PackedCode: RoundsCodes ? arena.TakeBytes(CodeWire.Bytes(_options.Wire, Rows, _model.CodeWidth)) : 0,
            Attention: training ? arena.TakeBytes(sizes.AttentionBackwardBytes(shape)) : 0,
            Classifier: _range.HasHead ? arena.TakeBytes(sizes.ClassifierBytes(Rows, _model.Width, _model.Vocabulary)) : 0,
            Sums: arena.Take(ElementType.Float64, 1, 1),
            RotaryTable: arena.Take(ElementType.Float32, _model.Context, _model.HeadWidth));
    }

    // everything that a setting may share; what stays unused in a setting is not laid out at all
    BlockActivations LayShared(Arena arena)
    {
        bool whole = !_options.Training || _options.Recompute == RecomputeKind.Block;
        BlockActivations norms = new()
        {
            AttentionNormed = arena.Take(_type, Rows, _model.Width),
            FeedForwardNormed = arena.Take(_type, Rows, _model.Width),
        };
        return !whole ? norms : LayInner(arena, norms) with
        {
            Input = arena.Take(_type, Rows, _model.Width),
            AnchorRow = HasAnchorFactors ? arena.Take(_type, Rows, _model.AnchorRank) : default,
            Decoded = HasAnchors ? arena.Take(_type, Rows, _model.Width) : default,
            FeedForwardOutput = _model.HasCodes ? arena.Take(_type, Rows, _model.Width) : default,
        };
    }

    bool HasAnchors => _model.HasCodes && _model.Boundary == BoundaryKind.Anchored;

    bool HasAnchorFactors => HasAnchors && _model.AnchorRank > 0;

    BlockActivations LayInner(Arena arena, BlockActivations norms) => norms with
    {
        AttentionRstd = arena.Take(ElementType.Float32, Rows, 1),
        QueryKeyValue = arena.Take(_type, Rows, PackedColumns),
        Attended = arena.Take(_type, Rows, AttendedColumns),
        LogSumExp = arena.Take(ElementType.Float32, _options.Sequences * _model.QueryHeads, _options.Tokens),
        AfterAttention = arena.Take(_type, Rows, _model.Width),
        FeedForwardRstd = arena.Take(ElementType.Float32, Rows, 1),
        GateUp = arena.Take(_type, Rows, 2 * _model.FeedForward),
    };

    // two: one computes while the other leaves, or while the next comes back
    nint[] LayFrames(Arena arena, BlockActivations shared)
    {
        if (!IsOffloaded)
        {
            return [];
        }

        long largest = 0;
        for (int i = 0; i < _range.BlockCount; i++)
        {
            int block = i;
            largest = Math.Max(largest, Arena.Measure(frame => LayBlock(frame, new Arena(0), shared, block, default)));
        }

        nint[] frames = new nint[Math.Min(2, _range.BlockCount)];
        for (int i = 0; i < frames.Length; i++)
        {
            frames[i] = arena.TakeBytes(largest);
        }

        return frames;
    }

    SlotMemory LaySlot(Arena arena, BlockActivations shared, int slot)
    {
        BlockActivations[] blocks = new BlockActivations[_range.BlockCount];
        for (int i = 0; i < blocks.Length; i++)
        {
            BlockActivations previous = i == 0 ? default : blocks[i - 1];
            if (!IsOffloaded)
            {
                blocks[i] = LayBlock(arena, arena, shared, i, previous);
                continue;
            }

            int frame = i % FrameCount;
            Arena kept = new(_frames[frame]);
            blocks[i] = LayBlock(kept, arena, shared, i, previous);
            Moves[slot, i] = new Offloaded(frame, _frames[frame], HostBytes, kept.Bytes);
            HostBytes += kept.Bytes;
        }

        bool head = _range.HasHead;
        return new SlotMemory(
            Inputs: arena.Take(ElementType.Int32, Rows, 1),
            Targets: head ? arena.Take(ElementType.Int32, Rows, 1) : default,
            Losses: head ? arena.Take(ElementType.Float32, Rows, 1) : default,
            blocks,
            FinalInput: head ? arena.Take(_type, Rows, _model.Width) : default,
            FinalRstd: head ? arena.Take(ElementType.Float32, Rows, 1) : default,
            FinalNormed: head ? arena.Take(_type, Rows, _model.Width) : default);
    }

    // `kept` holds what backward will want back, `arena` the codes
    BlockActivations LayBlock(Arena kept, Arena arena, BlockActivations shared, int index, BlockActivations previous)
    {
        int layer = _range.FirstBlock + index;
        bool own = _options.Training && _options.Recompute != RecomputeKind.Block;
        BlockActivations x = !own ? shared : LayInner(kept, _options.Recompute == RecomputeKind.Norm ? shared : new()
        {
            AttentionNormed = kept.Take(_type, Rows, _model.Width),
            FeedForwardNormed = kept.Take(_type, Rows, _model.Width),
        });
        x = LayReceiver(kept, arena, x, layer, own, index == 0, previous);
        return LaySender(kept, arena, x, layer, own, index == _range.BlockCount - 1);
    }

    BlockActivations LayReceiver(Arena kept, Arena arena, BlockActivations x, int layer, bool own, bool first, BlockActivations previous)
    {
        if (!first && !_model.ReceivesCode(layer))
        {
            return _options.Training ? x with { Input = kept.Take(_type, Rows, _model.Width) } : x;
        }

        if (layer == 0)
        {
            return x with { Input = kept.Take(_type, Rows, _model.Width) };
        }

        // inside a stage the receiver reads the code where the sender wrote it
        x = first
            ? x with
            {
                CodeIn = arena.Take(_type, Rows, _model.BoundaryWidth),
                CodeInGradient = _options.Training ? arena.Take(_type, Rows, _model.BoundaryWidth) : default,
            }
            : x with { CodeIn = previous.CodeOut, CodeInGradient = previous.CodeOutGradient };
        if (!_model.HasCodes)
        {
            return x with { Input = x.CodeIn };
        }

        return !own ? x : x with
        {
            Input = kept.Take(_type, Rows, _model.Width),
            AnchorRow = HasAnchorFactors ? kept.Take(_type, Rows, _model.AnchorRank) : default,
            Decoded = HasAnchors ? kept.Take(_type, Rows, _model.Width) : default,
        };
    }

    BlockActivations LaySender(Arena kept, Arena arena, BlockActivations x, int layer, bool own, bool last)
    {
        bool encodes = _model.SendsCode(layer);
        if (!encodes && (!last || _range.HasHead))
        {
            return x;
        }

        return x with
        {
            FeedForwardOutput = encodes && own ? kept.Take(_type, Rows, _model.Width) : x.FeedForwardOutput,
            CodeOut = arena.Take(_type, Rows, _model.BoundaryWidth),
            CodeOutGradient = _options.Training ? arena.Take(_type, Rows, _model.BoundaryWidth) : default,
        };
    }
}
