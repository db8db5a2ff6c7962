// A piece of page-locked memory that one payload at a time is read from or written to.
//   sending     Free -> Filling -> InFlight -> Filling (its owner's again) -> Free      InFlight may be several links at once
//   receiving   Free -> Granted -> Arriving -> Arrived (the handler's) -> Granted or Free
// Invariant: memory is never handed back while a transport may still read it (InFlight ends only after the last
// acknowledgement, or when the link is closed) or write it. A step that the drawing lacks stops the caller.
namespace OrionNative.Net.Framing;

/// <summary>Where a slot is in its life.</summary>
public enum SlotState
{
    /// <summary>In the pool.</summary>
    Free,

    /// <summary>Rented: its owner writes or reads it.</summary>
    Filling,

    /// <summary>A transport reads it.</summary>
    InFlight,

    /// <summary>The peer may fill it.</summary>
    Granted,

    /// <summary>The peer fills it.</summary>
    Arriving,

    /// <summary>It holds a whole, checked payload.</summary>
    Arrived,
}

/// <summary>Page-locked memory for one payload.</summary>
public sealed unsafe class Slot
{
    readonly Lock _gate = new();
    int _readers, _owners;

    internal Slot(PinnedPool pool, int sizeClass, byte* data, nuint capacity)
    {
        Data = data;
        (Pool, SizeClass, CapacityBytes) = (pool, sizeClass, capacity);
    }

    /// <summary>The memory; its address never changes.</summary>
    public byte* Data { get; }

    /// <summary>Bytes that fit.</summary>
    public nuint CapacityBytes { get; }

    /// <summary>Where it comes from.</summary>
    public PinnedPool Pool { get; }

    /// <summary>Where it is in its life.</summary>
    public SlotState State { get; private set; }

    internal int SizeClass { get; }

    /// <summary>The first <paramref name="bytes"/> bytes.</summary>
    public Span<byte> Span(int bytes) => new(Data, (nuint)bytes <= CapacityBytes ? bytes
        : throw new ArgumentOutOfRangeException(nameof(bytes), $"The slot holds {CapacityBytes} bytes; {bytes} were asked for."));

    /// <summary>One more owner; each of them ends with <see cref="Release"/>.</summary>
    public void Share() => Interlocked.Increment(ref _owners);

    /// <summary>An owner is done with the slot: the last one's call brings it back to its pool.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _owners) == 0) Pool.Return(this);
    }

    internal void Rent()
    {
        Step(SlotState.Free, SlotState.Filling);
        _owners = 1;
    }

    internal void Grant()
    {
        lock (_gate)
        {
            if (State is not (SlotState.Filling or SlotState.Arriving or SlotState.Arrived)) throw Wrong(SlotState.Granted);
            State = SlotState.Granted;
        }
    }

    internal void Arrive() => Step(SlotState.Granted, SlotState.Arriving);

    internal void Complete() => Step(SlotState.Arriving, SlotState.Arrived);

    /// <summary>The link lets go of a slot that it had granted (it closed), or that a handler refused by throwing.</summary>
    internal void Withdraw()
    {
        lock (_gate)
        {
            if (State is not (SlotState.Granted or SlotState.Arriving or SlotState.Arrived)) throw Wrong(SlotState.Filling);
            State = SlotState.Filling;
        }
    }

    internal void BeginRead()
    {
        lock (_gate)
        {
            if (State is not (SlotState.Filling or SlotState.InFlight or SlotState.Arrived)) throw Wrong(SlotState.InFlight);
            if (_readers++ == 0) (_before, State) = (State, SlotState.InFlight);
        }
    }

    SlotState _before;

    internal void EndRead()
    {
        lock (_gate)
        {
            if (State != SlotState.InFlight) throw Wrong(SlotState.Filling);
            if (--_readers == 0) State = _before;
        }
    }

    internal void Free()
    {
        lock (_gate)
        {
            if (State is not (SlotState.Filling or SlotState.Arrived)) throw Wrong(SlotState.Free);
            State = SlotState.Free;
        }
    }

    void Step(SlotState from, SlotState to)
    {
        lock (_gate)
        {
            if (State != from) throw Wrong(to);
            State = to;
        }
    }

    InvalidOperationException Wrong(SlotState to) => new($"A slot of {CapacityBytes} bytes is {State} and cannot become {to}.");
}
