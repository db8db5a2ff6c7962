// Datagrams on their way, in order of arrival. Nearly all arrive in the order in which they left, so they wait in a plain
// queue; the few that are held back or doubled wait in a heap beside it.
// Invariant: Take gives the earliest, ties in order of entry.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Links;

unsafe struct Packet
{
    public byte* Data;
    public int Bytes;
    public long Arrives;
    public RelayFlow Flow;
}

sealed class DelayLine
{
    readonly Queue<Packet> _inOrder = new(4096);
    readonly PriorityQueue<Packet, long> _late = new();

    public int Count => _inOrder.Count + _late.Count;

    public void Add(in Packet packet, bool late)
    {
        if (late) _late.Enqueue(packet, packet.Arrives);
        else _inOrder.Enqueue(packet);
    }

    public bool TryTake(long now, out Packet packet)
    {
        bool hasFirst = _inOrder.TryPeek(out Packet first), hasLate = _late.TryPeek(out Packet late, out _);
        bool takeLate = hasLate && (!hasFirst || late.Arrives < first.Arrives);
        packet = takeLate ? late : first;
        if (!(takeLate || hasFirst) || packet.Arrives > now) return false;
        if (takeLate) _late.Dequeue();
        else _inOrder.Dequeue();
        return true;
    }
}

/// <summary>Memory for datagrams in equal pieces; grows in steps up to a limit and never shrinks.</summary>
sealed unsafe class PacketMemory(int pieceBytes, int piecesMax)
{
    const int Step = 512;
    readonly Stack<nint> _free = new();
    readonly List<nint> _blocks = [];

    public bool TryRent(out byte* data)
    {
        data = null;
        if (_free.Count == 0)
        {
            if (_blocks.Count * Step >= piecesMax) return false;
            byte* block = (byte*)NativeMemory.Alloc((nuint)(pieceBytes * Step));
            _blocks.Add((nint)block);
            for (int i = Step - 1; i >= 0; i--) _free.Push((nint)(block + (i * pieceBytes)));
        }
        data = (byte*)_free.Pop();
        return true;
    }

    public void Return(byte* data) => _free.Push((nint)data);

    public void Free()
    {
        foreach (nint block in _blocks) NativeMemory.Free((void*)block);
        _blocks.Clear();
        _free.Clear();
    }
}
