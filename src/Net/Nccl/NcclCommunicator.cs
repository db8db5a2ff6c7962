// One rank of a group of GPUs that are joined by NVLink or a fast network. Every call queues work on a CUDA stream and returns; all ranks
// must make the same calls in the same order. Memory and streams come from whoever owns the device, as addresses and handles: the
// thread's current context must be the rank's primary context.
// Invariant: nothing here allocates or boxes after Join; the only strings are those of errors.
using System.Runtime.InteropServices;
using OrionNative.Net.Nccl.Interop;

namespace OrionNative.Net.Nccl;

/// <summary>ncclDataType_t, the types that this project sends.</summary>
public enum NcclType
{
    /// <summary>Signed bytes.</summary>
    Int8 = 0,

    /// <summary>Unsigned bytes: packed codes.</summary>
    UInt8 = 1,

    /// <summary>Token ids.</summary>
    Int32 = 2,

    /// <summary>Hashes.</summary>
    UInt64 = 5,

    /// <summary>Gradients and masters.</summary>
    Float32 = 7,

    /// <summary>Sums that the host reads.</summary>
    Float64 = 8,

    /// <summary>Weights and activations.</summary>
    BFloat16 = 9,
}

/// <summary>ncclRedOp_t.</summary>
public enum NcclReduction
{
    /// <summary>The sum over the ranks.</summary>
    Sum = 0,

    /// <summary>The product.</summary>
    Product = 1,

    /// <summary>The largest.</summary>
    Maximum = 2,

    /// <summary>The smallest.</summary>
    Minimum = 3,

    /// <summary>The sum over the number of ranks.</summary>
    Average = 4,
}

/// <summary>A communicator of one rank. Not for several threads at once.</summary>
public sealed unsafe class NcclCommunicator : IDisposable
{
    /// <summary>Bytes of the identity that one rank makes and all join with.</summary>
    public const int IdentityBytes = 128;

    readonly NcclLibrary _library;
    nint _handle;

    NcclCommunicator(NcclLibrary library, nint handle, int rank, int ranks)
    {
        (_library, _handle) = (library, handle);
        (Rank, Ranks) = (rank, ranks);
    }

    /// <summary>Number of this rank, from 0.</summary>
    public int Rank { get; }

    /// <summary>How many ranks there are.</summary>
    public int Ranks { get; }

    /// <summary>A new identity; the rank that makes it sends it to the others over a channel of its own.</summary>
    public static byte[] CreateIdentity(NcclLibrary library)
    {
        ArgumentNullException.ThrowIfNull(library);
        ncclUniqueId id;
        library.Check(library.Functions.ncclGetUniqueId(&id), "ncclGetUniqueId", 0);
        return new ReadOnlySpan<byte>(id.Internal, IdentityBytes).ToArray();
    }

    /// <summary>Joins the group on the device whose context is current; returns when all ranks have come.</summary>
    /// <exception cref="NcclException">Two ranks on one device, a rank twice, or no network between them.</exception>
    public static NcclCommunicator Join(NcclLibrary library, ReadOnlySpan<byte> identity, int rank, int ranks)
    {
        ArgumentNullException.ThrowIfNull(library);
        if (identity.Length != IdentityBytes)
        {
            throw new ArgumentException($"an identity has {IdentityBytes} bytes, not {identity.Length}", nameof(identity));
        }

        nint handle;
        ncclUniqueId id = MemoryMarshal.Read<ncclUniqueId>(identity);
        library.Check(library.Functions.ncclCommInitRank(&handle, ranks, id, rank), $"ncclCommInitRank(rank {rank} of {ranks})", 0);
        return new NcclCommunicator(library, handle, rank, ranks);
    }

    /// <summary>destination = the reduction over all ranks' sources; in place when they are one.</summary>
    public void AllReduce(nint source, nint destination, long count, NcclType type, NcclReduction reduction, nint stream) =>
        Check(_library.Functions.ncclAllReduce(source, destination, (nuint)count, (int)type, (int)reduction, Handle, stream), "ncclAllReduce", count, type);

    /// <summary>The reduction of Ranks*count elements, of which this rank gets its own count.</summary>
    public void ReduceScatter(nint source, nint destination, long count, NcclType type, NcclReduction reduction, nint stream) =>
        Check(_library.Functions.ncclReduceScatter(source, destination, (nuint)count, (int)type, (int)reduction, Handle, stream), "ncclReduceScatter", count, type);

    /// <summary>destination = all ranks' count elements, one after the other.</summary>
    public void AllGather(nint source, nint destination, long count, NcclType type, nint stream) =>
        Check(_library.Functions.ncclAllGather(source, destination, (nuint)count, (int)type, Handle, stream), "ncclAllGather", count, type);

    /// <summary>destination = the root's source on every rank.</summary>
    public void Broadcast(nint source, nint destination, long count, NcclType type, int root, nint stream) =>
        Check(_library.Functions.ncclBroadcast(source, destination, (nuint)count, (int)type, root, Handle, stream), "ncclBroadcast", count, type);

    /// <summary>Sends to a rank, which must receive as much.</summary>
    public void Send(nint source, long count, NcclType type, int peer, nint stream) =>
        Check(_library.Functions.ncclSend(source, (nuint)count, (int)type, peer, Handle, stream), "ncclSend", count, type);

    /// <summary>Receives from a rank.</summary>
    public void Receive(nint destination, long count, NcclType type, int peer, nint stream) =>
        Check(_library.Functions.ncclRecv(destination, (nuint)count, (int)type, peer, Handle, stream), "ncclRecv", count, type);

    /// <summary>Begins calls that run together: a send and a receive of the same rank need it.</summary>
    public void StartGroup() => Check(_library.Functions.ncclGroupStart(), "ncclGroupStart", 0, default);

    /// <summary>Queues what was called since <see cref="StartGroup"/>.</summary>
    public void EndGroup() => Check(_library.Functions.ncclGroupEnd(), "ncclGroupEnd", 0, default);

    /// <summary>Throws what went wrong on the network since the last call.</summary>
    public void ThrowIfFailed()
    {
        int result;
        Check(_library.Functions.ncclCommGetAsyncError(Handle, &result), "ncclCommGetAsyncError", 0, default);
        Check(result, "an earlier operation", 0, default);
    }

    /// <summary>Ends what waits for a rank that is gone, and the communicator.</summary>
    public void Abort()
    {
        nint handle = Handle;
        _handle = 0;
        _library.Check(_library.Functions.ncclCommAbort(handle), $"ncclCommAbort(rank {Rank} of {Ranks})", 0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_handle != 0)
        {
            nint handle = _handle;
            _handle = 0;
            _library.Check(_library.Functions.ncclCommDestroy(handle), $"ncclCommDestroy(rank {Rank} of {Ranks})", 0);
        }
    }

    nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle == 0, this);
            return _handle;
        }
    }

    void Check(int result, string call, long count, NcclType type)
    {
        if (result != 0)
        {
            _library.Check(result, $"{call} on rank {Rank} of {Ranks}, {count} elements of {type},", _handle);
        }
    }
}
