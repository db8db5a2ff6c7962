// Large things between replicas (a gradient share, a stage's state) go in pieces of one slot each over the bulk lane; the
// receiver puts them together. A transfer is named by (kind, tag); pieces carry their number and the total size.
using System.Runtime.InteropServices;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>A transfer that is being put together.</summary>
sealed unsafe class BulkAssembly : IDisposable
{
    readonly Lock _gate = new();
    readonly HashSet<int> _pieces = [];
    long _missing;

    public BulkAssembly(long bytes)
    {
        Data = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 64), 64);
        (Bytes, _missing) = (bytes, bytes);
    }

    public byte* Data { get; private set; }

    public long Bytes { get; }

    public long MissingBytes => Interlocked.Read(ref _missing);

    /// <summary>True when every byte is here.</summary>
    public bool IsWhole => MissingBytes <= 0;

    /// <summary>Takes a piece, which may come twice; true when it was the last missing one.</summary>
    /// <exception cref="InvalidDataException">The number and the size are not those of one of its pieces.</exception>
    public bool Take(int piece, ReadOnlySpan<byte> bytes)
    {
        long offset = (long)piece * BulkTransfer.PieceBytes, expected = Math.Min(BulkTransfer.PieceBytes, Bytes - offset);
        if (piece < 0 || expected <= 0 || bytes.Length != expected)
        {
            throw new InvalidDataException($"piece {piece} of {bytes.Length} bytes is none of a transfer of {Bytes} bytes in pieces of {BulkTransfer.PieceBytes}");
        }

        // a transport's thread takes pieces; whoever has no use for the transfer any more may be another
        lock (_gate)
        {
            if (Data is null || !_pieces.Add(piece))
            {
                return false;
            }

            bytes.CopyTo(new Span<byte>(Data + offset, bytes.Length));
            return Interlocked.Add(ref _missing, -bytes.Length) == 0;
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            NativeMemory.AlignedFree(Data);
            Data = null;
        }
    }
}

static class BulkTransfer
{
    public const int PieceBytes = 1 << 20;

    /// <summary>Pieces on the way at once: a round trip is not waited for after each.</summary>
    const int PiecesAhead = 4;

    /// <summary>Sends a whole transfer; false if the link closed or turned it away, or a piece could not be read.</summary>
    /// <param name="link">To whom.</param>
    /// <param name="pool">Where slots of <see cref="PieceBytes"/> come from.</param>
    /// <param name="header">Kind, epoch, step, attempt, and the transfer's tag.</param>
    /// <param name="bytes">Total size, at least 1.</param>
    /// <param name="read">Fills a piece from an offset; false: what was to be sent is no more, and the transfer ends.</param>
    public static async Task<bool> SendAsync(PeerLink link, PinnedPool pool, MessageHeader header, long bytes, Func<long, Slot, int, Task<bool>> read)
    {
        int pieces = (int)((bytes + PieceBytes - 1) / PieceBytes);
        Queue<Task<bool>> sending = new();
        bool isTaken = true;
        for (int piece = 0; piece < pieces && isTaken; piece++)
        {
            Slot slot;
            while (!pool.TryRent(PieceBytes, out slot))
            {
                await Task.Delay(5);
            }

            long offset = (long)piece * PieceBytes;
            int size = (int)Math.Min(PieceBytes, bytes - offset);
            if (!await read(offset, slot, size))
            {
                slot.Pool.Return(slot);
                isTaken = false;
                break;
            }

            sending.Enqueue(SendPiece(link, header with { Part = (uint)piece, Microbatch = (uint)pieces, PayloadBytes = (ulong)size }, slot));
            isTaken = sending.Count < PiecesAhead || await sending.Dequeue();
        }

        foreach (Task<bool> last in sending)
        {
            isTaken &= await last;
        }

        return isTaken;
    }

    static async Task<bool> SendPiece(PeerLink link, MessageHeader header, Slot slot)
    {
        Answer answer = await link.SendAsync(header, slot);
        slot.Pool.Return(slot);
        return answer.Kind is AnswerKind.Accepted or AnswerKind.Duplicate;
    }
}
