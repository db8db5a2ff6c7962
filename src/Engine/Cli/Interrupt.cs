// Ctrl-C and SIGTERM: the first asks the work to stop at a good place, the second ends the process at once. A terminal sends
// Ctrl-C to every process in it: a peer that a run on this machine started leaves the first one to the run, which needs its
// peers to finish the step.
using System.Runtime.InteropServices;

namespace OrionNative.Engine.Cli;

sealed class Interrupt : IDisposable
{
    readonly CancellationTokenSource _source = new();
    readonly PosixSignalRegistration[] _signals;

    /// <param name="output">Where the first sentence goes.</param>
    /// <param name="firstSentence">What the first signal says.</param>
    /// <param name="isHelper">True where the first Ctrl-C is for the process that started this one.</param>
    public Interrupt(TextWriter output, string firstSentence, bool isHelper = false)
    {
        Say = output.WriteLine;
        void Handle(PosixSignalContext context)
        {
            if (isHelper && context.Signal == PosixSignal.SIGINT)
            {
                (isHelper, context.Cancel) = (false, true);
                return;
            }

            if (_source.IsCancellationRequested)
            {
                return;
            }

            context.Cancel = true;
            Say(firstSentence);
            _source.Cancel();
        }

        _signals = [PosixSignalRegistration.Create(PosixSignal.SIGINT, Handle), PosixSignalRegistration.Create(PosixSignal.SIGTERM, Handle)];
    }

    public CancellationToken Token => _source.Token;

    /// <summary>Where the first sentence goes; a view that redraws itself wants to place it.</summary>
    public Action<string> Say { get; set; }

    public void Dispose()
    {
        Array.ForEach(_signals, signal => signal.Dispose());
        _source.Dispose();
    }
}
