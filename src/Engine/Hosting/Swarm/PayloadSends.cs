// Codes and code gradients on their way out. Each holds its slot until the receiver's answer is known; the objects that wait
// for answers are used again, so a send allocates nothing. The loop hears when a payload has arrived: from then on its receiver
// owes an answer.
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>Sends payloads and counts those that were taken.</summary>
sealed class PayloadSends(Mailbox<LoopEvent> loop)
{
    sealed class Send
    {
        readonly PayloadSends _owner;
        readonly Action _whenAnswered;
        ValueTaskAwaiter<Answer> _answer;
        Slot? _payload;
        LoopEvent _arrived;
        long _bytes;

        public Send(PayloadSends owner) => (_owner, _whenAnswered) = (owner, Answered);

        [SuppressMessage("Reliability", "CA2012", Justification = "its awaiter is asked for the result once, in Answered")]
        public void Begin(PeerLink link, PeerId peer, in WorkMessage message, in MessageHeader header, Slot payload)
        {
            payload.Share();
            _arrived = new LoopEvent(LoopEventKind.Arrived) { Peer = peer, Message = message };
            (_payload, _bytes) = (payload, (long)header.PayloadBytes);
            _answer = link.SendAsync(header, payload).GetAwaiter();
            if (_answer.IsCompleted)
            {
                Answered();
            }
            else
            {
                _answer.UnsafeOnCompleted(_whenAnswered);
            }
        }

        void Answered()
        {
            if (_answer.GetResult().Kind == AnswerKind.Accepted)
            {
                Interlocked.Add(ref _arrived.Message.Kind == WorkKind.Forward ? ref _owner._codeBytes : ref _owner._gradientBytes, _bytes);
            }

            _payload!.Release();
            _payload = null;
            _owner._loop.Add(_arrived);
            lock (_owner._spare)
            {
                _owner._spare.Push(this);
            }
        }
    }

    readonly Mailbox<LoopEvent> _loop = loop;
    readonly Stack<Send> _spare = new();
    long _codeBytes, _gradientBytes;

    /// <summary>Payload bytes that receivers took.</summary>
    public (long Code, long Gradient) Taken => (Interlocked.Read(ref _codeBytes), Interlocked.Read(ref _gradientBytes));

    public void Begin(PeerLink link, PeerId peer, in WorkMessage message, in MessageHeader header, Slot payload)
    {
        Send? send;
        lock (_spare)
        {
            _spare.TryPop(out send);
        }

        (send ?? new Send(this)).Begin(link, peer, message, header, payload);
    }
}
