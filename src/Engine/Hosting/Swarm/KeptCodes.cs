// The codes of the open steps: what came in and went out of this stage, forward and backward, kept until the step is
// released so that any part of the work can be done again. A slot goes back to the pool when nobody needs or reads it.
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>The four payloads of one microbatch at one stage; an owner of each of their slots.</summary>
sealed class KeptMicrobatch
{
    Slot? _input, _output, _outputGradient, _inputGradient;

    public Slot? Input { get => _input; set => Set(ref _input, value); }

    public Slot? Output { get => _output; set => Set(ref _output, value); }

    public Slot? OutputGradient { get => _outputGradient; set => Set(ref _outputGradient, value); }

    public Slot? InputGradient { get => _inputGradient; set => Set(ref _inputGradient, value); }

    /// <summary>Bytes of the ids that the orchestrator has sent, in the first stage; they lie behind the output's code.</summary>
    public int IdsBytes { get; set; }

    static void Set(ref Slot? place, Slot? value)
    {
        place?.Release();
        place = value;
    }

    public void Release() => (Input, Output, OutputGradient, InputGradient, IdsBytes) = (null, null, null, null, 0);
}

sealed class KeptCodes
{
    readonly Dictionary<(int Step, int Microbatch), KeptMicrobatch> _kept = [];
    readonly Stack<KeptMicrobatch> _spare = new();

    public KeptMicrobatch Of(int step, int microbatch)
    {
        if (!_kept.TryGetValue((step, microbatch), out KeptMicrobatch? kept))
        {
            _kept[(step, microbatch)] = kept = _spare.TryPop(out KeptMicrobatch? spare) ? spare : new KeptMicrobatch();
        }

        return kept;
    }

    /// <summary>Lets go of a step and all before it.</summary>
    public void Release(int step)
    {
        foreach (((int Step, int Microbatch) key, KeptMicrobatch kept) in _kept)
        {
            if (key.Step <= step)
            {
                kept.Release();
                _spare.Push(kept);
                _kept.Remove(key);   // a dictionary may lose entries while it is walked
            }
        }
    }

    public void Clear() => Release(int.MaxValue);
}
