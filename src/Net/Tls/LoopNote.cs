// What the tasks of a TCP endpoint leave for its loop, and the queue in between: one short lock, no allocation in the steady
// state (two arrays change places).
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Tls;

enum LoopNoteKind : byte { Dialling, Wake, Frame, Written, StripeFailed, StripeDialled, StripeAccepted, DialFailed, Close, Stop }

/// <summary>A stripe whose handshake is done.</summary>
sealed record NewStripe(Socket Socket, SslStream Stream, NodeId Peer, IPEndPoint Address, StripePreface Preface, string CongestionControl);

readonly record struct LoopNote(
    LoopNoteKind Kind,
    TlsConnection? Connection,
    TlsStripe? Stripe = null,
    SendBuffer? Buffer = null,
    Chunk? Chunk = null,
    TlsFrame Frame = default,
    Exception? Failure = null,
    CloseReason? Reason = null,
    NewStripe? New = null);

sealed class LoopQueue
{
    readonly object _gate = new();
    LoopNote[] _notes = new LoopNote[256], _taken = new LoopNote[256];
    int _count;
    bool _isClosed;

    /// <summary>Leaves a note; false if the loop has ended and nobody will read it.</summary>
    public bool Post(in LoopNote note)
    {
        lock (_gate)
        {
            if (_isClosed) return false;
            if (_count == _notes.Length) Array.Resize(ref _notes, 2 * _count);
            _notes[_count++] = note;
            if (_count == 1) Monitor.Pulse(_gate);
            return true;
        }
    }

    /// <summary>The last notes; no more are taken in.</summary>
    public ReadOnlySpan<LoopNote> Close()
    {
        lock (_gate) _isClosed = true;
        return Take(TimeSpan.Zero);
    }

    /// <summary>All notes so far; waits for one, but no longer than told. The span is good until the next call.</summary>
    public ReadOnlySpan<LoopNote> Take(TimeSpan wait)
    {
        Array.Clear(_taken);
        lock (_gate)
        {
            if (_count == 0) Monitor.Wait(_gate, wait);
            (_notes, _taken) = (_taken, _notes);
            int count = _count;
            _count = 0;
            return _taken.AsSpan(0, count);
        }
    }
}
