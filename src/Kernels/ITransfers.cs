// How packed codes get from host memory to where operations read them, and back, beside the computation. A device that computes
// in host memory moves nothing: it hands out the host's own addresses. On CUDA there is a stream for each direction:
//   Arrive     host -> staging on its own stream; operations called later wait for it, those called before do not
//   Depart     staging -> host on its own stream after the operations called before; those called later do not wait
// A mark names everything called so far; payloads may be sent, reused or freed once their mark is reached.
namespace OrionNative.Kernels;

/// <summary>Copies between host memory and a device, in the order of the calls. Allocates nothing managed after the first use of a size.</summary>
public interface ITransfers
{
    /// <summary>Host memory, page-locked where that makes copies run by themselves; zeroed, at a multiple of 4096 bytes.</summary>
    nint AllocateHost(long bytes, string purpose);

    /// <summary>Returns memory of <see cref="AllocateHost"/>.</summary>
    void FreeHost(nint address);

    /// <summary>Page-locks memory that somebody else allocated; it stays theirs and must stay alive until <see cref="UnlockHost"/>.</summary>
    void LockHost(nint address, long bytes);

    /// <summary>Ends <see cref="LockHost"/>.</summary>
    void UnlockHost(nint address);

    /// <summary>The device's view of <paramref name="bytes"/> bytes at <paramref name="host"/>, for the operations and departures
    /// called before the second next call of this method. The host bytes stay as they are until a later mark is reached.</summary>
    nint Arrive(nint host, long bytes);

    /// <summary>Where operations write bytes that will leave for <paramref name="host"/> by <see cref="Depart"/>.</summary>
    nint Departing(nint host, long bytes);

    /// <summary>Starts the bytes at <paramref name="departing"/> towards <paramref name="host"/>; they are there when a later mark
    /// is reached. What <see cref="Arrive"/> gave, and memory that stays unwritten until then, may leave as well.</summary>
    void Depart(nint departing, nint host, long bytes);

    /// <summary>Arrivals called from now on see what the departures called so far bring to the host.</summary>
    void Fence();

    /// <summary>A name for everything called so far; marks ascend.</summary>
    long Mark();

    /// <summary>True when everything before the mark is done.</summary>
    bool IsReached(long mark);

    /// <summary>Returns when everything before the mark is done.</summary>
    void Wait(long mark);

    /// <summary>Called whenever a later <see cref="Mark"/> is reached, on a thread of the device's own, which it must leave at once and from
    /// which nothing may be asked of the device. Never called where every mark is reached at once, nor after the device has failed.</summary>
    Action? Reached { get; set; }

    /// <summary>False where operations compute in host memory, so that nothing ever has to move.</summary>
    bool IsApart { get; }

    /// <summary>Places on the device whose content goes to host memory and comes back; only where <see cref="IsApart"/>.</summary>
    IFrames OpenFrames(int count);
}

/// <summary>Numbered places in the device's memory, for content that spends its time in host memory. Calls are in the order of the
/// operations around them and may be recorded with them; a pass of them begins with <see cref="Begin"/> and ends with <see cref="End"/>.</summary>
public interface IFrames : IDisposable
{
    /// <summary>Starts a pass: no frame is under way.</summary>
    void Begin();

    /// <summary>Operations called from now on may write the frame: what departs from it has left by then.</summary>
    void Claim(int frame);

    /// <summary>Starts the frame's bytes towards the host, after the operations called so far.</summary>
    void Depart(int frame, nint device, nint host, long bytes);

    /// <summary>Starts bytes from the host into the frame, after the operations called so far, which used it last.</summary>
    void Fetch(int frame, nint host, nint device, long bytes);

    /// <summary>Operations called from now on find what was fetched.</summary>
    void Await(int frame);

    /// <summary>Operations called from now on find every departure done.</summary>
    void End();
}

/// <summary>Operations that are the same each time: same calls, same memory, same arguments. A device may record them.</summary>
public interface IRecordedWork : IDisposable
{
    /// <summary>Does the work.</summary>
    void Run();
}
