// One message on its way out, and the task that its sender awaits. Reused: steady traffic allocates nothing.
//   Waiting (for a granted slot) -> Sending -> Sent -> Done        and from each to Done by refusal, cancelling, deadline, close
// Done needs two things: the outcome is known, and no segment of it is unacknowledged. Until then its slot stays InFlight.
// The continuation runs on the thread pool, queued without an allocation, so user code never runs on the transport's loop.
using System.Threading.Tasks.Sources;

namespace OrionNative.Net.Framing;

enum OutgoingState { Waiting, Sending, Sent, Done }

sealed class Outgoing(Action<Outgoing> recycle) : IValueTaskSource<Answer>, IThreadPoolWorkItem
{
    static readonly Action<object?> _completed = static _ => { };

    // the loop's
    public readonly Blake3 Hash = new();
    public MessageHeader Header;
    public Slot? Slot;
    public ulong Id;
    public OutgoingState State;
    public uint GrantedSlot;
    public ulong GrantedBytes;
    public ulong SentBytes;
    public bool DigestFollows;
    public bool Begun;
    public bool Abandoned;
    public volatile bool CancelRequested;
    public int Unacknowledged;
    public long DeadlineNanoseconds;
    public Answer Outcome;
    public CancellationTokenRegistration Cancellation;
    public PeerLink? Link;

    // the waiter's: null -> a continuation -> _completed, or null -> _completed
    Action<object?>? _continuation, _late;
    object? _state;
    short _version;
    bool _reusable;

    public short Version => _version;

    public void Reset(in MessageHeader header, Slot slot, long deadlineNanoseconds)
    {
        (Header, Slot, DeadlineNanoseconds) = (header, slot, deadlineNanoseconds);
        (State, Id, GrantedSlot, GrantedBytes, SentBytes) = (OutgoingState.Waiting, 0, 0, 0, 0);
        DigestFollows = header.Digest.IsEmpty;
        (Begun, Abandoned, CancelRequested, Unacknowledged, Outcome) = (false, false, false, 0, default);
        (_continuation, _late, _state) = (null, null, null);
    }

    public void RequestCancel()
    {
        CancelRequested = true;
        Link!.Cancel(this);
    }

    public bool IsDecided => Outcome.Kind != AnswerKind.Deferred;

    /// <summary>The outcome is known and the slot is its owner's again. After this call the object may be another send.</summary>
    public void Finish()
    {
        State = OutgoingState.Done;
        _reusable = Cancellation.Unregister() || Cancellation == default; // a callback on its way still points here
        Cancellation = default;
        Slot!.EndRead();
        if (Interlocked.CompareExchange(ref _continuation, _completed, null) is not null) ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    void IThreadPoolWorkItem.Execute()
    {
        Action<object?> continuation = _late ?? _continuation!;
        Volatile.Write(ref _continuation, _completed);
        continuation(_state);
    }

    ValueTaskSourceStatus IValueTaskSource<Answer>.GetStatus(short token)
    {
        Check(token);
        return Volatile.Read(ref _continuation) == _completed ? ValueTaskSourceStatus.Succeeded : ValueTaskSourceStatus.Pending;
    }

    // Flags are not honoured: a context is never captured, the pool is always used.
    void IValueTaskSource<Answer>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags)
    {
        Check(token);
        _state = state;
        Action<object?>? before = Interlocked.CompareExchange(ref _continuation, continuation, null);
        if (before is null) return;
        if (before != _completed || _late is not null) throw new InvalidOperationException("A send is awaited once only.");
        _late = continuation;
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: true);
    }

    Answer IValueTaskSource<Answer>.GetResult(short token)
    {
        Check(token);
        if (Volatile.Read(ref _continuation) != _completed) throw new InvalidOperationException("The send has not finished.");
        Answer outcome = Outcome;
        _version++;
        if (_reusable) recycle(this);
        return outcome;
    }

    void Check(short token)
    {
        if (token != _version) throw new InvalidOperationException("A send is awaited once only.");
    }
}
