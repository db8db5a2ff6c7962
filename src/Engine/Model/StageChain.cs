// Every stage of a model in one process, one after the other, with the code handed from stage to stage: what a swarm
// computes, without the network. A wire that holds the compute type copies the bits; a narrower one rounds exactly as between peers.
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>The stages of one model on one device.</summary>
sealed class StageChain : IDisposable
{
    readonly IDevice _device;
    readonly WireFormat _wire;
    readonly nint _packed;

    /// <summary>Builds the stages over parameter sets that cover the model in order. The parameters are shared, not owned.</summary>
    public StageChain(IReadOnlyList<ParameterSet> parameters, StageOptions options)
    {
        (_device, _wire) = (parameters[0].Device, options.Wire);
        Stages = new StageModel[parameters.Count];
        for (int i = 0; i < Stages.Length; i++)
        {
            Stages[i] = new StageModel(parameters[i], options);
        }

        if (Stages.Length > 1 && CodeWire.Rounds(_wire, _device.ComputeType))
        {
            _packed = _device.Allocate(CodeWire.Bytes(_wire, options.Rows, parameters[0].Model.BoundaryWidth), "codes between the stages");
        }
    }

    /// <summary>First to last.</summary>
    public StageModel[] Stages { get; }

    StageModel Last => Stages[^1];

    /// <summary>Loss and gradients of one microbatch, in slot 0. Returns the sum of the losses in nats.</summary>
    public double Train(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int tokens, float gradientScale)
    {
        CallTrain(inputs, targets, tokens, gradientScale);
        return Last.LossSum(0);
    }

    /// <summary>The same, with the sum of the losses left on the device in sums[index] (Float64): nobody waits.</summary>
    public void Train(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int tokens, float gradientScale, Tensor sums, int index)
    {
        CallTrain(inputs, targets, tokens, gradientScale);
        Last.SumLosses(0, sums, index);
    }

    void CallTrain(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int tokens, float gradientScale)
    {
        Forward(inputs, targets, tokens);
        for (int i = Stages.Length - 1; i >= 0; i--)
        {
            Stages[i].Backward(0, gradientScale);
            if (i > 0)
            {
                HandOver(Stages[i].CodeInGradient(0), Stages[i - 1].CodeOutGradient(0));
            }
        }
    }

    /// <summary>The sum of the losses of one microbatch in nats, without gradients.</summary>
    public double Evaluate(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int tokens)
    {
        Forward(inputs, targets, tokens);
        Last.ComputeLosses(0);
        return Last.LossSum(0);
    }

    /// <summary>Runs all stages and leaves the head's input in the last one's <see cref="StageModel.Hidden"/>.</summary>
    public void Forward(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int tokens, int start = 0)
    {
        for (int i = 0; i < Stages.Length; i++)
        {
            Stages[i].Begin(0, inputs, targets, tokens, start);
            if (i > 0)
            {
                HandOver(Stages[i - 1].CodeOut(0), Stages[i].CodeIn(0));
            }

            Stages[i].Forward(0);
        }
    }

    void HandOver(Tensor from, Tensor to)
    {
        if (_packed == 0)
        {
            _device.Ops.Copy(from, to);
            return;
        }

        _device.Ops.CodePack(from, _wire, _packed);
        _device.Ops.CodeUnpack(_packed, _wire, to);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (StageModel stage in Stages)
        {
            stage.Dispose();
        }

        if (_packed != 0)
        {
            _device.Free(_packed);
        }
    }
}
