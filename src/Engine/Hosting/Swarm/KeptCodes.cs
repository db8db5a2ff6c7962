// The codes of the open steps: what came in and went out of this stage, forward and backward, kept until the step is
// released so that any part of the work can be done again. A slot goes back to the pool when nobody needs or reads it.
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>A slot with its readers: the keeper and the sends under way.</summary>
sealed class HeldSlot(Slot slot)
{
    int _holders = 1;

    public Slot Slot => slot;

    public void Hold() => Interlocked.Increment(ref _holders);

    public void Release()
    {
        if (Interlocked.Decrement(ref _holders) == 0)
        {
            slot.Pool.Return(slot);
        }
    }
}

/// <summary>The four payloads of one microbatch at one stage.</summary>
sealed class KeptMicrobatch
{
    HeldSlot? _input, _output, _outputGradient, _inputGradient;

    public HeldSlot? Input { get => _input; set => Set(ref _input, value); }

    public HeldSlot? Output { get => _output; set => Set(ref _output, value); }

    public HeldSlot? OutputGradient { get => _outputGradient; set => Set(ref _outputGradient, value); }

    public HeldSlot? InputGradient { get => _inputGradient; set => Set(ref _inputGradient, value); }

    /// <summary>Bytes of the ids that the orchestrator has sent, in the first stage; they lie behind the output's code.</summary>
    public int IdsBytes { get; set; }

    static void Set(ref HeldSlot? place, HeldSlot? value)
    {
        place?.Release();
        place = value;
    }

    public void Release() => (Input, Output, OutputGradient, InputGradient) = (null, null, null, null);
}

sealed class KeptCodes
{
    readonly Dictionary<(int Step, int Microbatch), KeptMicrobatch> _kept = [];

    public KeptMicrobatch Of(int step, int microbatch)
    {
        if (!_kept.TryGetValue((step, microbatch), out KeptMicrobatch? kept))
        {
            _kept[(step, microbatch)] = kept = new KeptMicrobatch();
        }

        return kept;
    }

    /// <summary>Lets go of a step and all before it.</summary>
    public void Release(int step)
    {
        foreach ((int Step, int Microbatch) key in _kept.Keys.Where(key => key.Step <= step).ToArray())
        {
            _kept[key].Release();
            _kept.Remove(key);
        }
    }

    public void Clear() => Release(int.MaxValue);
}
