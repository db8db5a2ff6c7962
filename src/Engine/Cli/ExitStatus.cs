// What a finished process says to the shell, and which exceptions are a sentence for the user rather than a defect.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Cli;

static class ExitStatus
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int Usage = 2;
    public const int EnvironmentMissing = 3;
    public const int Interrupted = 130;

    const int NoSpaceLeft = 28;   // ENOSPC

    /// <summary>What to do where the runtime's own words say only what went wrong.</summary>
    public static string FixOf(Exception error) => error switch
    {
        UnauthorizedAccessException => " Fix: give this user permission there, or name another place.",
        IOException { HResult: NoSpaceLeft } when error.InnerException is null => ". Fix: free space on that disk, or name a place on another one.",
        _ => "",
    };

    /// <summary>True for failures of the surroundings (disk, memory, files, network, a kernel that does not compile), whose message stands alone. Anything
    /// else is a defect and keeps its stack trace.</summary>
    public static bool IsOperational(Exception error) =>
        error is IOException or InvalidDataException or UnauthorizedAccessException or InsufficientMemoryException or System.Net.Sockets.SocketException
            or PlatformNotSupportedException or KernelCompilationException;
}
