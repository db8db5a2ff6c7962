// What one block keeps of one microbatch between forward and backward. Which of it is the block's own and which is one
// shared tensor, written again by backward, is the recomputation setting:
//   none   own: everything                                   R*(4C + (H+2G)*D + H*D + 2F) elements a block
//   norm   own: all but the two norm outputs                 2*R*C less; the SwiGLU product is never kept in any setting
//   block  own: the input only                               R*C
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>Activations of one block, in the order in which forward writes them.</summary>
readonly record struct BlockActivations
{
    /// <summary>Code or full activation that arrived [R, Z or C]; only where the block receives one.</summary>
    public Tensor CodeIn { get; init; }

    /// <summary>u = U[id] of a factorised anchor [R, r].</summary>
    public Tensor AnchorRow { get; init; }

    /// <summary>d = relu(Wd*z) [R, C] of an anchored receiver; of a ResBM receiver d is <see cref="Input"/>.</summary>
    public Tensor Decoded { get; init; }

    /// <summary>What the first norm reads [R, C].</summary>
    public Tensor Input { get; init; }

    /// <summary>[R, 1] Float32.</summary>
    public Tensor AttentionRstd { get; init; }

    /// <summary>[R, C].</summary>
    public Tensor AttentionNormed { get; init; }

    /// <summary>[R, (H+2G)*D], rotated.</summary>
    public Tensor QueryKeyValue { get; init; }

    /// <summary>[R, H*D].</summary>
    public Tensor Attended { get; init; }

    /// <summary>[B*H, T] Float32.</summary>
    public Tensor LogSumExp { get; init; }

    /// <summary>The residual stream after attention [R, C].</summary>
    public Tensor AfterAttention { get; init; }

    /// <summary>[R, 1] Float32.</summary>
    public Tensor FeedForwardRstd { get; init; }

    /// <summary>[R, C].</summary>
    public Tensor FeedForwardNormed { get; init; }

    /// <summary>[R, 2F]; backward overwrites it with its gradient.</summary>
    public Tensor GateUp { get; init; }

    /// <summary>f, output of the feed-forward [R, C]; kept only where an encoder reads it.</summary>
    public Tensor FeedForwardOutput { get; init; }

    /// <summary>What is sent [R, Z or C]; only where the block sends.</summary>
    public Tensor CodeOut { get; init; }

    /// <summary>Gradient of <see cref="CodeOut"/>, from the receiver.</summary>
    public Tensor CodeOutGradient { get; init; }

    /// <summary>Gradient of <see cref="CodeIn"/>, for the sender.</summary>
    public Tensor CodeInGradient { get; init; }

    /// <summary>The same activations for the first <paramref name="rows"/> rows.</summary>
    public BlockActivations Rows(int rows) => this with
    {
        CodeIn = Top(CodeIn, rows),
        AnchorRow = Top(AnchorRow, rows),
        Decoded = Top(Decoded, rows),
        Input = Top(Input, rows),
        AttentionRstd = Top(AttentionRstd, rows),
        AttentionNormed = Top(AttentionNormed, rows),
        QueryKeyValue = Top(QueryKeyValue, rows),
        Attended = Top(Attended, rows),
        AfterAttention = Top(AfterAttention, rows),
        FeedForwardRstd = Top(FeedForwardRstd, rows),
        FeedForwardNormed = Top(FeedForwardNormed, rows),
        GateUp = Top(GateUp, rows),
        FeedForwardOutput = Top(FeedForwardOutput, rows),
        CodeOut = Top(CodeOut, rows),
        CodeOutGradient = Top(CodeOutGradient, rows),
        CodeInGradient = Top(CodeInGradient, rows),
    };

    static Tensor Top(Tensor tensor, int rows) => tensor.IsEmpty ? tensor : tensor.RowRange(0, rows);
}
