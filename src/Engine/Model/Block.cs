// A transformer block, forward, in the order of the computation; Block.Backward.cs runs it in reverse.
//   plain       a = h + Attn(norm(h))                                   y = a + FFN(norm(a))
//   sender      z = W4*silu(FFN(norm(a))) + a[0:Z]                      instead of y                 ResBM, arXiv:2604.11947
//   receiver    d = relu(Wd*z)    a = Attn(norm(d)) + [z, 0]            Attn without the residual
//   anchored    x = A[id] + [z, 0]    a = x + Attn(norm(x + d))         receiver of --boundary anchored
// Attn and FFN include their output projections. The sum y is left to the next norm, which adds and normalises in one pass.
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>One block's arithmetic over memory that the stage planned.</summary>
sealed partial class Block(ModelConfig model, int layer, BlockWeights weights, ScratchMemory scratch, IOps ops)
{
    readonly ModelConfig _model = model;
    readonly BlockWeights _weights = weights;
    readonly ScratchMemory _scratch = scratch;
    readonly IOps _ops = ops;

    /// <summary>True when the block starts from a code.</summary>
    public bool Receives { get; } = model.ReceivesCode(layer);

    /// <summary>True when the block ends in a code.</summary>
    public bool Sends { get; } = model.SendsCode(layer);

    bool IsAnchored => Receives && _model.Boundary == BoundaryKind.Anchored;

    /// <summary>Starts from the sum of the block before and its feed-forward: input = residual + branch, then the norm.</summary>
    public void EnterSum(BlockActivations x, Tensor residual, Tensor branch) =>
        _ops.AddRmsNormForward(residual, branch, _weights.AttentionNorm.Value, x.Input, x.AttentionNormed, x.AttentionRstd, _model.NormEpsilon);

    /// <summary>Starts from <see cref="BlockActivations.Input"/>, which is already there.</summary>
    public void EnterStream(BlockActivations x) =>
        _ops.RmsNormForward(x.Input, _weights.AttentionNorm.Value, x.AttentionNormed, x.AttentionRstd, _model.NormEpsilon);

    /// <summary>Starts from the code in <see cref="BlockActivations.CodeIn"/>.</summary>
    public void EnterCode(BlockActivations x, BlockPass pass)
    {
        Tensor decoded = IsAnchored ? x.Decoded : x.Input;
        _ops.CodeDecode(x.CodeIn, _weights.Decoder.Value, decoded);
        if (!IsAnchored)
        {
            EnterStream(x);
            return;
        }

        // the restarted stream waits in AfterAttention for the attention's output
        Tensor stream = x.AfterAttention;
        if (_weights.AnchorProjection.Value.IsEmpty)
        {
            _ops.EmbeddingForward(pass.Ids, _weights.Anchor.Value, stream);
        }
        else
        {
            _ops.EmbeddingForward(pass.Ids, _weights.Anchor.Value, x.AnchorRow);
            _ops.MatrixProduct(x.AnchorRow, false, _weights.AnchorProjection.Value, true, stream, 1, 0);
        }

        _ops.Add(x.CodeIn, CodeColumns(stream));
        EnterSum(x, stream, decoded);
    }

    /// <summary>From the first norm's output to the second's.</summary>
    public void Attend(BlockActivations x, BlockPass pass)
    {
        _ops.MatrixProduct(x.AttentionNormed, false, _weights.QueryKeyValue.Value, true, x.QueryKeyValue, 1, 0);
        _ops.Rotary(x.QueryKeyValue, _scratch.RotaryTable, pass.Shape, pass.Start, inverse: false);
        if (pass.Cache.Keys.IsEmpty)
        {
            _ops.AttentionForward(x.QueryKeyValue, x.Attended, LogSumExp(x, pass.Shape), pass.Shape);
        }
        else
        {
            _ops.AttentionCached(x.QueryKeyValue, pass.Cache.Keys, pass.Cache.Values, pass.Start, x.Attended, pass.Shape);
        }

        if (Receives && !IsAnchored)
        {
            _ops.MatrixProduct(x.Attended, false, _weights.AttentionOutput.Value, true, x.AfterAttention, 1, 0);
            _ops.Add(x.CodeIn, CodeColumns(x.AfterAttention));
            _ops.RmsNormForward(x.AfterAttention, _weights.FeedForwardNorm.Value, x.FeedForwardNormed, x.FeedForwardRstd, _model.NormEpsilon);
            return;
        }

        Tensor branch = Branch(pass.Shape.Rows);
        _ops.MatrixProduct(x.Attended, false, _weights.AttentionOutput.Value, true, branch, 1, 0);
        _ops.AddRmsNormForward(
            IsAnchored ? x.AfterAttention : x.Input, branch, _weights.FeedForwardNorm.Value,
            x.AfterAttention, x.FeedForwardNormed, x.FeedForwardRstd, _model.NormEpsilon);
    }

    /// <summary>The feed-forward's hidden layer: gate and up.</summary>
    public void Expand(BlockActivations x) =>
        _ops.MatrixProduct(x.FeedForwardNormed, false, _weights.GateUp.Value, true, x.GateUp, 1, 0);

    /// <summary>The feed-forward's output, [R, C]: in the scratch branch, or kept where an encoder needs it.</summary>
    public Tensor Contract(BlockActivations x, int rows)
    {
        Tensor output = Sends ? x.FeedForwardOutput : Branch(rows);
        Tensor product = _scratch.Product.RowRange(0, rows);
        _ops.SwiGluForward(x.GateUp, product);
        _ops.MatrixProduct(product, false, _weights.Down.Value, true, output, 1, 0);
        return output;
    }

    /// <summary>z = W4*silu(f) + a[0:Z] into <see cref="BlockActivations.CodeOut"/>.</summary>
    public void Encode(BlockActivations x, int rows)
    {
        Tensor activated = Branch(rows);
        _ops.SiluForward(x.FeedForwardOutput, activated);
        _ops.CodeEncode(activated, _weights.Encoder.Value, CodeColumns(x.AfterAttention), x.CodeOut);
    }

    Tensor Branch(int rows) => _scratch.Branch.Reshaped(rows, _model.Width);

    Tensor CodeColumns(Tensor stream) => stream.ColumnRange(0, _model.CodeWidth);

    static Tensor LogSumExp(BlockActivations x, AttentionShape shape) =>
        x.LogSumExp.Reshaped(shape.Sequences * shape.QueryHeads, shape.Tokens);
}

/// <summary>Smaller shapes over the memory of a planned tensor.</summary>
static class TensorViews
{
    /// <summary>The first rows*columns elements of a contiguous tensor, as [rows, columns].</summary>
    public static Tensor Reshaped(this Tensor tensor, int rows, int columns) =>
        (long)rows * columns <= tensor.Count
            ? new Tensor(tensor.Address, tensor.Type, rows, columns)
            : throw new ArgumentException($"[{rows}, {columns}] does not fit the planned {tensor}");
}
