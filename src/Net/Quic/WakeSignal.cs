// Wakes a loop that sleeps in ppoll: an eventfd which any thread may ring at any time, also when the loop has ended. By then
// the number of a closed descriptor may be another file's, and eight bytes of a late ring would be written into it.
// Invariant: a ring holds the descriptor open while it writes, and finds it closed afterwards.
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OrionNative.Net.Quic.Interop;

namespace OrionNative.Net.Quic;

sealed unsafe class WakeSignal : IDisposable
{
    readonly SafeFileHandle _event;

    public WakeSignal()
    {
        int descriptor = Libc.eventfd(0, Libc.EFD_NONBLOCK | Libc.EFD_CLOEXEC);
        if (descriptor < 0) throw new IOException($"opening an event descriptor failed: {Marshal.GetLastPInvokeErrorMessage()}. Fix: allow this process more open files (ulimit -n)");
        (_event, Descriptor) = (new SafeFileHandle(descriptor, ownsHandle: true), descriptor);
    }

    /// <summary>For ppoll, on the loop's thread; readable after a ring.</summary>
    public int Descriptor { get; }

    public void Ring()
    {
        bool isHeld = false;
        try
        {
            _event.DangerousAddRef(ref isHeld);
            ulong one = 1;
            _ = Libc.write(Descriptor, &one, sizeof(ulong));
        }
        catch (ObjectDisposedException)
        {
            // the loop has ended: nobody is to be woken
        }
        finally
        {
            if (isHeld) _event.DangerousRelease();
        }
    }

    /// <summary>The loop is awake: takes the rings so far.</summary>
    public void Clear()
    {
        ulong rings;
        _ = Libc.read(Descriptor, &rings, sizeof(ulong));
    }

    public void Dispose() => _event.Dispose();
}
