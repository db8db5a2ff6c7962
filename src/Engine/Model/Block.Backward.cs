// The block in reverse. `stream` holds the gradient of the residual stream [R, C] and is updated in place, `branch` that
// of a branch. Weight gradients are added, so microbatches sum in the order of the calls. What a setting did not keep is
// computed again by the same operations as in forward, so every setting gives the same bits.
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

sealed partial class Block
{
    /// <summary>Writes again what forward did not keep. The input is there, or the code it came from.</summary>
    public void Recompute(BlockActivations x, BlockPass pass, RecomputeKind kind)
    {
        if (kind == RecomputeKind.Block)
        {
            if (Receives)
            {
                EnterCode(x, pass);
            }
            else
            {
                EnterStream(x);
            }

            Attend(x, pass);
            Expand(x);
            if (Sends)
            {
                Contract(x, pass.Shape.Rows);
            }
        }
        else if (kind == RecomputeKind.Norm)
        {
            EnterStream(x);
            _ops.RmsNormForward(x.AfterAttention, _weights.FeedForwardNorm.Value, x.FeedForwardNormed, x.FeedForwardRstd, _model.NormEpsilon);
        }
    }

    /// <summary>From the gradient of the code: stream = that of a, branch = that of the feed-forward's output.</summary>
    public void EncodeBackward(BlockActivations x, Tensor stream)
    {
        Tensor branch = Branch(stream.Rows);
        _ops.SiluForward(x.FeedForwardOutput, branch);
        AddProduct(x.CodeOutGradient, branch, _weights.Encoder.Gradient);
        _ops.MatrixProduct(x.CodeOutGradient, false, _weights.Encoder.Value, false, branch, 1, 0);
        _ops.SiluBackward(x.FeedForwardOutput, branch, branch);
        _ops.Zero(stream);
        _ops.Copy(x.CodeOutGradient, CodeColumns(stream));
    }

    /// <summary>stream += the gradient through the feed-forward, whose output has the gradient <paramref name="output"/>.</summary>
    public void FeedForwardBackward(BlockActivations x, Tensor output, Tensor stream)
    {
        Tensor branch = Branch(stream.Rows), product = _scratch.Product.RowRange(0, stream.Rows);
        _ops.MatrixProduct(output, false, _weights.Down.Value, false, product, 1, 0);
        _ops.SwiGluBackward(x.GateUp, product);
        AddProduct(output, product, _weights.Down.Gradient);
        AddProduct(x.GateUp, x.FeedForwardNormed, _weights.GateUp.Gradient);
        _ops.MatrixProduct(x.GateUp, false, _weights.GateUp.Value, false, branch, 1, 0);
        _ops.RmsNormBackward(
            branch, x.AfterAttention, _weights.FeedForwardNorm.Value, x.FeedForwardRstd, stream, accumulate: true, _weights.FeedForwardNorm.Gradient);
    }

    /// <summary>branch = the gradient of the first norm's output, from that of the attention's output in stream.</summary>
    public void AttendBackward(BlockActivations x, BlockPass pass, Tensor stream)
    {
        int rows = stream.Rows;
        Tensor attendedGradient = _scratch.Branch.Reshaped(rows, pass.Shape.OutputColumns);
        Tensor packedGradient = _scratch.QueryKeyValueGradient.RowRange(0, rows);
        _ops.MatrixProduct(stream, false, _weights.AttentionOutput.Value, false, attendedGradient, 1, 0);
        AddProduct(stream, x.Attended, _weights.AttentionOutput.Gradient);
        _ops.AttentionBackward(
            x.QueryKeyValue, x.Attended, attendedGradient, LogSumExp(x, pass.Shape), packedGradient, _scratch.Attention, pass.Shape,
            _scratch.RotaryTable, pass.Start);
        AddProduct(packedGradient, x.AttentionNormed, _weights.QueryKeyValue.Gradient);
        _ops.MatrixProduct(packedGradient, false, _weights.QueryKeyValue.Value, false, Branch(rows), 1, 0);
    }

    /// <summary>stream += the gradient through the first norm: stream is then the gradient of the block's input.</summary>
    public void EnterBackward(BlockActivations x, Tensor stream) =>
        _ops.RmsNormBackward(
            Branch(stream.Rows), x.Input, _weights.AttentionNorm.Value, x.AttentionRstd, stream, accumulate: true, _weights.AttentionNorm.Gradient);

    /// <summary>The gradient of the code that the block started from, into <see cref="BlockActivations.CodeInGradient"/>.</summary>
    public void EnterCodeBackward(BlockActivations x, BlockPass pass, Tensor stream)
    {
        Tensor branch = Branch(stream.Rows);
        _ops.RmsNormBackward(
            branch, x.Input, _weights.AttentionNorm.Value, x.AttentionRstd, branch, accumulate: false, _weights.AttentionNorm.Gradient);
        if (IsAnchored)
        {
            _ops.Add(branch, stream);
            AnchorBackward(x, pass, stream);
        }

        _ops.ReluBackward(IsAnchored ? x.Decoded : x.Input, branch, branch);
        AddProduct(branch, x.CodeIn, _weights.Decoder.Gradient);
        _ops.Copy(CodeColumns(stream), x.CodeInGradient);
        _ops.MatrixProduct(branch, false, _weights.Decoder.Value, false, x.CodeInGradient, 1, 1);
    }

    void AnchorBackward(BlockActivations x, BlockPass pass, Tensor stream)
    {
        if (_weights.AnchorProjection.Value.IsEmpty)
        {
            _ops.EmbeddingBackward(pass.Ids, stream, _weights.Anchor.Gradient);
            return;
        }

        Tensor rowGradient = _scratch.AnchorRowGradient.RowRange(0, stream.Rows);
        AddProduct(stream, x.AnchorRow, _weights.AnchorProjection.Gradient);
        _ops.MatrixProduct(stream, false, _weights.AnchorProjection.Value, false, rowGradient, 1, 0);
        _ops.EmbeddingBackward(pass.Ids, rowGradient, _weights.Anchor.Gradient);
    }

    // dW += dy^T * x
    void AddProduct(Tensor outputGradient, Tensor input, Tensor weightGradient) =>
        _ops.MatrixProduct(outputGradient, true, input, false, weightGradient, 1, 1);
}
